"""Deadlocks through slots, which Postgres cannot see: each is found, and none is made up."""

import functools
import random
import time
import uuid

import psycopg
import pytest

from load import run_all
from scene import Background, name_key, native_only, pid_of, unique, wait_until, wait_until_waiting
from slots import assert_nothing_left, hold, wait_until_queued, waiting

pytestmark = native_only("there, deadlocks through slots are not found")

TIMEOUT = 1
"""deadlock_timeout of the server under test, in seconds."""

FOUND = 2 * TIMEOUT + 2
"""Within how many seconds a deadlock among ten waiters is found; 2 of them for a busy machine."""


@pytest.fixture
def names():
    return [unique("deadlock") for _ in range(3)]


@pytest.fixture
def row(connect):
    """A table with one row; its name."""
    table = f"deadlock_{uuid.uuid4().hex}"
    connect().execute(f"CREATE TABLE {table} AS SELECT 1 AS v")
    return table


class Call(Background):
    """Ends the transaction of its session when it gets an error, or `at_once`; knows how long it took."""

    def __init__(self, session, statement, at_once=False):
        self._at_once = at_once
        super().__init__(session, statement)

    def _run(self):
        begun = time.monotonic()
        super()._run()
        self.took = time.monotonic() - begun
        if self._at_once or isinstance(self._outcome[1], psycopg.errors.DeadlockDetected):
            self._work[0].execute("ROLLBACK")


def slot_of(name, slots=1):
    return f"SELECT lock_slot('{{{','.join(name)}}}', {slots})"


def outcomes(calls):
    """The errors of those that got one, by their index; the others were granted what they waited for."""
    errors = {}
    for i, call in enumerate(calls):
        try:
            call.result()
        except psycopg.Error as error:
            errors[i] = error
    return errors


def assert_one_victim(calls):
    errors = outcomes(calls)
    assert len(errors) == 1, errors
    (victim, error), = errors.items()
    assert isinstance(error, psycopg.errors.DeadlockDetected)
    assert calls[victim].took < FOUND
    return victim, error


def test_slot_and_slot(connect, names):
    a, b = connect(), connect()
    hold(a, names[0], 1)
    hold(b, names[1], 1)
    calls = [Call(a, slot_of(names[1])), Call(b, slot_of(names[0]))]
    victim, error = assert_one_victim(calls)
    me, other = (a, b) if victim == 0 else (b, a)
    mine, theirs = names[1 - victim], names[victim]
    assert error.diag.message_primary == "deadlock detected"
    assert error.diag.message_detail.splitlines() == [
        f'Process {pid_of(me)} waits for the only slot of advisory key "{"-".join(mine)}" ({name_key(*mine)});'
        f" blocked by process {pid_of(other)}.",
        f"Process {pid_of(other)} waits for the only slot of advisory key {name_key(*theirs)};"
        f" blocked by process {pid_of(me)}.",
    ]
    assert error.diag.context.startswith("while locking a slot of advisory key")
    for session in (a, b):
        session.execute("ROLLBACK")
    observer = connect()
    assert_nothing_left(observer, a, b)
    me.close()
    counted = "SELECT deadlocks > 0 FROM pg_stat_database WHERE datname = current_database()"
    wait_until(lambda: observer.execute(counted).fetchone()[0], "it is counted")


@pytest.mark.parametrize("what", ["lock", "row", "exclusive"])
def test_slot_and_what_postgres_waits_for(connect, names, row, what):
    """The waiter for a slot holds what the holder of the slot waits for."""
    slot, other = names[0], names[1]
    take = {
        "lock": f"SELECT lock_keys('{{{','.join(other)}}}')",
        "row": f"UPDATE {row} SET v = v + 1",
        "exclusive": f"SELECT lock_keys('{{{','.join(other)}}}', shared => true)",
    }[what]
    again = take if what != "exclusive" else f"SELECT lock_keys('{{{','.join(other)}}}')"
    observer, holder, waiter = connect(), connect(), connect()
    hold(holder, slot, 1)
    waiter.execute("BEGIN")
    waiter.execute(take)
    blocked = Call(holder, again + (" RETURNING v" if what == "row" else ""))
    wait_until_waiting(observer, pid_of(holder))
    victim, error = assert_one_victim([blocked, Call(waiter, slot_of(slot))])
    assert victim == 1, "the holder waits for one who waits for all, so only the waiter can know"
    assert "Process" in error.diag.message_detail
    holder.execute("ROLLBACK")
    assert_nothing_left(observer, holder, waiter)


