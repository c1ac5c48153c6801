"""Many keys in one call: when one in the middle cannot be had, the call leaves nothing held that was
not held before."""

import psycopg
import pytest

from scene import PORTABLE, Background, connections, held_keys, in_key_order, name_key, pid_of, statement_of, wait_until_waiting
from server import Server

NAMES = in_key_order(["many", str(i)] for i in range(6))
FIRST, SECOND, *_, LAST = NAMES
BLOCKED = NAMES[4]

levels = pytest.mark.parametrize("level", ["transaction", "session"])
modes = pytest.mark.parametrize("mode", ["exclusive", "shared"])


def call_of(function, level, mode, timeout):
    return statement_of(
        function, f"%s, timeout => {timeout}, session => {level == 'session'}, shared => {mode == 'shared'}"
    )


def false_at_once(waiter, call, **_):
    assert waiter.execute(call("try_lock_keys", "'0'"), [NAMES]).fetchone() == (False,)


def false_in_time(waiter, call, **_):
    assert waiter.execute(call("try_lock_keys", "'100ms'"), [NAMES]).fetchone() == (False,)


def error_at_once(waiter, call, **_):
    with pytest.raises(psycopg.errors.LockNotAvailable):
        waiter.execute(call("lock_keys", "'0'"), [NAMES])


def error_in_time(waiter, call, **_):
    with pytest.raises(psycopg.errors.LockNotAvailable):
        waiter.execute(call("lock_keys", "'100ms'"), [NAMES])


def error_of_a_procedure(waiter, call, **_):
    with pytest.raises(psycopg.errors.LockNotAvailable):
        waiter.execute(call("acquire_keys", "'100ms'"), [NAMES])


