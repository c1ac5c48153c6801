"""CALL acquire_keys that is not granted: the error leaves the session as any error does, wherever the call stands."""

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from acquiring import CALL, KEEPS, KEY, LETS_GO, holder, send, tables, xmin_of
from scene import Background, held_keys, pid_of, stopped, wait_until_waiting

INTERRUPTS = {
    "timeout": (psycopg.errors.LockNotAvailable, None),
    "lock_timeout": (psycopg.errors.LockNotAvailable, "SET lock_timeout = '100ms'"),
    "statement_timeout": (psycopg.errors.QueryCanceled, "SET statement_timeout = '100ms'"),
    "cancel": (psycopg.errors.QueryCanceled, None),
    "deadlock": (psycopg.errors.DeadlockDetected, "SET deadlock_timeout = '100ms'"),
}


@pytest.mark.parametrize("interrupt", INTERRUPTS)
@pytest.mark.parametrize("where", [
    "by itself", "in a block", "after a savepoint", "in DO", "EXECUTE in DO", "between COMMITs", "after ROLLBACK",
    "a function", "a procedure in a block with EXCEPTION", "a loop over rows", "REPEATABLE READ",
])
def test_an_error_leaves_the_session_as_any_error_does(connect, tables, holder, interrupt, where):
    error, setting = INTERRUPTS[interrupt]
    statements = {**LETS_GO, **KEEPS}[where]
    if interrupt == "timeout":
        if CALL not in statements[-1]:
            pytest.skip("has no timeout")
        statements = [s.replace(CALL, "CALL acquire_keys('{acquire,1}', timeout => '50ms')") for s in statements]
    session = connect()
    session.execute("SELECT lock_keys('{acquire,2}', session => true)")
    if setting:
        session.execute(setting)
    observer, pid = connect(), pid_of(session)
    if interrupt == "deadlock":
        holder.execute("SET deadlock_timeout = '1h'")
        other = Background(holder, "SELECT lock_keys('{acquire,2}')")
        wait_until_waiting(observer, pid_of(holder))
    call = send(session, statements)
    if interrupt == "cancel":
        wait_until_waiting(observer, pid)
        observer.execute("SELECT pg_cancel_backend(%s)", [pid])
    with pytest.raises(error):
        call.result()
    assert (KEY, "ExclusiveLock") not in held_keys(observer, pid)
    if session.info.transaction_status == TransactionStatus.INERROR:
        if "SAVEPOINT b" in statements:
            session.execute("ROLLBACK TO SAVEPOINT b")
            assert session.execute("SELECT count(*) FROM rows").fetchone() == (10,)
        session.execute("ROLLBACK")
    assert xmin_of(observer, pid) is None
    assert session.execute("SELECT count(*) FROM rows").fetchone() == (10,)
    session.execute("SELECT pg_advisory_unlock_all()")
    if interrupt == "deadlock":
        other.result()
    holder.release()
    session.execute("RESET statement_timeout")
    session.execute("BEGIN")
    session.execute(CALL)
    assert held_keys(observer, pid) == [(KEY, "ExclusiveLock")]


def test_a_waiter_can_be_terminated(connect, tables, holder):
    session = connect()
    pid, call = pid_of(session), send(session, [CALL])
    wait_until_waiting(holder, pid)
    holder.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
    with pytest.raises(psycopg.OperationalError):
        call.result()
    assert held_keys(holder, pid) == []


def test_an_error_after_the_last_grant_gives_the_locks_back(connect, tables, holder):
    """A cancel that comes with the grant is served when the snapshot is gone."""
    db = connect()
    call = Background(db, "CALL acquire_keys('{{acquire,1},{acquire,2}}', session => true)")
    wait_until_waiting(holder, pid_of(db))
    with stopped(pid_of(db)):
        holder.release()
        holder.execute("SELECT pg_cancel_backend(%s)", [pid_of(db)])
    with pytest.raises(psycopg.errors.QueryCanceled):
        call.result()
    assert held_keys(holder, pid_of(db)) == []
    assert db.execute("SELECT count(*) FROM rows").fetchone() == (10,)
