"""The programs of docs/examples that elect a leader, in Python and in Go: killed, stalled, cut off. What a leader does, it does to an
outside system that fences (docs/examples/fenced.py) and here notes who wrote what."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

import pytest

from leases import install_leases
from pooler import Pooler
from programs import environment
from proxy import Proxy
from scene import native_only, scratch_database, stopped, wait_until
from server import Server

pytestmark = native_only("the leases are the same beside either edition")

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
sys.path.insert(0, str(EXAMPLES))
from fenced import Fenced  # noqa: E402

TTL = 3
TAKEOVER = TTL + TTL / 3 + 3
"""Seconds after which somebody else leads: the lease expires, the next candidate asks; and the machine may be busy."""


class Witness(Fenced):
    """Notes every write that arrives; those of one process it can hold back."""

    def __init__(self):
        super().__init__(0)
        self.writes = []  # (when, token, process, was it written?)
        self.holds_back, self.held = None, threading.Event()
        self._order, self._go_on = threading.Lock(), threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"

    def write(self, token, value):
        pid = int(value.split()[-1])
        if pid == self.holds_back:
            self.holds_back = None
            self.held.set()
            self._go_on.wait(60)
        with self._order:
            written = super().write(token, value)
            self.writes.append((time.monotonic(), token, pid, written))
        return written

    def let_go(self):
        self._go_on.set()

    def of(self, candidate):
        return [write for write in self.writes if write[2] == candidate.process.pid]

    def check(self):
        """Never two leaders: what was written was written in the order of the tokens, and each token had one leader."""
        written = [(token, pid) for _, token, pid, written in self.writes if written]
        assert [token for token, _ in written] == sorted(token for token, _ in written)
        assert len({token for token, _ in written}) == len(set(written))


class Candidate:
    """A program of the examples, with a network of its own."""

    def __init__(self, command, db, url):
        """Connects as `db` does, which may be to a pooler."""
        self.proxy = Proxy(db.info.host, db.info.port)
        self.process = subprocess.Popen(
            [*command, url], env=environment(db, PGHOST=self.proxy.folder, PGAPPNAME="candidate"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.said, self.complained = [], []
        self._listeners = [threading.Thread(target=self._listen, args=pair, daemon=True)
                           for pair in ((self.process.stdout, self.said), (self.process.stderr, self.complained))]
        for thread in self._listeners:
            thread.start()

    @staticmethod
    def _listen(stream, lines):
        lines.extend(line.rstrip("\n") for line in stream)

    @property
    def token(self):
        """That of its last word, if it leads."""
        word, _, token = (self.said or [""])[-1].rpartition(" ")
        return int(token) if word == "leads" else None

    def end(self):
        self.process.kill()
        self.process.wait()
        for thread in self._listeners:
            thread.join()
        self.proxy.end()


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """The command of each language, without its options."""
    if not shutil.which("go"):
        pytest.skip("no Go: apt install golang-go golang-github-jackc-pgx-v4-dev")
    program = tmp_path_factory.mktemp("go") / "leader"
    go = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": str(ROOT / "target" / "clients" / "go-cache")}
    for command in (["go", "vet"], ["go", "build", "-o", str(program)]):
        subprocess.run([*command, "leader.go"], cwd=EXAMPLES, env=go, check=True)
    assert subprocess.run(["gofmt", "-l", "."], cwd=EXAMPLES, check=True, capture_output=True).stdout == b""
    return {"python": [sys.executable, "-B", str(EXAMPLES / "leader.py")], "go": [str(program)]}


@pytest.fixture
def witness():
    witness = Witness()
    yield witness
    witness.check()
    witness.shutdown()
    witness.server_close()


@pytest.fixture
def db(connect):
    with scratch_database("leaders", install=install_leases) as name:
        yield connect(dbname=name)


@pytest.fixture
def start(programs, witness, db):
    """Starts a candidate in a language."""
    started = []

    def start(language, ttl=TTL, db=db):
        option = ["--ttl", str(ttl)] if language == "python" else ["-ttl", f"{ttl}s"]
        started.append(Candidate([*programs[language], *option], db, witness.url))
        return started[-1]

    yield start
    for candidate in started:
        candidate.end()


OTHER = {"python": "go", "go": "python"}


@pytest.fixture(params=OTHER)
def pair(request, start, witness):
    """A leader in one language, a candidate in the other."""
    leader = start(request.param)
    wait_until(lambda: witness.of(leader), "somebody leads")
    return leader, start(OTHER[request.param])


def takes_over(candidate, witness, since):
    wait_until(lambda: witness.of(candidate), "somebody else leads")
    assert witness.of(candidate)[0][0] - since < TAKEOVER


def test_killed(pair, witness):
    leader, other = pair
    leader.process.kill()
    takes_over(other, witness, time.monotonic())


def test_stalled(pair, witness):
    leader, other = pair
    with stopped(leader.process.pid):
        takes_over(other, witness, time.monotonic())
    wait_until(lambda: leader.said[-1].startswith("stepped down"), "the old leader steps down")
    assert len(leader.said) - leader.said[-1].startswith("refused") <= 3
    time.sleep(TTL)
    assert leader.token is None and other.token == witness.token


def test_stalled_with_a_write_on_its_way(pair, witness):
    leader, other = pair
    witness.holds_back = leader.process.pid
    assert witness.held.wait(TTL)
    with stopped(leader.process.pid):
        takes_over(other, witness, time.monotonic())
        witness.let_go()
        wait_until(lambda: witness.of(leader)[-1][3] is False, "the late write is refused")
    wait_until(lambda: any(line.startswith("stepped down") for line in leader.said), "the old leader steps down")


def test_cut_off(pair, witness):
    leader, other = pair
    leader.proxy.cut()
    takes_over(other, witness, time.monotonic())
    # Nothing had to be refused: it had stepped down by itself before, and had not been told so.
    assert leader.said[-1].startswith("stepped down")
    assert witness.of(leader)[-1][0] < witness.of(other)[0][0]
    assert all(written for *_, written in witness.writes)
    # However long the network is gone, there is one heartbeat on its way (pgx cancels beside it, on two more connections), and what
    # arrives late does no harm.
    time.sleep(2 * TTL)
    leader.proxy.mend()
    time.sleep(TTL)
    assert leader.token is None and leader.proxy.most_connections <= 3
    before, since = len(witness.of(leader)), time.monotonic()
    other.process.kill()
    wait_until(lambda: len(witness.of(leader)) > before, "the first one leads again")
    # What was late may have been a grant to a candidacy that had been given up: that has to expire too.
    assert witness.of(leader)[before][0] - since < TAKEOVER + TTL


def test_its_connection_is_ended(pair, witness, db):
    leader, other = pair
    token = leader.token
    for _ in range(2):
        ended = db.execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'candidate' AND datname = current_database()")
        assert ended.fetchone()[0] >= 1
        time.sleep(TTL)
    assert (leader.token, other.token) == (token, None)


@pytest.mark.parametrize("language", OTHER)
def test_it_leaves_and_the_next_one_need_not_wait_for_the_ttl(start, witness, language):
    leader = start(language, ttl=10 * TTL)
    wait_until(lambda: witness.of(leader), "somebody leads")
    other = start(OTHER[language])
    leader.process.terminate()
    takes_over(other, witness, time.monotonic())
    assert leader.process.wait() == 0


def test_behind_a_pooler_in_transaction_mode(start, witness, db):
    """All share a server connection, also when the same statement has come again and again."""
    pooler = Pooler(db.info.dbname, 1)
    try:
        with contextlib.closing(pooler.connect()) as pooled:
            leader = start("python", ttl=1.5, db=pooled)
            wait_until(lambda: witness.of(leader), "somebody leads")
            others = [start(language, ttl=1.5, db=pooled) for language in ("python", "go", "go")]
            time.sleep(10)
            leader.process.terminate()
            wait_until(lambda: {write[2] for write in witness.writes} - {leader.process.pid}, "somebody else leads")
            assert [candidate.complained for candidate in (leader, *others)] == [[]] * 4
    finally:
        pooler.end()


LONG = 6
"""A ttl for what has to come at a certain moment, and the machine may be busy."""


@pytest.fixture(params=OTHER)
def alone(request, start, witness):
    """A leader whom nobody is after."""
    leader = start(request.param, ttl=LONG)
    wait_until(lambda: witness.of(leader), "somebody leads")
    return leader


def next_renewal(db):
    """Waits for it; when the lease ends now, by the clock of the witness."""
    query = "SELECT renewed_at, extract(epoch FROM expires_at - clock_timestamp())::float8 FROM advisory_leases.leases"
    before, _ = db.execute(query).fetchone()
    wait_until(lambda: db.execute(query).fetchone()[0] > before, "it is renewed")
    return time.monotonic() + db.execute(query).fetchone()[1]


def test_the_owner_of_the_database_releases_it(alone, db):
    next_renewal(db)
    db.execute("SELECT advisory_leases.release_lease_key(%s, %s)", [["leader", "importer"], alone.token])
    since = time.monotonic()
    wait_until(lambda: alone.token is None, "it steps down")
    assert time.monotonic() - since < LONG * 0.5, "with the next renewal, not when its time is up"


def test_its_connection_goes_dead(alone, db):
    """No error, no answer: there is time for another one before the lease ends."""
    token = alone.token
    next_renewal(db)
    alone.proxy.strand()
    time.sleep(2 * LONG)
    assert alone.complained and alone.said == [f"leads {token}"]


def test_the_ttl_is_counted_from_before_the_question(alone, witness, db):
    """The answer comes late, and is the last one."""
    next_renewal(db)
    alone.proxy.hold_answer_to(b"renew_lease_key")
    ends = next_renewal(db)
    time.sleep(LONG * 0.28)
    alone.proxy.requests, alone.proxy.replies = False, True
    wait_until(lambda: alone.token is None, "it steps down")
    assert witness.of(alone)[-1][0] < ends - LONG * 0.1


def test_a_token_that_has_ended_stays_ended(alone, db):
    """It is renewed while it leads, and told so when it does no more."""
    token = alone.token
    next_renewal(db)
    alone.proxy.hold_answer_to(b"renew_lease_key")
    wait_until(lambda: alone.complained, "it gives up waiting for the answer")
    alone.proxy.hold_answer_to(b"renew_lease_key")
    alone.proxy.replies = True
    wait_until(lambda: alone.token is None, "it steps down")
    alone.proxy.mend()
    wait_until(lambda: alone.token, "it leads again")
    assert alone.token > token


@pytest.mark.parametrize("language", OTHER)
def test_a_lost_answer_is_found(start, db, language):
    """The lease is granted, and the answer does not arrive."""
    key = ["leader", "importer"]
    mine = db.execute("SELECT advisory_leases.try_lease_key(%s, '1 min')", [key]).fetchone()[0]
    candidate = start(language, ttl=LONG)
    asked = "SELECT FROM pg_stat_activity WHERE application_name = 'candidate' AND datname = current_database() AND query LIKE '%try_lease_key%'"
    wait_until(lambda: db.execute(asked).fetchone() is not None, "it asks")
    # When it asks the next time, it gets the lease and no answer: not the answer to what it asks right now, which would be that it did not get it.
    with stopped(candidate.process.pid):
        time.sleep(0.2)
        candidate.proxy.hold_answer_to(b"try_lease_key")
        db.execute("SELECT advisory_leases.release_lease_key(%s, %s)", [key, mine])
    granted = "SELECT token FROM advisory_leases.leases WHERE NOT expired"
    wait_until(lambda: db.execute(granted).fetchone(), "it is granted")
    since, (token,) = time.monotonic(), db.execute(granted).fetchone()
    wait_until(lambda: candidate.complained, "it gives up waiting for the answer")
    candidate.proxy.mend()
    wait_until(lambda: candidate.token, "it leads")
    assert candidate.token == token and time.monotonic() - since < LONG


@pytest.mark.parametrize("language", OTHER)
def test_not_on_the_standby_is_not_granted(start, language):
    """A wait for a synchronous standby that somebody cancels is only a warning."""
    with Server(install=install_leases) as server:
        with server.connect() as db:
            def synchronous_with(names):
                db.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
                db.execute("SELECT pg_reload_conf()")

            synchronous_with("nobody")
            candidate = start(language, ttl=LONG, db=db)
            cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'candidate' AND wait_event = 'SyncRep'"
            wait_until(lambda: db.execute(cancel).fetchone(), "it waits for the standby")
            wait_until(lambda: candidate.complained, "it notices")
            assert "canceling" in candidate.complained[0]
            assert db.execute("SELECT count(*) FROM advisory_leases.leases WHERE NOT expired").fetchone() == (1,)
            assert candidate.said == []
            synchronous_with("")
            wait_until(lambda: candidate.token, "it leads")
