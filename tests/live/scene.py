"""What several tests do with sessions: run something in the background, look at locks, wait for
what must happen."""

import hashlib
import os
import pathlib
import re
import signal
import subprocess
import threading
import time
import uuid
from contextlib import ExitStack, closing, contextmanager

import psycopg
import pytest

PATIENCE = 20
"""Seconds after which something that must happen counts as never happening."""


PORTABLE = os.environ.get("EDITION") == "portable"
"""Is it the portable edition that is tested?"""

MAJOR = int(re.match(r"PostgreSQL (\d+)", subprocess.run(
    [os.environ["PG_CONFIG"], "--version"], check=True, capture_output=True, text=True
).stdout)[1])

PORTABLE_SQL = pathlib.Path(__file__).parents[2] / "sql" / "portable.sql"


def native_only(reason):
    """Marks a test of what the portable edition cannot do, with the reason why."""
    return pytest.mark.skipif(PORTABLE, reason=reason)


def install_portable(db):
    """Puts the portable edition into a database."""
    db.execute(PORTABLE_SQL.read_text(encoding="utf-8"))


def install(db):
    """Puts the edition that is tested into a database."""
    if PORTABLE:
        install_portable(db)
    else:
        db.execute("CREATE EXTENSION advisory_keys")


@contextmanager
def scratch_database(prefix, options="", admin=None, install=install):
    """A new database with the edition that is tested, or what else `install` puts there; its name. Dropped
    in the end. `admin` is a connection to its server, if that is another than the tests'."""
    name = f"live_{prefix}_{uuid.uuid4().hex[:12]}"
    with ExitStack() as stack:
        if admin is None:
            admin = stack.enter_context(psycopg.connect(dbname="postgres", autocommit=True))
        admin.execute(f"CREATE DATABASE {name} {options}")
        stack.callback(admin.execute, f"DROP DATABASE {name} WITH (FORCE)")
        with psycopg.connect(
            host=admin.info.host, port=admin.info.port, user=admin.info.user, dbname=name, autocommit=True
        ) as db:
            install(db)
        yield name


@contextmanager
def roles(admin, **options):
    """New roles, by the words for them, with their options; dropped in the end, with all that they have in the database of `admin`."""
    names = {role: f"live_{role}_{uuid.uuid4().hex[:8]}" for role in options}
    for role, name in names.items():
        admin.execute(f"CREATE ROLE {name} {options[role]}")
    try:
        yield names
    finally:
        for name in names.values():
            admin.execute(f"DROP OWNED BY {name} CASCADE")
            admin.execute(f"DROP ROLE {name}")


@contextmanager
def connections(open_one):
    """A factory of connections that calls `open_one`; all are closed in the end."""
    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(closing(open_one(*arguments, **options)))


def name_key(*parts):
    """The key of a name, as any program can compute it."""
    digest = hashlib.sha256("-".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def unique(*parts):
    """A name that begins like this, and that no other test has."""
    return [*parts, uuid.uuid4().hex[:12]]


def in_key_order(names):
    """The order in which a call locks them."""
    return sorted(names, key=lambda name: name_key(*name))


def wait_until(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.005)


def pid_of(connection):
    return connection.info.backend_pid


def wait_until_waiting(observer, pid):
    """Until the backend waits in the queue of a lock."""
    wait_until(
        lambda: observer.execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = %s AND NOT granted)", [pid]
        ).fetchone()[0],
        f"backend {pid} waits for a lock",
    )


@contextmanager
def stopped(pid):
    """Keeps a process from running: what happens meanwhile, it sees all at once."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: _state_of(pid) == "T", f"process {pid} is stopped")
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _state_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0]


def held_keys(observer, pid):
    """The advisory locks that a backend holds: a sorted list of (key, mode)."""
    rows = observer.execute(
        "SELECT (classid::int8 << 32) | objid::int8, mode FROM pg_locks"
        " WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND pid = %s", [pid]
    )
    return sorted(rows.fetchall())


def own_context(text):
    """The CONTEXT of an error, or of a report in the log, without the line about the lock that Postgres puts
    above ours from 19 on."""
    return re.sub(r"waiting for \w+ on advisory lock \[[\d,]+\]\n\s*", "", text)


def statement_of(function, arguments):
    """The statement that calls it."""
    return f"{'CALL' if function == 'acquire_keys' else 'SELECT'} {function}({arguments})"


def answer(cursor):
    """The first value; of a procedure, which has none, what a void function answers."""
    return cursor.fetchone()[0] if cursor.description else ""


class Background:
    """Runs a statement on a connection in a thread; `result()` is its first value or raises."""

    def __init__(self, connection, statement, parameters=None):
        self._work = (connection, statement, parameters)
        self._outcome = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        connection, statement, parameters = self._work
        try:
            self._outcome = (answer(connection.execute(statement, parameters)), None)
        except Exception as error:  # handed to result()
            self._outcome = (None, error)

    def result(self):
        self._thread.join(PATIENCE)
        assert self._outcome is not None, f"never ended: {self._work[1]}"
        value, error = self._outcome
        if error is not None:
            raise error
        return value
