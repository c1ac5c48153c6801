"""A grant that comes just before the waiter's timeout or cancel is served.

The race is made certain: the waiter's backend is stopped by SIGSTOP, the holder releases, which
grants the lock to the stopped waiter, then the timer passes or the cancel is sent, and SIGCONT lets
the waiter see both at once. Core then reports an error and holds the lock.
"""

import time
from contextlib import contextmanager

import psycopg
import pytest

from scene import PORTABLE, Background, held_keys, name_key, pid_of, statement_of, stopped, wait_until_waiting

NAME = ["race", "1"]
KEY = name_key(*NAME)
MODES = {"exclusive": "ExclusiveLock", "shared": "ShareLock"}


@contextmanager
def race(connect, waiter, statement, parameters):
    """Yields (the waiting call, an observer) while the waiter is stopped with the lock granted."""
    observer, holder = connect(), connect(autocommit=False)
    holder.execute("SELECT pg_advisory_xact_lock(%s)", [KEY])
    call = Background(waiter, statement, parameters)
    wait_until_waiting(observer, pid_of(waiter))
    with stopped(pid_of(waiter)):
        holder.rollback()
        assert held_keys(observer, pid_of(waiter)), "the release granted the lock to the waiter"
        yield call, observer


def call_of(function, level, mode, timeout):
    return statement_of(
        function, f"%s, timeout => {timeout}, session => {level == 'session'}, shared => {mode == 'shared'}"
    )


levels = pytest.mark.parametrize("level", ["transaction", "session"])
modes = pytest.mark.parametrize("mode", ["exclusive", "shared"])
functions = pytest.mark.parametrize("function", ["try_lock_keys", "lock_keys", "acquire_keys"])


def assert_refused(call, function):
    if function == "try_lock_keys":
        assert call.result() is False
        return
    with pytest.raises(psycopg.errors.LockNotAvailable):
        call.result()


@levels
@modes
@functions
@pytest.mark.parametrize("limit", ["timeout", "lock_timeout"])
def test_a_lock_timeout_that_loses_the_race_is_no_failure(connect, level, mode, function, limit):
    waiter = connect(autocommit=False)
    if limit == "lock_timeout":
        waiter.execute("SET lock_timeout = '200ms'")
        waiter.commit()
    statement = call_of(function, level, mode, "'200ms'" if limit == "timeout" else "NULL")
    for _ in range(2):
        with race(connect, waiter, statement, [NAME]) as (call, observer):
            time.sleep(0.25)
        if PORTABLE and level == "transaction":
            # There the lock is given back when the block of the wait is rolled back.
            assert_refused(call, function)
            waiter.rollback()
            assert held_keys(observer, pid_of(waiter)) == []
            continue
        answer = call.result()
        assert answer == (function == "try_lock_keys" or "")
        assert held_keys(observer, pid_of(waiter)) == [(KEY, MODES[mode])]
        expected = "200ms" if limit == "lock_timeout" else "0"
        assert waiter.execute("SHOW lock_timeout").fetchone() == (expected,)
        if level == "session":
            assert waiter.execute(f"SELECT unlock_keys(%s, {mode == 'shared'})", [NAME]).fetchone() == (True,)
        waiter.commit()
        assert held_keys(observer, pid_of(waiter)) == []


@levels
@modes
@functions
@pytest.mark.parametrize("timeout", ["NULL", "'30s'"])
@pytest.mark.parametrize("interrupt", ["statement_timeout", "cancel"])
def test_other_errors_leave_nothing_held(connect, level, mode, function, timeout, interrupt):
    waiter = connect()
    if interrupt == "statement_timeout":
        waiter.execute("SET statement_timeout = '200ms'")
    with race(connect, waiter, call_of(function, level, mode, timeout), [NAME]) as (call, observer):
        if interrupt == "cancel":
            observer.execute("SELECT pg_cancel_backend(%s)", [pid_of(waiter)])
        else:
            time.sleep(0.25)
    with pytest.raises(psycopg.errors.QueryCanceled):
        call.result()
    # At transaction level Postgres lets go of everything itself.
    assert held_keys(observer, pid_of(waiter)) == []
    assert waiter.execute("SHOW lock_timeout").fetchone() == ("0",)


