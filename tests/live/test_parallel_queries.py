"""Parallel queries: the leader waits for a lock while a worker fails, and workers call functions that
are none of theirs.

A worker's error reaches the leader in the middle of its wait, as an interrupt, with the SQLSTATE that the
worker gave it, and Postgres takes the leader neither out of the queue nor out of the lock.
"""

import time

import psycopg
import pytest

from parallel import leader, query  # noqa: F401, a fixture
from scene import (
    Background, held_keys, in_key_order, name_key, native_only, pid_of, stopped, wait_until, wait_until_waiting,
)
from slots import assert_nothing_left, wait_until_queued, waiting

pytestmark = native_only("its functions are PARALLEL UNSAFE: no query that calls them has workers")

NAMES = in_key_order(["parallel", str(i)] for i in range(3))
FREE, BLOCKED, _ = NAMES
GATE = 4711
"""A worker fails as soon as nobody holds this, a key of two integers."""

# The last one that a worker returns a row for: by then it has sent the first rows, and what it still
# sends fits into its queue, so that it does not wait for the leader.
LATE = 180

levels = pytest.mark.parametrize("level", ["transaction", "session"])
names = pytest.mark.parametrize("names", [BLOCKED, NAMES], ids=["one key", "several keys"])


def fails_with(leader, action):
    """Makes the worker of the leader's next query do this, in PL/pgSQL, in its late row."""
    leader.execute(f"""
        CREATE OR REPLACE FUNCTION pg_temp.fails(n int) RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS $$
        BEGIN
            IF n = {LATE} THEN {action} END IF;
            RETURN repeat('x', 250);
        END $$""")


def raises_after_gate(sqlstate):
    return f"""
        WHILE EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND objid = {GATE}) LOOP
            PERFORM pg_sleep(0.005);
        END LOOP;
        RAISE 'worker says no' USING ERRCODE = '{sqlstate}', DETAIL = 'its detail', HINT = 'its hint';"""


def call_of(function, timeout, level):
    return f"{function}(%s, timeout => {timeout}, session => {level == 'session'})"


class Scene:
    """A leader that waits for BLOCKED, whose worker is about to fail."""

    def __init__(self, connect, leader):
        self.leader, self.observer, self.holder = leader, connect(), connect()
        self.holder.execute("SELECT lock_keys(%s, session => true), pg_advisory_lock(1, %s)", [BLOCKED, GATE])

    def wait(self, call, names, sqlstate, until=wait_until_waiting):
        fails_with(self.leader, raises_after_gate(sqlstate))
        self._waiting = Background(self.leader, query(call), [names])
        until(self.observer, pid_of(self.leader))

    def stopped_leader(self):
        return stopped(pid_of(self.leader))

    def grant(self):
        self.holder.execute("SELECT unlock_keys(%s)", [BLOCKED])
        assert (name_key(*BLOCKED), "ExclusiveLock") in held_keys(self.observer, pid_of(self.leader))

    def fail(self):
        self.holder.execute("SELECT pg_advisory_unlock(1, %s)", [GATE])
        workers = "SELECT count(*) FROM pg_stat_activity WHERE leader_pid = %s"
        wait_until(
            lambda: self.observer.execute(workers, [pid_of(self.leader)]).fetchone() == (0,), "the worker has failed")

    def assert_error_of_worker(self, sqlstate):
        with pytest.raises(psycopg.Error) as error:
            self._waiting.result()
        diag = error.value.diag
        assert (diag.sqlstate, diag.message_primary) == (sqlstate, "worker says no")
        assert (diag.message_detail, diag.message_hint) == ("its detail", "its hint")

    def assert_nothing_left(self):
        """The leader is in no queue and holds nothing, and the queue is sound: the lock goes round in it."""
        locks = "SELECT granted FROM pg_locks WHERE locktype = 'advisory' AND pid = %s"
        assert self.observer.execute(locks, [pid_of(self.leader)]).fetchall() == []
        if self.holder.execute("SELECT holds_keys(%s)", [BLOCKED]).fetchone() == (False,):
            self.holder.execute("SELECT lock_keys(%s, session => true)", [BLOCKED])
        again = Background(self.leader, "SELECT try_lock_keys(%s, timeout => '60s', session => true)", [BLOCKED])
        wait_until_waiting(self.observer, pid_of(self.leader))
        self.grant()
        assert again.result() is True


@pytest.fixture
def scene(connect, leader):
    return Scene(connect, leader)


# Two of them are the SQLSTATEs of what may end a wait of ours.
sqlstates = pytest.mark.parametrize("sqlstate", ["55P03", "57014", "22012"])
calls = pytest.mark.parametrize("function, timeout", [("try_lock_keys", "'60s'"), ("lock_keys", "NULL")])


@levels
@names
@calls
@sqlstates
def test_a_workers_error_ends_the_wait_as_it_came(scene, level, names, function, timeout, sqlstate):
    scene.wait(call_of(function, timeout, level), names, sqlstate)
    scene.fail()
    scene.assert_error_of_worker(sqlstate)
    scene.assert_nothing_left()


