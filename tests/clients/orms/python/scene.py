"""What is done to each library: the block of the page, what a refusal is, and what becomes of a session-level lock in its pool."""

import json
import os
import sys
import time
from contextlib import contextmanager

import psycopg

PARTS = ["report", "daily"]
REQUEST = json.loads(sys.argv[1])
CONNECTION = {
    "host": os.environ["PGHOSTADDR"], "port": int(os.environ["PGPORT"]), "user": os.environ["PGUSER"],
    "password": os.environ["PGPASSWORD"], "database": os.environ["PGDATABASE"],
}
other = psycopg.connect(autocommit=True)


def ask_other(statement):
    return other.execute(statement, [PARTS]).fetchone()[0]


def is_free():
    return ask_other("SELECT keys_available(%s)")


@contextmanager
def held():
    """The other session has the lock."""
    ask_other("SELECT lock_keys(%s, session => true)")
    try:
        yield
    finally:
        ask_other("SELECT release_keys(%s)")


def wait_until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def error_of(function):
    """The error of something that must fail."""
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("it did not fail")


def check(version, names, refuse, lock, unlock, run=None):
    """names: what the block of the page uses; refuse, lock, unlock: lock_keys without waiting, and at session level, on
    one connection of the pool."""
    reports = []

    def report(*_):
        assert not is_free()
        reports.append(1)

    def attempt():
        scope = {"report": report, **names}
        exec(compile(REQUEST["block"], "the block of the page", "exec"), scope)
        return run(scope) if run else scope["locked"]

    assert attempt() is True and reports == [1]
    assert is_free()
    with held():
        assert attempt() is False and reports == [1]
        error = error_of(refuse)
        assert eval(REQUEST["sqlstate"], {"error": error}) == "55P03"
    lock()
    pool = "released" if is_free() else "held"
    unlock()
    assert is_free()
    # Often enough that a prepared statement would show.
    assert all(attempt() is True for _ in range(10))
    return {"version": version, "refused": type(error).__name__, "pool": pool}


def answer(facts):
    print(json.dumps(facts))
