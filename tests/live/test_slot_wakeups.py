"""Whatever frees a slot wakes the head of the queue; what cannot do so is seen by it within 100 ms."""

import time
import uuid

import psycopg
import pytest

from scene import Background, native_only, pid_of, unique, wait_until_waiting
from slots import HELPERS, assert_nothing_left, hold, waiting

pytestmark = native_only("there, the head looks every 20 ms, and nobody wakes it")

LOOK = 0.1
"""Seconds after which a head looks by itself."""


def commit(holder, observer):
    holder.execute("COMMIT")


def rollback(holder, observer):
    holder.execute("ROLLBACK")


def rollback_to_savepoint(holder, observer):
    holder.execute("ROLLBACK TO s")


def error_in_transaction(holder, observer):
    with pytest.raises(psycopg.errors.DivisionByZero):
        holder.execute("SELECT 1 / 0")


def release_keys(holder, observer):
    holder.execute("SELECT release_keys(%s, shared => true)", [holder.name])


def unlock_keys(holder, observer):
    holder.execute("SELECT unlock_keys(%s, shared => true)", [holder.name])


def unlock_slot(holder, observer):
    holder.execute("SELECT unlock_slot(%s)", [holder.name])


def unlock_slot_in_a_block(holder, observer):
    holder.execute("BEGIN; SELECT unlock_slot('{%s}')" % ",".join(holder.name))


def core_unlock(holder, observer):
    holder.execute("SELECT pg_advisory_unlock_shared(advisory_key(%s))", [holder.name])


def core_unlock_all(holder, observer):
    holder.execute("SELECT pg_advisory_unlock_all()")


def discard_all(holder, observer):
    holder.execute("DISCARD ALL")


def close(holder, observer):
    holder.close()


def terminate(holder, observer):
    observer.execute("SELECT pg_terminate_backend(%s)", [pid_of(holder)])


WAKES = [
    ("transaction", commit), ("transaction", rollback), ("savepoint", rollback_to_savepoint),
    ("transaction", error_in_transaction), ("transaction", close), ("transaction", terminate),
    ("session", release_keys), ("session", unlock_keys), ("session", unlock_slot), ("session", unlock_slot_in_a_block),
    ("session", core_unlock), ("session", core_unlock_all), ("session", discard_all), ("session", close),
    ("session", terminate), ("shared lock", unlock_keys),
]


def holding(connect, name, level):
    """A session that holds a slot in this way."""
    holder = connect()
    holder.name = name
    if level == "savepoint":
        holder.execute("BEGIN; SAVEPOINT s")
        holder.execute("SELECT lock_slot(%s, 1)", [name])
    elif level == "shared lock":
        holder.execute("SELECT lock_keys(%s, shared => true, session => true)", [name])
    else:
        hold(holder, name, 1, level)
    return holder


def time_to_wake(connect, level, free):
    """Seconds from the moment at which a slot gets free, soon after the head has looked, to its grant."""
    name = unique("wake")
    observer, waiter, holder = connect(), connect(), holding(connect, name, level)
    call = waiting(observer, waiter, name, 1)
    begun = time.monotonic()
    free(holder, observer)
    call.result()
    took = time.monotonic() - begun
    waiter.execute("ROLLBACK")
    waiter.close()
    holder.close()
    return took


@pytest.mark.parametrize("level, free", WAKES, ids=[f"{level}: {free.__name__}" for level, free in WAKES])
def test_the_head_is_woken(connect, level, free):
    # On a busy machine once may take longer for another reason.
    assert min(time_to_wake(connect, level, free) for _ in range(3)) < LOOK / 2


def test_a_handler_of_exceptions_that_loses_a_slot_wakes_the_head(connect):
    """The slot is lost within the statement, which goes on."""
    observer, waiter, holder = connect(), connect(), connect()
    holder.execute("""
        CREATE PROCEDURE pg_temp.lose(name text[]) LANGUAGE plpgsql AS $$
        BEGIN
            BEGIN
                PERFORM lock_slot(name, 1), pg_advisory_lock_shared(4711);
                RAISE 'lost';
            EXCEPTION WHEN raise_exception THEN
                PERFORM pg_sleep(1);
            END;
        END $$""")
    took = []
    for _ in range(3):
        name = unique("wake")
        observer.execute("SELECT pg_advisory_lock(4711)")
        losing = Background(holder, "CALL pg_temp.lose(%s)", [name])
        wait_until_waiting(observer, pid_of(holder))
        call = waiting(observer, waiter, name, 1)
        begun = time.monotonic()
        observer.execute("SELECT pg_advisory_unlock(4711)")
        call.result()
        took.append(time.monotonic() - begun)
        waiter.execute("ROLLBACK")
        losing.result()
        holder.execute("SELECT pg_advisory_unlock_all()")
    assert min(took) < LOOK / 2


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_the_end_of_a_prepared_transaction_is_seen(connect, end):
    name, gid = unique("wake"), uuid.uuid4().hex
    holder, observer, waiter = connect(), connect(), connect()
    hold(holder, name, 1)
    holder.execute(f"PREPARE TRANSACTION '{gid}'")
    try:
        call = waiting(observer, waiter, name, 1)
        blocked = observer.execute("SELECT blocked_by FROM advisory_locks WHERE pid = %s", [pid_of(waiter)])
        assert blocked.fetchone() == ([0],)
    finally:
        observer.execute(f"{end} PREPARED '{gid}'")
    call.result()
    waiter.execute("COMMIT")
    assert_nothing_left(observer, holder, waiter)


def test_who_ends_at_the_head_hands_on(connect):
    """The next one finds the slot that got free meanwhile."""
    name = unique("wake")
    holder, observer, head, second = (connect() for _ in range(4))
    hold(holder, name, 1)
    calls = [waiting(observer, session, name, 1) for session in (head, second)]
    observer.execute("SELECT pg_terminate_backend(%s)", [pid_of(head)])
    holder.execute("COMMIT")
    assert calls[1].result() == ""
    with pytest.raises(psycopg.OperationalError):
        calls[0].result()
    second.execute("COMMIT")
    assert observer.execute(HELPERS).fetchall() == []
