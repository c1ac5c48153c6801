"""Locks across prepared transactions, idle sessions, polls, databases and isolation levels."""

import os
import uuid

import psycopg
import pytest

from scene import (
    PORTABLE, Background, held_keys, name_key, pid_of, scratch_database, wait_until,
    wait_until_waiting,
)

NAME = ["context", "1"]
KEY = name_key(*NAME)


def ask(connection, statement, *parameters):
    return connection.execute(statement, parameters).fetchone()[0]


def available(connection, shared=False):
    return ask(connection, "SELECT keys_available(%s, shared => %s)", NAME, shared)


# Prepared transactions.


@pytest.fixture
def prepare(connect):
    """Prepares a transaction that holds NAME; returns the session it was in, and what ends it."""
    session, gid = connect(), f"live_{uuid.uuid4().hex}"
    if ask(session, "SHOW max_prepared_transactions") == "0":
        pytest.skip("the server has max_prepared_transactions = 0")
    pending = []

    def finish():
        pending.remove(gid)
        session.execute(f"COMMIT PREPARED '{gid}'")

    def prepare(shared=False):
        session.execute("BEGIN")
        session.execute("SELECT lock_keys(%s, shared => %s)", [NAME, shared])
        session.execute(f"PREPARE TRANSACTION '{gid}'")
        pending.append(gid)
        return session, finish

    yield prepare
    if pending:
        finish()


def test_a_prepared_transaction_keeps_the_lock_and_is_named_as_holder(connect, prepare):
    other = connect()
    session, finish = prepare()
    assert held_keys(other, pid_of(session)) == []
    with pytest.raises(psycopg.errors.LockNotAvailable) as refused:
        other.execute("SELECT lock_keys(%s, timeout => '50ms')", [NAME])
    assert refused.value.diag.message_detail == f'Key "context-1" ({KEY}) is held by a prepared transaction.'
    # The session that prepared it has given it away as well.
    for asker in (session, other):
        assert available(asker) is False and available(asker, shared=True) is False
        assert ask(asker, "SELECT try_lock_keys(%s)", NAME) is False
        assert ask(asker, "SELECT holds_keys(%s)", NAME) is False

    waiting = Background(other, "SELECT try_lock_keys(%s, timeout => '60s')", [NAME])
    wait_until_waiting(session, pid_of(other))
    finish()
    assert waiting.result() is True
    assert available(session) is True


def test_a_prepared_transaction_with_a_shared_lock(connect, prepare):
    other = connect(autocommit=False)
    _, finish = prepare(shared=True)
    assert available(other, shared=True) is True and available(other) is False
    assert ask(other, "SELECT try_lock_keys(%s, shared => true)", NAME) is True
    # Now the count of shared holders decides.
    assert available(other) is False
    finish()
    assert available(other) is True


def test_a_key_locked_at_both_levels_cannot_be_prepared(connect, prepare):
    session, finish = prepare()
    finish()
    session.execute("BEGIN")
    session.execute("SELECT lock_keys(%s), lock_keys(%s, session => true)", [NAME, NAME])
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        session.execute("PREPARE TRANSACTION 'never'")
    assert held_keys(connect(), pid_of(session)) == [(KEY, "ExclusiveLock")]
    assert ask(session, "SELECT unlock_keys(%s)", NAME) is True
    assert available(connect()) is True


# keys_available


@pytest.mark.parametrize("idle", ["outside a transaction", "in a transaction"])
@pytest.mark.parametrize("shared", [True, False])
def test_a_session_level_lock_of_an_idle_session_is_seen(connect, idle, shared):
    holder, other = connect(autocommit=idle == "outside a transaction"), connect()
    assert available(other) is True
    holder.execute("SELECT lock_keys(%s, session => true, shared => %s)", [NAME, shared])
    assert available(other) is False
    assert available(other, shared=True) is shared
    assert held_keys(other, pid_of(other)) == []
    assert available(holder) is True
    holder.execute("SELECT unlock_keys(%s, shared => %s)", [NAME, shared])
    assert available(other) is True


@pytest.mark.parametrize("shared", [True, False])
def test_asking_never_makes_a_lock_of_somebody_else_fail(connect, shared):
    """The poll looks at the lock, which takes and gives back something; it excludes nobody."""
    poller, worker = connect(), connect()
    worker.execute("""
        CREATE OR REPLACE FUNCTION poll_until_stopped(names text[]) RETURNS int LANGUAGE plpgsql AS $$
        DECLARE polls int := 0;
        BEGIN
            PERFORM lock_keys('{started}', session => true);
            WHILE keys_available('{stop}') LOOP
                PERFORM keys_available(names), keys_available(names, shared => true);
                polls := polls + 1;
            END LOOP;
            RETURN polls;
        END $$""")
    if shared:
        poller.execute("SELECT lock_keys(%s, session => true, shared => true)", [NAME])
    polling = Background(poller, "SELECT poll_until_stopped(%s)", [NAME])
    wait_until(lambda: ask(worker, "SELECT NOT keys_available('{started}')"), "the poll begins")
    worker.execute(f"""
        DO $$
        BEGIN
            FOR i IN 1 .. 200000 LOOP
                IF NOT try_lock_keys('{{context,1}}', session => true, shared => {shared}) THEN
                    RAISE 'refused';
                END IF;
                PERFORM unlock_keys('{{context,1}}', shared => {shared});
            END LOOP;
        END $$""")
    worker.execute("SELECT lock_keys('{stop}', session => true)")
    assert polling.result() > 0