def statement_timeout(waiter, call, **_):
    waiter.execute("SET LOCAL statement_timeout = '100ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        waiter.execute(call("try_lock_keys", "'60s'"), [NAMES])


def cancel(waiter, call, observer, **_):
    locking = Background(waiter, call("lock_keys", "NULL"), [NAMES])
    wait_until_waiting(observer, pid_of(waiter))
    observer.execute("SELECT pg_cancel_backend(%s)", [pid_of(waiter)])
    with pytest.raises(psycopg.errors.QueryCanceled):
        locking.result()


def deadlock(waiter, call, observer, blocker):
    """The blocker waits for what the waiter has held from before."""
    waiter.execute("SET LOCAL deadlock_timeout = '10ms'")
    blocker.execute("SET deadlock_timeout = '1h'")
    blocking = Background(blocker, "SELECT lock_keys(%s)", [SECOND])
    wait_until_waiting(observer, pid_of(blocker))
    with pytest.raises(psycopg.errors.DeadlockDetected):
        waiter.execute(call("try_lock_keys", "'60s'"), [NAMES])
    observer.execute("SELECT pg_cancel_backend(%s)", [pid_of(blocker)])
    with pytest.raises(psycopg.errors.QueryCanceled):
        blocking.result()


REFUSALS = [false_at_once, false_in_time]
ERRORS = [error_at_once, error_in_time, error_of_a_procedure, statement_timeout, cancel, deadlock]


# An error at transaction level is not among them: what that leaves, Postgres gives back before anybody
# can look.
@modes
@pytest.mark.parametrize("fail, level", [
    *((fail, level) for fail in REFUSALS for level in ("transaction", "session")),
    *((fail, "session") for fail in ERRORS),
])
def test_a_call_that_fails_in_the_middle_takes_nothing_and_loses_nothing(connect, level, mode, fail):
    observer, blocker = connect(), connect()
    blocker.execute("SELECT lock_keys(%s, session => true)", [BLOCKED])

    # From before: one name twice for the session, one for the transaction.
    waiter = connect(autocommit=False)
    for _ in range(2):
        waiter.execute("SELECT lock_keys(%s, session => true, shared => %s)", [FIRST, mode == "shared"])
    waiter.execute("SELECT lock_keys(%s)", [SECOND])
    before = held_keys(observer, pid_of(waiter))
    assert len(before) == 2

    waiter.execute("SAVEPOINT s")
    fail(
        waiter=waiter, observer=observer, blocker=blocker,
        call=lambda function, timeout: call_of(function, level, mode, timeout),
    )
    assert held_keys(observer, pid_of(waiter)) == before
    waiter.execute("ROLLBACK TO s")
    assert held_keys(observer, pid_of(waiter)) == before

    waiter.commit()
    unlock = "SELECT unlock_keys(%s, shared => %s)"
    unlocked = [waiter.execute(unlock, [FIRST, mode == "shared"]).fetchone()[0] for _ in range(3)]
    assert unlocked == [True, True, False]
    assert held_keys(observer, pid_of(waiter)) == []


@pytest.mark.parametrize("timeout", ["'0'", "'50ms'"])
def test_what_the_same_statement_has_locked_stays(connect, timeout):
    """Only there a call could give back, at transaction level, what an earlier call took."""
    observer, blocker, waiter = connect(), connect(), connect(autocommit=False)
    blocker.execute("SELECT lock_keys(%s, session => true)", [BLOCKED])
    statement = f"SELECT lock_keys(%s), try_lock_keys(%s, timeout => {timeout})"
    assert waiter.execute(statement, [[FIRST, SECOND], NAMES]).fetchone()[1] is False
    assert held_keys(observer, pid_of(waiter)) == sorted((name_key(*name), "ExclusiveLock") for name in (FIRST, SECOND))


@pytest.mark.parametrize("fail", REFUSALS + ERRORS)
def test_a_session_level_call_that_fails_outside_a_savepoint_takes_nothing(connect, fail):
    """Here nothing but the call itself can clean up: neither ROLLBACK nor the end of the statement
    releases what is held for the session."""
    observer, blocker, waiter = connect(), connect(), connect(autocommit=False)
    blocker.execute("SELECT lock_keys(%s, session => true)", [BLOCKED])
    waiter.execute("SELECT lock_keys(%s, session => true)", [SECOND])
    waiter.commit()
    fail(
        waiter=waiter, observer=observer, blocker=blocker,
        call=lambda function, timeout: call_of(function, "session", "exclusive", timeout),
    )
    waiter.rollback()
    assert held_keys(observer, pid_of(waiter)) == [(name_key(*SECOND), "ExclusiveLock")]


@levels
def test_the_same_call_succeeds_once_the_way_is_free(connect, level):
    blocker, waiter = connect(), connect(autocommit=False)
    blocker.execute("SELECT lock_keys(%s, session => true)", [BLOCKED])
    call = call_of("try_lock_keys", level, "exclusive", "'60s'")
    assert waiter.execute(call_of("try_lock_keys", level, "exclusive", "'50ms'"), [NAMES]).fetchone() == (False,)
    locking = Background(waiter, call, [NAMES])
    wait_until_waiting(blocker, pid_of(waiter))
    blocker.execute("SELECT unlock_keys(%s)", [BLOCKED])
    assert locking.result() is True
    assert held_keys(blocker, pid_of(waiter)) == sorted((name_key(*name), "ExclusiveLock") for name in NAMES)


def test_what_a_failing_call_held_for_a_moment_others_get(connect):
    """Others wait for a key that the call holds while it waits for another one."""
    blocker, waiter, third = connect(), connect(), connect()
    blocker.execute("SELECT lock_keys(%s, session => true)", [BLOCKED])
    locking = Background(waiter, call_of("try_lock_keys", "session", "exclusive", "'60s'"), [NAMES])
    wait_until_waiting(blocker, pid_of(waiter))
    others = Background(third, "SELECT try_lock_keys(%s, timeout => '60s')", [FIRST])
    wait_until_waiting(blocker, pid_of(third))
    blocker.execute("SELECT pg_cancel_backend(%s)", [pid_of(waiter)])
    with pytest.raises(psycopg.errors.QueryCanceled):
        locking.result()
    assert others.result() is True


# A full lock table: on a server of its own, where little is enough to fill it.


@pytest.fixture(scope="module")
def tiny_server():
    """A server with a small lock table."""
    with Server(max_locks_per_transaction=10, max_connections=10) as server:
        yield server


@pytest.fixture
def tiny(tiny_server):
    """A factory of connections to it, all closed when the test ends."""
    with connections(tiny_server.connect) as connect:
        yield connect


@levels
@modes
@pytest.mark.parametrize(
    "function, timeout", [("try_lock_keys", "'0'"), ("try_lock_keys", "'60s'"), ("lock_keys", "NULL")]
)
def test_a_full_lock_table_is_an_error_and_leaves_nothing(tiny, level, mode, function, timeout):
    session, observer = tiny(autocommit=False), tiny()
    session.execute("SET advisory_keys.max_keys_per_call = 1000000")
    session.execute("SET advisory_keys.max_keys_per_session = 0")
    session.execute("SELECT lock_keys('{before}', session => true)")
    session.commit()
    before = [(name_key("before"), "ExclusiveLock")]
    many = [["full", str(i)] for i in range(40_000)]
    for _ in range(2):
        with pytest.raises(psycopg.errors.OutOfMemory) as error:
            session.execute(call_of(function, level, mode, timeout), [many])
        assert error.value.sqlstate == "53200"
        session.rollback()
        assert held_keys(observer, pid_of(session)) == before
    # The session goes on as if nothing had been.
    assert session.execute(call_of(function, level, mode, timeout), [many[:5]]).fetchone()[0] in (True, "")
    assert len(held_keys(observer, pid_of(session))) == 6


def test_what_a_full_lock_table_refuses_is_not_called_locked_by_others(tiny):
    other, session = tiny(), tiny()
    other.execute("""
        DO $$ BEGIN
            FOR i IN 1 .. 1000000 LOOP PERFORM pg_advisory_lock(i); END LOOP;
        EXCEPTION WHEN out_of_memory THEN NULL;
        END $$""")
    for statement in (
        "SELECT try_lock_keys('{x}')",
        "SELECT try_lock_keys('{x}', session => true)",
        *([] if PORTABLE else ["SELECT keys_available('{x}')"]),  # that one reads pg_locks
    ):
        with pytest.raises(psycopg.errors.OutOfMemory):
            session.execute(statement)
    if not PORTABLE:  # which needs a place for a lock on pg_locks
        assert session.execute("SELECT holds_keys('{x}')").fetchone() == (False,)
    other.execute("SELECT pg_advisory_unlock_all()")
    assert session.execute("SELECT try_lock_keys('{x}')").fetchone() == (True,)