@levels
@pytest.mark.parametrize("function", ["try_lock_keys", "acquire_keys"])
@pytest.mark.parametrize(
    "timeout, statement_timeout", [("200ms", "230ms"), ("230ms", "200ms"), ("200ms", "200ms")]
)
def test_statement_timeout_is_never_swallowed(connect, level, function, timeout, statement_timeout):
    """Both timers fire while the backend is stopped; core serves only one of them."""
    waiter = connect()
    waiter.execute(f"SET statement_timeout = '{statement_timeout}'")
    statement = call_of(function, level, "exclusive", f"'{timeout}'")
    with race(connect, waiter, statement, [NAME]) as (call, observer):
        time.sleep(0.25)
    with pytest.raises(psycopg.errors.QueryCanceled) as error:
        call.result()
    assert error.value.diag.message_primary == "canceling statement due to statement timeout"
    assert held_keys(observer, pid_of(waiter)) == []


@pytest.mark.parametrize("function", ["lock_keys", "acquire_keys"])
def test_a_grant_lost_in_the_middle_of_many_keys_is_given_back(connect, function):
    waiter = connect()
    names = [NAME, ["race", "2"], ["race", "3"]]
    waiter.execute("SELECT lock_keys(%s, session => true)", [names])
    waiter.execute("SELECT unlock_keys(%s)", [[NAME]])
    before = held_keys(connect(), pid_of(waiter))
    with race(connect, waiter, call_of(function, "session", "exclusive", "NULL"), [names]) as (call, observer):
        observer.execute("SELECT pg_cancel_backend(%s)", [pid_of(waiter)])
    with pytest.raises(psycopg.errors.QueryCanceled):
        call.result()
    assert held_keys(observer, pid_of(waiter)) == before
    assert waiter.execute("SELECT unlock_keys(%s)", [names[1:]]).fetchone() == (True,)
    assert held_keys(observer, pid_of(waiter)) == []


def test_the_race_is_real(connect):
    """What people write without the extension returns false while it holds the lock."""
    waiter = connect()
    waiter.execute("""
        CREATE OR REPLACE FUNCTION naive_lock(key bigint) RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_advisory_lock(key);
            RETURN true;
        EXCEPTION WHEN lock_not_available THEN
            RETURN false;
        END $$""")
    waiter.execute("SET lock_timeout = '200ms'")
    with race(connect, waiter, "SELECT naive_lock(%s)", [KEY]) as (call, observer):
        time.sleep(0.25)
    assert call.result() is False
    assert held_keys(observer, pid_of(waiter)) == [(KEY, "ExclusiveLock")]


@pytest.mark.skipif(not PORTABLE, reason="the extension calls no functions of SQL")
def test_postgres_merges_cores_functions_into_the_statements_that_note_what_they_did(connect, database):
    """Called by themselves, they would serve a cancel between the lock and the note of it. Merged, they are not counted."""
    holder, db = connect(), connect(autocommit=False)
    holder.execute("SELECT lock_keys('{b}', session => true)")
    db.execute("SET track_functions = 'all'")
    db.execute("SELECT try_lock_keys('{a}', session => true), try_lock_keys('{{a},{b},{c}}', timeout => '10ms', session => true)")
    db.execute("SELECT unlock_keys('{a}'), try_lock_keys('{a}'), release_keys('{a}')")
    called = {name for name, in db.execute("SELECT proname FROM pg_proc WHERE pg_stat_get_xact_function_calls(oid) > 0")}
    assert {"_advisory_keys_lock", "_advisory_keys_is_held"} <= called
    assert not called & {"_advisory_keys_try", "_advisory_keys_wait", "_advisory_keys_unlock"}
