"""Runs SQL as a reader of a page would, each session in a psql of its own, and compares what comes out with what the page says.

In a block of SQL, a comment that stands alone says who acts: "in one session", "in another session", "in the first session", …
A comment behind a statement that begins with a value is its result (`-- true: it is ours`); `-- error 55P03` is how it fails;
`-- waits` means, where there are several sessions, that it waits, and ends before its session goes on, or the block ends;
`-- waits …: true` with that result. A block of text below shows the end of what was printed. There, process numbers of the form 471x, times,
and what stands for "…" may be anything."""

import queue
import re
import subprocess
import threading
import time

from scene import PATIENCE, wait_until

TOKEN = re.compile(r"""'(?:[^']|'')*' | "[^"]*" | \$(\w*)\$.*?\$\1\$ | --[^\n]* | ; | [^'"$;-]+ | .""", re.DOTALL | re.VERBOSE)
VALUE = r"(?:true|false|NULL|-?\d+|\{[^}]*\}|'[^']*')"
RESULT = re.compile(rf"({VALUE}(?:, {VALUE})*)(?=[:;,.]|$)")
SESSIONS = {"1": r"\b(one|first) session\b", "2": r"\b(another|other|second) session\b", "3": r"\bthird session\b"}


def statements(text):
    """The (session, statement, comment behind it) of a block, in order."""
    found, session, statement = [], "1", ""
    for match in TOKEN.finditer(text):
        token = match[0]
        statement += token
        if token.startswith("--"):
            alone = statement.strip() == token
            begun = text.rfind("\n", 0, match.start()) + 1
            if alone and text[begun:match.start()].strip():  # behind the statement before it
                found[-1] = (*found[-1][:2], token[2:].strip())
                statement = ""
            elif alone:
                session = next((name for name, words in SESSIONS.items() if re.search(words, token)), session)
                statement = ""
        elif token == ";":
            found.append((session, statement.strip(), ""))
            statement = ""
    assert not statement.strip(), f"no statement ends with: {statement.strip()}"
    return found


def shown_value(printed):
    """What psql prints for a row, as pages write it."""
    values = [value.strip() for value in printed.split("|")]
    return ", ".join({"t": "true", "f": "false", "": "NULL"}.get(value, value) for value in values)


def lines_of(text):
    """The lines that matter, in a form that does not depend on the width of columns."""
    lines = (re.sub(r"\s+", " ", line).strip() for line in text.splitlines())
    return [line for line in lines if line and not re.fullmatch(r"[-+]+", line)]


VOLATILE = re.compile(r"(?P<pid>\b471\d\b)|(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?[+-]\d\d)|(?P<span>\d\d:\d\d:\d\d\.\d+)|(?P<any>…)")
PATTERNS = {"time": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?[+-]\d\d", "span": r"\d\d:\d\d:\d\d(?:\.\d+)?", "any": ".*"}


def pattern_of(shown):
    """What a shown text allows."""
    seen = set()

    def volatile(match):
        if match.lastgroup == "pid":
            first = match[0] not in seen
            seen.add(match[0])
            return rf"(?P<pid{match[0]}>\d+)" if first else rf"(?P=pid{match[0]})"
        return PATTERNS[match.lastgroup]

    text = "\n".join(lines_of(shown))
    pieces, end = [], 0
    for match in VOLATILE.finditer(text):
        pieces += [re.escape(text[end:match.start()]), volatile(match)]
        end = match.end()
    return re.compile("".join([*pieces, re.escape(text[end:])]))


def shows(shown, printed):
    """Is it the end of what was printed?"""
    count = len(lines_of(shown))
    return pattern_of(shown).fullmatch("\n".join(lines_of(printed)[-count:])) is not None


def wait_until_gone(observer, pid):
    """Until the server has noticed that a client has left."""
    wait_until(
        lambda: not observer.execute("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s)", [pid]).fetchone()[0], f"backend {pid} ends")


class Psql:
    """A session."""

    DONE = "--done--"

    def __init__(self, command, env):
        self._process = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)
        self._lines = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        self.send("SELECT pg_backend_pid()")
        self.pid = int(self.receive()[0].splitlines()[2])

    def _read(self):
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def send(self, statement):
        self._printed = []
        self._end = None
        self._process.stdin.write(f"{statement.rstrip(';')}\n;\n\\echo {self.DONE} :SQLSTATE\n")

    def has_ended(self, timeout):
        """Is what was sent done by then?"""
        end = time.monotonic() + timeout
        while self._end is None:
            try:
                line = self._lines.get(timeout=max(0, end - time.monotonic()))
            except queue.Empty:
                return False
            assert line is not None, "psql has ended: " + "".join(self._printed)
            if line.startswith(self.DONE):
                self._end = line.split()[1]
            else:
                self._printed.append(line)
        return True

    def receive(self):
        """What was printed, and the SQLSTATE."""
        assert self.has_ended(PATIENCE), "it does not end: " + "".join(self._printed)
        return "".join(self._printed), self._end

    def close(self):
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()


class Transcript:
    """Sessions of one database that go through the blocks of a page."""

    def __init__(self, command, env, observer):
        self._command, self._env, self._observer = command, env, observer
        self._sessions = {}

    def session(self, name):
        if name not in self._sessions:
            self._sessions[name] = Psql(self._command, self._env)
            self._sessions[name].waits_with = None
        return self._sessions[name]

    def _is_waiting(self, session):
        return self._observer.execute(
            "SELECT state = 'active' AND wait_event_type IN ('Lock', 'Extension', 'Timeout') FROM pg_stat_activity WHERE pid = %s",
            [session.pid]).fetchone()[0]

    @staticmethod
    def _check(session, statement, comment):
        """The statement has ended as the comment says; what it printed."""
        printed, state = session.receive()
        expected = (re.match(r"error (\w{5})", comment) or ["", "00000"])[1]
        assert state == expected, f"{statement}\nSQLSTATE {state}, not {expected}: {printed}"
        if comment.startswith("waits"):
            comment = comment.partition(": ")[2]
        if result := RESULT.match(comment):
            row = [line for line in printed.splitlines() if not re.match(r"(?:WARNING|NOTICE|DETAIL|HINT|CONTEXT):", line)][2:3]
            assert row and shown_value(row[0]) == result[1], f"{statement}\nnot {result[1]}, but: {printed}"
        return printed

    def _end_wait(self, session):
        waits_with, session.waits_with = session.waits_with, None
        return self._check(session, *waits_with) if waits_with else ""

    def run(self, text, output=None, may_fail=False):
        """Runs a block, and compares; `may_fail` if the text below shows how."""
        todo = statements(text)
        several = len({name for name, _, _ in todo}) > 1
        printed = ""
        for name, statement, comment in todo:
            session = self.session(name)
            printed += self._end_wait(session)
            session.send(statement)
            if several and comment.startswith("waits"):
                wait_until(lambda: self._is_waiting(session), f"it waits: {statement}")
                session.waits_with = statement, comment
            elif may_fail:
                printed += session.receive()[0]
            else:
                printed += self._check(session, statement, comment)
        for session in self._sessions.values():
            printed += self._end_wait(session)
        if output is not None:
            assert shows(output, printed), f"printed was:\n{printed}\nand not:\n{output}"

    def close(self):
        """Ends all sessions; when it returns, their locks are gone."""
        for session in self._sessions.values():
            session.close()
            wait_until_gone(self._observer, session.pid)
        self._sessions.clear()
