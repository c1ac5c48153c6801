"""How long a call waits, what ends the wait, and that the session's own settings stay as they are."""

import time
from contextlib import contextmanager

import psycopg
import pytest

from scene import (
    PATIENCE, Background, held_keys, in_key_order, name_key, native_only, pid_of, wait_until,
    wait_until_waiting,
)

NAME = ["timeout", "1"]
LOCKED = {"try_lock_keys": True, "lock_keys": ""}

levels = pytest.mark.parametrize("level", ["transaction", "session"])
functions = pytest.mark.parametrize("function", ["try_lock_keys", "lock_keys"])


def call_of(function, timeout, level="transaction"):
    return f"SELECT {function}(%s, timeout => {timeout}, session => {level == 'session'})"


@pytest.fixture
def holder(connect):
    """A session that holds NAME until it ends its transaction."""
    holder = connect(autocommit=False)
    holder.execute("SELECT lock_keys(%s)", [NAME])
    return holder


@pytest.fixture
def waiter(connect):
    return connect()


@pytest.fixture
def block(connect):
    """A session whose calls are in a transaction block: what they lock is held when they are done."""
    return connect(autocommit=False)


@contextmanager
def lock_timeout_unchanged(connection):
    before = connection.execute("SHOW lock_timeout").fetchone()
    yield
    assert connection.execute("SHOW lock_timeout").fetchone() == before


@contextmanager
def seconds(at_least, less_than=PATIENCE):
    begun = time.monotonic()
    yield
    assert at_least <= time.monotonic() - begun < less_than


def answer(connection, statement, names=NAME):
    return connection.execute(statement, [names]).fetchone()[0]


@levels
def test_a_wait_in_vain_is_false_not_early_and_locks_nothing(block, holder, level):
    with lock_timeout_unchanged(block), seconds(0.3):
        assert answer(block, call_of("try_lock_keys", "'300ms'", level)) is False
    assert held_keys(holder, pid_of(block)) == []


@levels
def test_a_wait_in_vain_is_an_error_not_early_and_locks_nothing(waiter, holder, level):
    with lock_timeout_unchanged(waiter), seconds(0.3):
        with pytest.raises(psycopg.errors.LockNotAvailable) as refused:
            answer(waiter, call_of("lock_keys", "'300ms'", level))
    assert refused.value.diag.message_primary == "could not obtain advisory lock within 300 ms"
    assert f"process {pid_of(holder)}" in refused.value.diag.message_detail
    assert held_keys(holder, pid_of(waiter)) == []


@levels
@functions
@pytest.mark.parametrize("timeout", ["'60s'", "NULL"])
def test_a_lock_that_is_released_in_time_is_granted(connect, block, holder, level, function, timeout):
    observer = connect()
    with lock_timeout_unchanged(block):
        call = Background(block, call_of(function, timeout, level), [NAME])
        wait_until_waiting(observer, pid_of(block))
        holder.commit()
        assert call.result() == LOCKED[function]
    held = [(name_key(*NAME), "ExclusiveLock")]
    assert held_keys(observer, pid_of(block)) == held
    block.commit()
    assert held_keys(observer, pid_of(block)) == (held if level == "session" else [])


def test_a_wait_in_vain_ends_neither_the_transaction_nor_a_savepoint(connect, holder):
    waiter = connect(autocommit=False)
    waiter.execute("SELECT lock_keys('{kept}')")
    with lock_timeout_unchanged(waiter):
        assert answer(waiter, call_of("try_lock_keys", "'50ms'")) is False
    assert answer(waiter, "SELECT holds_keys(%s)", ["kept"]) is True
    holder.commit()
    assert answer(waiter, call_of("try_lock_keys", "'50ms'")) is True


@levels
@functions
@pytest.mark.parametrize("lock_timeout, timeout, least", [("50ms", "400ms", 0.4), ("60s", "100ms", 0.1)])
def test_timeout_wins_over_lock_timeout(waiter, holder, level, function, lock_timeout, timeout, least):
    waiter.execute(f"SET lock_timeout = '{lock_timeout}'")
    statement = call_of(function, f"'{timeout}'", level)
    with lock_timeout_unchanged(waiter), seconds(least):
        if function == "try_lock_keys":
            assert answer(waiter, statement) is False
        else:
            with pytest.raises(psycopg.errors.LockNotAvailable, match=f"within {timeout[:-2]} ms"):
                answer(waiter, statement)


@levels
def test_without_a_timeout_lock_timeout_bounds_try_lock_keys(waiter, holder, level):
    waiter.execute("SET lock_timeout = '200ms'")
    with lock_timeout_unchanged(waiter), seconds(0.2):
        assert answer(waiter, call_of("try_lock_keys", "NULL", level)) is False


@levels
def test_without_a_timeout_lock_timeout_bounds_lock_keys(waiter, holder, level):
    waiter.execute("SET lock_timeout = '200ms'")
    with lock_timeout_unchanged(waiter), seconds(0.2):
        with pytest.raises(psycopg.errors.LockNotAvailable, match=r"within lock_timeout \(200 ms\)"):
            answer(waiter, call_of("lock_keys", "NULL", level))


@pytest.mark.parametrize("lock_timeout", ["0", "60s"])
def test_timeout_0_does_not_wait_whatever_lock_timeout_is(waiter, holder, lock_timeout):
    waiter.execute(f"SET lock_timeout = '{lock_timeout}'")
    waiter.execute("SET statement_timeout = '10s'")
    with lock_timeout_unchanged(waiter):
        assert answer(waiter, call_of("try_lock_keys", "'0'")) is False