@levels
@names
@calls
@sqlstates
def test_a_workers_error_that_follows_the_grant_takes_it_back(scene, level, names, function, timeout, sqlstate):
    scene.wait(call_of(function, timeout, level), names, sqlstate)
    with scene.stopped_leader():
        scene.grant()
        scene.fail()
    scene.assert_error_of_worker(sqlstate)
    scene.assert_nothing_left()


@levels
@sqlstates
@pytest.mark.parametrize("place", ["behind a locker", "head of the queue", "in the queue"])
def test_a_workers_error_ends_the_wait_for_a_slot(scene, connect, level, sqlstate, place):
    ahead, after = connect(), connect()
    if place != "behind a locker":
        scene.holder.execute("SELECT unlock_keys(%s), lock_slot(%s, 1, session => true)", [BLOCKED, BLOCKED])
    if place == "in the queue":
        first = waiting(scene.observer, ahead, BLOCKED, 1)
    scene.wait(f"lock_slot(%s, 1, session => {level == 'session'})", BLOCKED, sqlstate, wait_until_queued)
    last = waiting(scene.observer, after, BLOCKED, 1)
    scene.fail()
    scene.assert_error_of_worker(sqlstate)
    assert held_keys(scene.observer, pid_of(scene.leader)) == []
    # The others get it, in turn.
    scene.holder.execute("SELECT pg_advisory_unlock_all()")
    if place == "in the queue":
        assert first.result() == ""
        ahead.execute("COMMIT")
    assert last.result() == ""
    after.execute("COMMIT")
    assert_nothing_left(scene.observer, scene.leader, ahead, after)


@levels
@names
@sqlstates
@pytest.mark.parametrize("granted", [True, False])
def test_a_workers_error_beside_our_timeout_is_not_lost(scene, level, names, sqlstate, granted):
    """Both are there when the leader looks. Postgres raises the timeout first."""
    scene.wait(call_of("try_lock_keys", "'200ms'", level), names, sqlstate)
    with scene.stopped_leader():
        if granted:
            scene.grant()
        scene.fail()
        time.sleep(0.2)
    scene.assert_error_of_worker(sqlstate)
    scene.assert_nothing_left()


@levels
def test_a_worker_that_cannot_have_a_table_in_time_is_not_our_timeout(connect, scene, level):
    """Nothing about this one is contrived: `lock_timeout`, and a table that is being altered."""
    ddl, leader = connect(autocommit=False), scene.leader
    ddl.execute("CREATE TABLE altered_elsewhere ()")
    ddl.commit()
    ddl.execute("LOCK TABLE altered_elsewhere")
    fails_with(leader, "PERFORM FROM altered_elsewhere;")
    leader.execute("SET lock_timeout = '200ms'")
    with pytest.raises(psycopg.errors.LockNotAvailable, match="canceling statement due to lock timeout"):
        leader.execute(query(call_of("try_lock_keys", "'60s'", level)), [BLOCKED])
    assert leader.execute("SHOW lock_timeout").fetchone() == ("200ms",)
    scene.assert_nothing_left()
    ddl.execute("DROP TABLE altered_elsewhere")
    ddl.commit()


# In workers.


def in_worker(leader, expression):
    """The value, as text, of an expression in a function that is labelled PARALLEL SAFE."""
    leader.execute(f"""
        CREATE OR REPLACE FUNCTION pg_temp.labelled(n int) RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS $$
        BEGIN
            RETURN {expression};
        END $$""")
    statement = "SELECT min(value) FROM (SELECT pg_temp.labelled(n) AS value FROM rows OFFSET 0) AS of_worker"
    return leader.execute(statement).fetchone()[0]


@pytest.mark.parametrize("call", [
    "try_lock_keys('{parallel}')",
    "try_lock_keys('{parallel}', session => true)",
    "lock_keys('{parallel}')",
    "unlock_keys('{parallel}')",
    "release_keys('{parallel}')",
    "holds_keys('{parallel}')",
    "keys_available('{parallel}')",
    "try_lock_slot('{parallel}', 1)",
    "lock_slot('{parallel}', 1)",
    "unlock_slot('{parallel}')",
    "slots_held('{parallel}')",
])
def test_what_locks_or_asks_is_refused_in_a_worker(connect, leader, call):
    # A worker would take it as well, as it does not exclude its leader, and would find that it holds none.
    leader.execute("SELECT lock_keys('{parallel}', session => true)")
    with pytest.raises(psycopg.Error) as error:
        in_worker(leader, call)
    assert error.value.sqlstate == "25000"
    assert error.value.diag.message_primary == "advisory locks cannot be used in a parallel worker"
    # The leader's own lock is as it was.
    assert held_keys(connect(), pid_of(leader)) == [(name_key("parallel"), "ExclusiveLock")]
    assert leader.execute("SELECT release_keys('{parallel}')").fetchone() == (1,)


def test_keys_are_computed_in_workers(leader):
    key, pid = in_worker(leader, "advisory_key('{parallel,1}') || ' ' || pg_backend_pid()").split()
    assert int(key) == name_key("parallel", "1")
    assert int(pid) != pid_of(leader)
