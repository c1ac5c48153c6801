"""Whom a refused `lock_keys` names, and that it does not slow down those who lock while it finds out."""

import re

import psycopg
import pytest

from scene import Background, name_key, native_only, pid_of, wait_until_waiting

NAME = ["refused"]
KEY = name_key(*NAME)
IDLE = "is held by a session that is idle, or free now, or others wait for it before this session."


@pytest.fixture
def refused(connect):
    """Calls `lock_keys` on a connection; the DETAIL of the error, without the key."""
    def call(db, options=""):
        with pytest.raises(psycopg.errors.LockNotAvailable) as error:
            db.execute(f"SELECT lock_keys(%s, timeout => '0'{options})", [NAME])
        return re.sub(r"^Key \S+ \(-?\d+\) ", "", error.value.diag.message_detail)
    return call


def test_holders_in_transactions_are_always_named(connect, refused):
    db, holders = connect(), [connect(autocommit=False) for _ in range(3)]
    for holder in holders:
        holder.execute("SELECT lock_keys(%s, shared => true)", [NAME])
    first, second, third = (f"process {pid_of(holder)}" for holder in holders)
    for _ in range(5):
        told = refused(db)
        assert sorted(re.findall(r"process \d+", told)) == sorted([first, second, third])


def test_a_prepared_transaction_is_always_named(connect, refused):
    holder, db = connect(), connect()
    holder.execute("BEGIN")
    holder.execute("SELECT lock_keys(%s)", [NAME])
    holder.execute("PREPARE TRANSACTION 'live_refused'")
    try:
        for _ in range(3):
            assert refused(db) == "is held by a prepared transaction."
        # Whose session goes on with other things is not taken for the holder.
        with holder.transaction():
            holder.execute("SELECT 1")
            assert refused(db) == "is held by a prepared transaction."
    finally:
        holder.execute("ROLLBACK PREPARED 'live_refused'")


@native_only("there the whole lock table is looked at each time")
def test_idle_sessions_beside_one_in_a_transaction_are_not_forgotten(connect, refused):
    idle, holder, db = connect(), connect(autocommit=False), connect()
    idle.execute("SELECT lock_keys(%s, shared => true, session => true)", [NAME])
    holder.execute("SELECT lock_keys(%s, shared => true)", [NAME])
    assert refused(db) == f"is held by process {pid_of(holder)} and perhaps sessions that are idle."
    holder.rollback()
    # An exclusive holder has nobody beside it.
    idle.execute("SELECT unlock_keys(%s, shared => true)", [NAME])
    holder.execute("SELECT lock_keys(%s)", [NAME])
    assert refused(db) == f"is held by process {pid_of(holder)}."


@native_only("there the whole lock table is looked at each time")
def test_an_idle_session_is_named_once_a_second(connect, refused):
    holder, db, other = connect(), connect(), connect()
    holder.execute("SELECT lock_keys(%s, session => true)", [NAME])
    named = f"is held by process {pid_of(holder)}."
    assert refused(db) == named
    assert [refused(db) for _ in range(3)] == [IDLE] * 3
    # Each session for itself.
    assert refused(other) == named
    db.execute("SELECT pg_sleep(1.1)")
    assert refused(db) == named
    # When it runs something, it is seen without that.
    holder.execute("BEGIN; SELECT 1")
    assert [refused(db) for _ in range(3)] == [named] * 3
    holder.execute("ROLLBACK")


def test_who_waits_in_front_is_no_holder(connect, refused):
    """A shared lock is refused because of a writer that waits."""
    reader, db, third = connect(autocommit=False), connect(), connect()
    reader.execute("SELECT lock_keys(%s, shared => true)", [NAME])
    writer = connect(autocommit=False)
    call = Background(writer, "SELECT lock_keys(%s)", [NAME])
    wait_until_waiting(third, pid_of(writer))
    assert refused(db, ", shared => true") == "is free now or others wait for it before this session."
    reader.rollback()
    call.result()
