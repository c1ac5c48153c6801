"""`advisory_lock_stats`: how each kind of wait is counted, by how it ends."""

import psycopg
import pytest

from scene import Background, native_only, pid_of, stopped, wait_until_waiting
from server import MODES, connect, server_fixture  # noqa: F401, a fixture
from slots import wait_until_queued
from stats import counts, kind  # noqa: F401, a fixture

pytestmark = native_only("statistics need shared memory")

server = server_fixture(MODES, deadlock_timeout="20ms")


def times(db, kind):
    return db.execute("SELECT wait_time, max_wait_time FROM advisory_lock_stats WHERE first_part = %s", [kind]).fetchone()


CALLS = {
    "lock_keys": "SELECT lock_keys(%s{})",
    "try_lock_keys": "SELECT try_lock_keys(%s, timeout => '1h'{})",
    "acquire_keys": "CALL acquire_keys(%s{})",
    "lock_slot": "SELECT lock_slot(%s, 1{})",
}
"""Each waits, and takes more arguments."""


@pytest.fixture(params=CALLS)
def contended(connect, request, kind):
    """Somebody who holds, somebody who has begun to wait by some function, and a third who looks on."""
    holder, waiter, observer = connect(), connect(), connect()
    hold = "SELECT lock_slot(%s, 1)" if request.param == "lock_slot" else "SELECT lock_keys(%s)"
    holder.execute("BEGIN")
    holder.execute(hold, [[kind, "1"]])

    def wait(options=""):
        call = Background(waiter, CALLS[request.param].format(options), [[kind, "1"]])
        wait_until_queued(observer, pid_of(waiter))
        return call

    return holder, waiter, observer, wait


def test_a_wait_that_ends_well(contended, kind):
    holder, _, observer, wait = contended
    call = wait()
    assert counts(observer, kind) == {"locks": 1, "waits": 1}
    observer.execute("SELECT pg_sleep(0.1)")
    holder.execute("COMMIT")
    assert call.result() in ("", True)
    assert counts(observer, kind) == {"locks": 2, "waits": 1}
    total, longest = times(observer, kind)
    assert 100 <= total < 20_000 and total == longest


@pytest.mark.parametrize("setting", ["timeout", "lock_timeout"])
def test_a_wait_that_times_out(contended, kind, setting, request):
    _, waiter, observer, wait = contended
    if setting == "lock_timeout":
        waiter.execute("SET lock_timeout = '150ms'")
    elif "try_lock_keys" in request.node.name:
        pytest.skip("it has one already")
    if "try_lock_keys" in request.node.name:
        # Its own timeout would win.
        call = Background(waiter, "SELECT try_lock_keys(%s, timeout => NULL)", [[kind, "1"]])
        assert call.result() is False
    else:
        with pytest.raises(psycopg.errors.LockNotAvailable):
            wait(", timeout => '150ms'" if setting == "timeout" else "").result()
    assert counts(observer, kind) == {"locks": 1, "waits": 1, "timeouts": 1}
    assert times(observer, kind)[0] >= 100


@pytest.mark.parametrize("how", ["pg_cancel_backend", "statement_timeout"])
def test_a_wait_that_is_cancelled(contended, kind, how):
    _, waiter, observer, wait = contended
    if how == "statement_timeout":
        waiter.execute("SET statement_timeout = '150ms'")
    call = wait()
    if how == "pg_cancel_backend":
        observer.execute("SELECT pg_cancel_backend(%s)", [pid_of(waiter)])
    with pytest.raises(psycopg.errors.QueryCanceled):
        call.result()
    assert counts(observer, kind) == {"locks": 1, "waits": 1, "cancels": 1}
    assert times(observer, kind)[0] > 0


def test_a_wait_of_a_session_that_is_terminated(contended, kind):
    _, waiter, observer, wait = contended
    call = wait()
    observer.execute("SELECT pg_terminate_backend(%s)", [pid_of(waiter)])
    with pytest.raises(psycopg.OperationalError):
        call.result()
    assert counts(observer, kind) == {"locks": 1, "waits": 1}
    assert times(observer, kind) == (0, 0)


def test_a_wait_that_is_a_deadlock(contended, kind):
    """It counts where it is noticed: by who begins to wait last, or by the one who waits for a slot, who looks again and again."""
    holder, waiter, observer, wait = contended
    waiter.execute("BEGIN")
    waiter.execute("SELECT lock_keys(%s)", [[f"{kind} other"]])
    calls = {kind: (waiter, wait())}
    # The waiter has looked for deadlocks in vain.
    observer.execute("SELECT pg_sleep(0.1)")
    calls[f"{kind} other"] = (holder, Background(holder, "SELECT lock_keys(%s)", [[f"{kind} other"]]))
    victims = []
    for first in reversed(calls):
        session, call = calls[first]
        try:
            call.result()
        except psycopg.errors.DeadlockDetected:
            victims.append(first)
        session.execute("ROLLBACK")
    (victim,) = victims
    for first in calls:
        granted = {"locks": 1, "deadlocks": 1} if first == victim else {"locks": 2}
        assert counts(observer, first) == {**granted, "waits": 1}


def test_a_grant_in_the_moment_of_the_timeout_is_a_lock(connect, kind):
    holder, waiter, observer = connect(), connect(), connect()
    holder.execute("BEGIN")
    holder.execute("SELECT lock_keys(%s)", [[kind]])
    call = Background(waiter, "SELECT try_lock_keys(%s, timeout => '200ms', session => true)", [[kind]])
    wait_until_waiting(observer, pid_of(waiter))
    with stopped(pid_of(waiter)):
        holder.execute("COMMIT")
        observer.execute("SELECT pg_sleep(0.3)")
    assert call.result() is True
    assert counts(observer, kind) == {"locks": 2, "waits": 1}


def test_a_wait_with_several_names_counts_for_the_one_it_waits_for(connect, kind):
    holder, waiter, observer = connect(), connect(), connect()
    holder.execute("BEGIN")
    holder.execute("SELECT lock_keys(%s)", [[f"{kind} b", "x"]])
    call = Background(waiter, "SELECT lock_keys(%s, timeout => '1h')", [[[f"{kind} a", "x"], [f"{kind} b", "x"]]])
    wait_until_waiting(observer, pid_of(waiter))
    holder.execute("COMMIT")
    call.result()
    assert counts(observer, f"{kind} a") == {"locks": 1}
    assert counts(observer, f"{kind} b") == {"locks": 2, "waits": 1}