def test_not_every_holder_has_to_be_in_it(connect, names, row):
    """Of three slots one may get free: no deadlock, although another holder waits for the waiter."""
    observer, waiter, holders = connect(), connect(), [connect() for _ in range(3)]
    for holder in holders:
        hold(holder, names[0], 3)
    waiter.execute("BEGIN")
    waiter.execute(f"UPDATE {row} SET v = v + 1")
    blocked = Call(holders[0], f"UPDATE {row} SET v = v + 1 RETURNING v")
    wait_until_waiting(observer, pid_of(holders[0]))
    call = waiting(observer, waiter, names[0], 3, block=False)
    time.sleep(2.5 * TIMEOUT)
    holders[1].execute("COMMIT")
    assert call.result() == ""
    waiter.execute("COMMIT")
    assert outcomes([blocked]) == {}


def test_too_few_holders_are_left(connect, names, row):
    """The same with a waiter for one slot alone, for which all three must go."""
    observer, waiter, holders = connect(), connect(), [connect() for _ in range(3)]
    for holder in holders:
        hold(holder, names[0], 3)
    waiter.execute("BEGIN")
    waiter.execute(f"UPDATE {row} SET v = v + 1")
    blocked = Call(holders[0], f"UPDATE {row} SET v = v + 1 RETURNING v")
    wait_until_waiting(observer, pid_of(holders[0]))
    victim, _ = assert_one_victim([blocked, Call(waiter, slot_of(names[0]))])
    assert victim == 1


@pytest.mark.parametrize("place", [0, 5, 9])
def test_the_culprit_among_ten_waiters(connect, names, row, place):
    """All others get the slot, though those before it have had to let it pass."""
    observer, holder, sessions = connect(), connect(), [connect() for _ in range(10)]
    hold(holder, names[0], 1)
    culprit = sessions[place]
    culprit.execute("BEGIN")
    culprit.execute(f"UPDATE {row} SET v = v + 1")
    calls = []
    for session in sessions:
        if session is not culprit:
            session.execute("BEGIN")
        calls.append(Call(session, slot_of(names[0]), at_once=True))
        wait_until(
            lambda: observer.execute("SELECT count(*) FROM advisory_locks WHERE key = %s AND NOT granted",
                                     [name_key(*names[0])]).fetchone()[0] == len(calls), "it waits")
    begun = time.monotonic()
    blocked = Call(holder, f"UPDATE {row} SET v = v + 1 RETURNING v")
    with pytest.raises(psycopg.errors.DeadlockDetected):
        calls[place].result()
    assert time.monotonic() - begun < FOUND
    assert outcomes([blocked]) == {}
    holder.execute("COMMIT")
    assert set(outcomes(calls)) == {place}
    assert_nothing_left(observer, holder, *sessions)


def test_who_would_find_room_gets_past_who_would_not(connect, names, row):
    """The head waits for a holder who waits for one behind it, who could have a slot at once: the head gives way."""
    observer, holder, head, second = (connect() for _ in range(4))
    hold(holder, names[0], 1)
    second.execute("BEGIN")
    second.execute(f"UPDATE {row} SET v = v + 1")
    head_call = waiting(observer, head, names[0], 1)
    second_call = Call(second, slot_of(names[0], 10))
    wait_until_waiting(observer, pid_of(second))
    blocked = Call(holder, f"UPDATE {row} SET v = v + 1 RETURNING v")
    assert second_call.result() == ""
    assert second_call.took < FOUND
    second.execute("COMMIT")
    assert outcomes([blocked]) == {}
    holder.execute("COMMIT")
    assert head_call.result() == ""
    head.execute("COMMIT")


def test_who_waits_for_others_in_a_deadlock_is_no_victim(connect, names):
    """The holder of a slot is in a deadlock with another that Postgres finds; who waits for the slot waits on."""
    observer, holder, other, waiter = (connect() for _ in range(4))
    for session in (holder, other):
        session.execute("SET deadlock_timeout = '2500ms'")
    hold(holder, names[0], 1)
    holder.execute("SELECT lock_keys(%s)", [names[1]])
    other.execute("BEGIN")
    other.execute("SELECT lock_keys(%s)", [names[2]])
    call = waiting(observer, waiter, names[0], 1)
    lock = "SELECT lock_keys('{{{}}}')".format
    calls = [Call(holder, lock(",".join(names[2]))), Call(other, lock(",".join(names[1])))]
    errors = outcomes(calls)
    assert len(errors) == 1
    holder.execute("ROLLBACK")
    other.execute("ROLLBACK")
    assert call.result() == ""
    waiter.execute("COMMIT")