@levels
def test_many_keys_have_one_deadline(connect, block, level):
    """With one for each, the call would begin a second wait of 4 s after 3 s."""
    names = in_key_order(["deadline", str(i)] for i in range(3))
    holders = [connect(autocommit=False) for _ in names]
    for holder, name in zip(holders, names):
        holder.execute("SELECT lock_keys(%s)", [name])
    with lock_timeout_unchanged(block), seconds(4, less_than=6.5):
        call = Background(block, call_of("try_lock_keys", "'4s'", level), [names])
        wait_until_waiting(connect(), pid_of(block))
        time.sleep(3)
        holders[0].commit()
        assert call.result() is False
    assert held_keys(holders[0], pid_of(block)) == []


@levels
@functions
@pytest.mark.parametrize("timeout", ["NULL", "'60s'"])
def test_statement_timeout_is_an_error_of_its_own(waiter, holder, level, function, timeout):
    waiter.execute("SET statement_timeout = '100ms'")
    with lock_timeout_unchanged(waiter), seconds(0.1):
        with pytest.raises(psycopg.errors.QueryCanceled, match="due to statement timeout"):
            answer(waiter, call_of(function, timeout, level))
    assert held_keys(holder, pid_of(waiter)) == []


@levels
@functions
@pytest.mark.parametrize("timeout", ["NULL", "'60s'"])
def test_a_cancel_is_an_error_of_its_own(connect, waiter, holder, level, function, timeout):
    observer = connect()
    with lock_timeout_unchanged(waiter):
        call = Background(waiter, call_of(function, timeout, level), [NAME])
        wait_until_waiting(observer, pid_of(waiter))
        observer.execute("SELECT pg_cancel_backend(%s)", [pid_of(waiter)])
        with pytest.raises(psycopg.errors.QueryCanceled, match="due to user request"):
            call.result()
    assert held_keys(observer, pid_of(waiter)) == []


@functions
@pytest.mark.parametrize("timeout", ["NULL", "'60s'"])
def test_a_waiter_can_be_terminated_and_is_in_nobodys_way(connect, waiter, holder, function, timeout):
    observer, next_in_line = connect(), connect()
    call = Background(waiter, call_of(function, timeout, "session"), [NAME])
    wait_until_waiting(observer, pid_of(waiter))
    behind = Background(next_in_line, call_of("try_lock_keys", "'60s'"), [NAME])
    wait_until_waiting(observer, pid_of(next_in_line))
    observer.execute("SELECT pg_terminate_backend(%s)", [pid_of(waiter)])
    with pytest.raises(psycopg.errors.AdminShutdown):
        call.result()
    holder.commit()
    assert behind.result() is True


@functions
def test_very_long_timeouts_wait_and_can_be_ended(connect, waiter, holder, function):
    observer = connect()
    # The third one is 20 ms in the last 32 bits: cut to them, it would be many waits, each at the end of the queue.
    timeouts = ["24.8 days", "24.9 days", "4294967.316 s", "1000 months", "178000000 years"]
    if waiter.info.server_version >= 170000:
        timeouts.append("infinity")

    def waiting_since():
        since = "SELECT max(waitstart) FROM pg_locks WHERE pid = %s AND NOT granted"
        return observer.execute(since, [pid_of(waiter)]).fetchone()[0]

    for timeout in timeouts:
        with lock_timeout_unchanged(waiter):
            call = Background(waiter, call_of(function, f"'{timeout}'"), [NAME])
            wait_until(waiting_since, "the call waits")
            begun = waiting_since()
            time.sleep(0.05)
            assert waiting_since() == begun
            observer.execute("SELECT pg_cancel_backend(%s)", [pid_of(waiter)])
            with pytest.raises(psycopg.errors.QueryCanceled):
                call.result()
    call = Background(waiter, call_of(function, f"'{timeouts[-1]}'"), [NAME])
    wait_until_waiting(observer, pid_of(waiter))
    holder.commit()
    assert call.result() == LOCKED[function]


@native_only("SQL sees the setting, not whether its timer runs")
@pytest.mark.parametrize("fired", [True, False])
def test_a_statement_timeout_of_the_past_is_not_mistaken_for_one_now(waiter, holder, fired):
    """Postgres remembers when that timer was last due; inside a running statement the setting is
    not looked at again."""
    waiter.execute("SET statement_timeout = '100ms'")
    if fired:
        with pytest.raises(psycopg.errors.QueryCanceled):
            waiter.execute("SELECT pg_sleep(60)")
    waiter.execute("SET statement_timeout = 0")
    with lock_timeout_unchanged(waiter):
        waiter.execute("""
            DO $$
            BEGIN
                PERFORM set_config('statement_timeout', '50ms', false);
                PERFORM set_config('test.answer', try_lock_keys('{timeout,1}', timeout => '200ms')::text, false);
                PERFORM set_config('statement_timeout', '0', false);
            END $$""")
        assert waiter.execute("SHOW test.answer").fetchone() == ("false",)


def test_a_statement_timeout_that_is_not_due_does_not_turn_false_into_an_error(waiter, holder):
    waiter.execute("SET statement_timeout = '60s'")
    with lock_timeout_unchanged(waiter):
        assert answer(waiter, call_of("try_lock_keys", "'100ms'")) is False