# Memory.


def test_caught_timeouts_cost_no_memory(connect):
    holder, waiter = connect(), connect()
    holder.execute("SELECT lock_keys(%s, session => true)", [NAME])

    def time_out(times):
        waiter.execute(f"""
            DO $$
            BEGIN
                FOR i IN 1 .. {times} LOOP
                    IF try_lock_keys('{{context,1}}', timeout => '1 ms', session => i % 2 = 0) THEN
                        RAISE 'locked';
                    END IF;
                END LOOP;
            END $$""")
        in_contexts = ask(waiter, "SELECT sum(used_bytes)::bigint FROM pg_backend_memory_contexts")
        with open(f"/proc/{pid_of(waiter)}/statm", encoding="ascii") as statm:
            resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return in_contexts, resident

    contexts_before, resident_before = time_out(200)
    contexts, resident = time_out(2000)
    # What 20 bytes for each timeout would be, and 500.
    assert contexts - contexts_before < 2000 * 20
    assert resident - resident_before < 2000 * 500


# Databases.


def test_databases_do_not_share_locks(connect):
    with scratch_database("other") as name:
        here, there = connect(), connect(dbname=name)
        lock = "SELECT try_lock_keys(%s, session => true)"
        assert ask(here, lock, NAME) is True
        assert available(there) is True and ask(there, "SELECT holds_keys(%s)", NAME) is False
        assert ask(there, lock, NAME) is True
        # Who holds it in the other database is none of the holders here.
        with pytest.raises(psycopg.errors.LockNotAvailable) as refused:
            connect().execute("SELECT lock_keys(%s, timeout => '0')", [NAME])
        assert refused.value.diag.message_detail.endswith(f"is held by process {pid_of(here)}.")


# Isolation levels.

WARNING = (
    "01000",
    "advisory lock was granted after waiting, but the transaction's snapshot is older",
    "Use READ COMMITTED, or lock at session level before BEGIN.",
)


@pytest.fixture
def session(connect):
    """A session, with the list of the warnings that it gets."""
    session, warnings = connect(), []
    session.add_notice_handler(
        lambda warning: warnings.append((warning.sqlstate, warning.message_primary, warning.message_hint))
    )
    return session, warnings


def lock_after_waiting(connect, waiter, level, timeout="'60s'", before_release=None):
    holder = connect(autocommit=False)
    holder.execute("SELECT lock_keys(%s)", [NAME])
    statement = f"SELECT try_lock_keys(%s, timeout => {timeout}, session => {level == 'session'})"
    call = Background(waiter, statement, [NAME])
    wait_until_waiting(connect(), pid_of(waiter))
    if before_release:
        holder.execute(before_release)
    holder.commit()
    assert call.result() is True


levels = pytest.mark.parametrize("level", ["transaction", "session"])
old_snapshots = pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])


@levels
@old_snapshots
@pytest.mark.parametrize("timeout", ["'60s'", "NULL"])
def test_a_lock_that_was_waited_for_under_an_old_snapshot_warns(connect, session, isolation, level, timeout):
    waiter, warnings = session
    waiter.execute(f"BEGIN ISOLATION LEVEL {isolation}")
    lock_after_waiting(connect, waiter, level, timeout)
    # SQL cannot tell whether there is a transaction block, on which it depends at session level.
    assert warnings == ([] if PORTABLE and level == "session" else [WARNING])


@old_snapshots
def test_the_warning_is_true(connect, session, isolation):
    waiter, warnings = session
    waiter.execute("DROP TABLE IF EXISTS stock")
    waiter.execute("CREATE TABLE stock AS SELECT 1 AS pieces")
    for begin, seen in ((f"BEGIN ISOLATION LEVEL {isolation}", 1), ("BEGIN", 2)):
        waiter.execute("UPDATE stock SET pieces = 1")
        waiter.execute(begin)
        lock_after_waiting(connect, waiter, "transaction", before_release="UPDATE stock SET pieces = 2")
        assert ask(waiter, "SELECT pieces FROM stock") == seen
        waiter.execute("COMMIT")
    assert warnings[-1:] == [WARNING]


@levels
def test_read_committed_does_not_warn(connect, session, level):
    waiter, warnings = session
    waiter.execute("BEGIN")
    lock_after_waiting(connect, waiter, level)
    assert warnings == []


@levels
@old_snapshots
def test_a_lock_that_is_free_does_not_warn(session, isolation, level):
    locker, warnings = session
    locker.execute(f"BEGIN ISOLATION LEVEL {isolation}")
    assert ask(locker, f"SELECT try_lock_keys(%s, timeout => '60s', session => {level == 'session'})", NAME) is True
    assert warnings == []


@old_snapshots
def test_a_wait_in_vain_does_not_warn(connect, session, isolation):
    waiter, warnings = session
    connect().execute("SELECT lock_keys(%s, session => true)", [NAME])
    waiter.execute(f"BEGIN ISOLATION LEVEL {isolation}")
    assert ask(waiter, "SELECT try_lock_keys(%s, timeout => '50ms')", NAME) is False
    assert warnings == []


@old_snapshots
def test_the_cure_that_the_hint_names_does_not_warn(connect, session, isolation):
    waiter, warnings = session
    waiter.execute(f"SET default_transaction_isolation = '{isolation.lower()}'")
    lock_after_waiting(connect, waiter, "session")
    waiter.execute("BEGIN")
    assert ask(waiter, "SELECT holds_keys(%s)", NAME) is True
    assert warnings == []