def test_a_deadlock_behind_a_head_that_has_none(connect, names, row):
    """The head waits for one of two holders, of whom one is idle; who waits behind it is in a deadlock with the other."""
    observer, holder, idle, head, waiter = (connect() for _ in range(5))
    hold(holder, names[0], 2)
    hold(idle, names[0], 2)
    head_call = waiting(observer, head, names[0], 2)
    waiter.execute("BEGIN")
    waiter.execute(f"UPDATE {row} SET v = 1")
    call = Call(waiter, slot_of(names[0]))
    wait_until_queued(observer, pid_of(waiter))
    blocked = Call(holder, f"UPDATE {row} SET v = 2")
    errors = outcomes([call, blocked])
    assert list(errors) == [0]
    assert isinstance(errors[0], psycopg.errors.DeadlockDetected)
    idle.execute("COMMIT")
    assert head_call.result() == ""
    head.execute("COMMIT")
    holder.execute("COMMIT")


def test_a_holder_whose_parallel_workers_wait(connect, names, row):
    """The holder itself waits for no lock, only for its workers."""
    observer, holder, waiter = connect(), connect(), connect()
    observer.execute(f"""
        CREATE TABLE many_{row} AS SELECT FROM generate_series(1, 10000);
        ALTER TABLE many_{row} SET (parallel_workers = 2);
        CREATE FUNCTION look_{row}() RETURNS bigint LANGUAGE plpgsql PARALLEL SAFE AS 'BEGIN RETURN (SELECT count(*) FROM {row}); END'""")
    for setting in ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size", "parallel_leader_participation"):
        holder.execute(f"SET {setting} = 0")
    hold(holder, names[0], 1)
    waiter.execute("BEGIN")
    waiter.execute(f"LOCK TABLE {row}")
    call = Call(waiter, slot_of(names[0]))
    wait_until_queued(observer, pid_of(waiter))
    query = Background(holder, f"SELECT sum(look_{row}()) FROM many_{row}")
    error = outcomes([call])[0]
    assert isinstance(error, psycopg.errors.DeadlockDetected)
    assert query.result() == 10000
    holder.execute("COMMIT")


def test_where_no_deadlock_is_possible_none_is_found(connect, names, row):
    """All take what they need in one order, and look for deadlocks all the time."""
    end = time.monotonic() + 3
    done = []

    def run(session, dice):
        session.execute("SET deadlock_timeout = '1ms'")
        while time.monotonic() < end:
            session.execute("BEGIN")
            session.execute(slot_of(names[0], dice.randint(1, 3)))
            if dice.random() < 0.5:
                session.execute(slot_of(names[1], dice.randint(1, 3)))
            if dice.random() < 0.5:
                session.execute(f"SELECT lock_keys('{{{','.join(names[2])}}}')")
            session.execute(f"UPDATE {row} SET v = v + 1")
            session.execute("COMMIT")
            done.append(1)

    sessions = [connect() for _ in range(12)]
    run_all([functools.partial(run, session, random.Random(i)) for i, session in enumerate(sessions)], patience=60)
    assert len(done) > 50
    assert_nothing_left(connect(), *sessions)


def test_two_holders_that_upgrade(connect, names):
    """Postgres' own deadlock, as with any shared locks; who waits for a slot meanwhile does not disturb it."""
    observer, a, b, waiter = (connect() for _ in range(4))
    hold(a, names[0], 2)
    hold(b, names[0], 2)
    call = waiting(observer, waiter, names[0], 2)
    upgrade = f"SELECT lock_keys('{{{','.join(names[0])}}}')"
    first = Call(a, upgrade)
    wait_until_waiting(observer, pid_of(a))
    errors = outcomes([Call(b, upgrade)])
    assert isinstance(errors[0], psycopg.errors.DeadlockDetected)
    assert outcomes([first]) == {}
    a.execute("COMMIT")
    assert call.result() == ""
    waiter.execute("COMMIT")
    assert_nothing_left(observer, a, b, waiter)
