"""Slots: never more than so many holders, nobody refused while there is room, first come, first served."""

import functools
import random
import threading
import time

import psycopg
import pytest

from load import run_all
from scene import PATIENCE, PORTABLE, Background, pid_of, unique
from slots import assert_nothing_left, hold, wait_until_queued, waiting

THREADS = 16
SECONDS = 2


@pytest.fixture
def name():
    return unique("slots")


class Counter:
    """Who holds a slot, as those know it who do: each adds itself after it was granted, and takes itself off
    before it lets go."""

    def __init__(self):
        self._lock = threading.Lock()
        self.now = self.most = self.all = 0
        self.draining = False
        self.wrong = []

    def enter(self, slots):
        with self._lock:
            self.now += 1
            self.all += 1
            self.most = max(self.most, self.now)
            if self.now > slots or self.draining:
                self.wrong.append((self.now, slots, self.draining))

    def leave(self):
        with self._lock:
            self.now -= 1

    def drain(self, on):
        with self._lock:
            if on and (self.now or self.draining):
                self.wrong.append((self.now, "drained"))
            self.draining = on


def crowd(connect, work, enough, threads=THREADS):
    """Runs `work(session, dice)` in many sessions over and over for some seconds, and on a busy machine until it was often enough."""
    begun = time.monotonic()
    errors = []

    def over():
        spent = time.monotonic() - begun
        return spent > SECONDS and enough() or spent > PATIENCE

    def run(session, seed):
        dice = random.Random(seed)
        try:
            while not over():
                work(session, dice)
        except Exception as error:  # told to the test
            errors.append(error)

    sessions = [connect() for _ in range(threads)]
    crew = [threading.Thread(target=run, args=(session, i)) for i, session in enumerate(sessions)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join(60)
    stuck = [session for session, thread in zip(sessions, crew) if thread.is_alive()]
    if stuck:
        seen = connect().execute("SELECT pid, granted, mode, state, blocked_by, query FROM advisory_locks").fetchall()
        # Nobody may close a connection that a thread waits for.
        for session, thread in zip(sessions, crew):
            while thread.is_alive():
                session.cancel()
                thread.join(0.1)
        assert not stuck, seen
    assert errors == []
    return sessions


@pytest.mark.parametrize("slots", [1, 2, 4, 8])
def test_never_more_than_so_many_hold_it_and_none_is_lost(connect, name, slots):
    counter = Counter()
    # There, who waits looks every 20 ms: places that are held for a moment only are never all taken.
    longest = 0.012 * slots if PORTABLE else 0.003

    def work(session, dice):
        session.execute("BEGIN")
        if dice.random() < 0.3:
            granted = session.execute("SELECT try_lock_slot(%s, %s)", [name, slots]).fetchone()[0]
        else:
            granted = session.execute("SELECT try_lock_slot(%s, %s, timeout => '20s')", [name, slots]).fetchone()[0]
            assert granted
        if granted:
            counter.enter(slots)
            if dice.random() < 0.5:
                time.sleep(dice.random() * longest)
            counter.leave()
        session.execute(dice.choice(["COMMIT", "ROLLBACK"]))

    sessions = crowd(connect, work, lambda: counter.all > 100)
    assert counter.wrong == []
    assert counter.most == slots
    assert counter.all > 100
    assert_nothing_left(connect(), *sessions)
    for session in sessions[:slots]:
        hold(session, name, slots)
    assert sessions[slots].execute("SELECT try_lock_slot(%s, %s)", [name, slots]).fetchone() == (False,)


def test_with_drains_cancels_timeouts_and_savepoints(connect, name):
    """Each holder counts with the number that it asked for itself."""
    counter = Counter()

    def work(session, dice):
        slots, what = 4, dice.random()
        try:
            session.execute("BEGIN; SAVEPOINT s")
            if what < 0.1:
                session.execute("SELECT lock_keys(%s)", [name])
                counter.drain(True)
                counter.drain(False)
            elif what < 0.5:
                if session.execute(
                    "SELECT try_lock_slot(%s, %s, timeout => %s)", [name, slots, f"{dice.randint(1, 20)} ms"]
                ).fetchone()[0]:
                    counter.enter(slots)
                    counter.leave()
            else:
                if what < 0.8:
                    session.execute(f"SET LOCAL statement_timeout = '{dice.randint(1, 20)} ms'")
                session.execute("SELECT lock_slot(%s, %s, session => %s)", [name, slots, what > 0.7])
                counter.enter(slots)
                time.sleep(dice.random() * 0.002)
                counter.leave()
                if what > 0.7:
                    session.execute("SELECT unlock_slot(%s)", [name])
        except psycopg.errors.QueryCanceled:
            # The timeout may come when the call has returned, and the statement has not ended.
            session.execute("ROLLBACK TO s")
            session.execute("SELECT release_keys(%s, shared => true)", [name])
        session.execute("ROLLBACK TO s; COMMIT")

    sessions = crowd(connect, work, lambda: True)
    assert counter.wrong == []
    assert_nothing_left(connect(), *sessions)


def test_who_tries_while_there_is_room_is_not_refused(connect, name):
    """Three at once for two slots: two of them get one, always."""
    rounds, answers = 1000, []
    barrier = threading.Barrier(3)

    def run(session):
        mine = []
        for _ in range(rounds):
            session.execute("BEGIN")
            barrier.wait(30)
            mine.append(session.execute("SELECT try_lock_slot(%s, 2)", [name]).fetchone()[0])
            barrier.wait(30)
            session.execute("COMMIT")
            barrier.wait(30)
        answers.append(mine)

    run_all([functools.partial(run, connect()) for _ in range(3)], patience=6 * PATIENCE)
    assert len(answers) == 3
    assert [sum(got) for got in zip(*answers)] == [2] * rounds


def test_first_come_first_served(connect, name):
    holder, observer = connect(), connect()
    hold(holder, name, 1)
    order, crew = [], []

    def run(session, i):
        session.execute("BEGIN")
        session.execute("SELECT lock_slot(%s, 1)", [name])
        order.append(i)
        time.sleep(0.005)
        session.execute("COMMIT")

    sessions = [connect() for _ in range(12)]
    for i, session in enumerate(sessions):
        crew.append(threading.Thread(target=run, args=(session, i)))
        crew[-1].start()
        wait_until_queued(observer, pid_of(session))
    # Not even who would find room passes the queue.
    assert observer.execute("SELECT try_lock_slot(%s, 100)", [name]).fetchone() == (False,)
    holder.execute("COMMIT")
    for thread in crew:
        thread.join(20)
    assert order == sorted(order)
    assert_nothing_left(observer, holder, *sessions)


def test_who_holds_it_gets_it_again_past_the_queue(connect, name):
    holder, waiter, locker, observer = (connect() for _ in range(4))
    hold(holder, name, 1)
    call = waiting(observer, waiter, name, 1)
    drain = Background(locker, "SELECT lock_keys(%s, session => true)", [name])
    wait_until_queued(observer, pid_of(locker))
    for _ in range(2):
        assert holder.execute("SELECT try_lock_slot(%s, 1)", [name]).fetchone() == (True,)
    assert holder.execute("SELECT try_lock_slot(%s, 1, session => true)", [name]).fetchone() == (True,)
    assert observer.execute("SELECT slots_held(%s)", [name]).fetchone() == (1,)
    holder.execute("COMMIT")
    assert observer.execute("SELECT slots_held(%s)", [name]).fetchone() == (1,)
    assert holder.execute("SELECT unlock_slot(%s)", [name]).fetchone() == (True,)
    assert drain.result() == ""
    assert locker.execute("SELECT try_lock_slot(%s, 1, session => true)", [name]).fetchone() == (True,)
    locker.execute("SELECT unlock_slot(%s), unlock_keys(%s)", [name, name])
    assert call.result() == ""


def test_a_drain_gets_through_and_those_who_wait_too(connect, name):
    """Lockers one after the other, and takers of slots one after the other: both get on."""
    got = {"drain": 0, "slot": 0}

    def work(session, dice):
        if pid_of(session) % 3 == 0:
            session.execute(f"BEGIN; SELECT lock_keys('{{{','.join(name)}}}')")
            got["drain"] += 1
        else:
            session.execute(f"BEGIN; SELECT lock_slot('{{{','.join(name)}}}', 2)")
            got["slot"] += 1
        time.sleep(0.002)
        session.execute("COMMIT")

    sessions = crowd(connect, work, lambda: min(got.values()) > 20, threads=8)
    assert min(got.values()) > 20, got
    assert_nothing_left(connect(), *sessions)


def test_ten_that_may_be_more_and_one_that_may_not(connect, name):
    """A call may ask for more slots than others: what counts is what it asks for itself."""
    sessions, other = [connect() for _ in range(5)], connect()
    for session in sessions[:2]:
        hold(session, name, 2)
    assert other.execute("SELECT try_lock_slot(%s, 2)", [name]).fetchone() == (False,)
    for session in sessions[2:]:
        hold(session, name, 5)
    assert other.execute("SELECT try_lock_slot(%s, 5), slots_held(%s)", [name, name]).fetchone() == (False, 5)
    # Who locks the name shared counts, and is not limited.
    other.execute("SELECT lock_keys(%s, shared => true, session => true)", [name])
    assert other.execute("SELECT slots_held(%s)", [name]).fetchone() == (6,)


def test_a_wait_that_ends_without_a_slot_leaves_nothing(connect, name):
    holder, waiter, observer = connect(), connect(), connect()
    hold(holder, name, 1)
    for level in ("transaction", "session"):
        begun = time.monotonic()
        answer = waiter.execute(f"SELECT try_lock_slot(%s, 1, timeout => '150ms', session => {level == 'session'})", [name])
        assert answer.fetchone() == (False,)
        assert 0.15 <= time.monotonic() - begun < PATIENCE
        with pytest.raises(psycopg.errors.LockNotAvailable) as error:
            waiter.execute("SELECT lock_slot(%s, 1, timeout => '20ms')", [name])
        assert f"process {pid_of(holder)}" in error.value.diag.message_detail
        waiter.execute("SET lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            waiter.execute("SELECT lock_slot(%s, 1)", [name])
        waiter.execute("RESET lock_timeout")
    assert_nothing_left(observer, waiter)


def test_the_error_says_what_keeps_the_slots(connect, name):
    holder, other, waiter, observer = (connect() for _ in range(4))
    def detail(slots):
        with pytest.raises(psycopg.errors.LockNotAvailable) as error:
            waiter.execute("SELECT lock_slot(%s, %s, timeout => '20ms')", [name, slots])
        return error.value.diag.message_detail.partition(") has ")[2]

    holder.execute("SELECT lock_keys(%s, session => true)", [name])
    assert detail(2) == f"2 slots and is held exclusively by process {pid_of(holder)}."
    holder.execute("SELECT unlock_keys(%s)", [name])

    hold(holder, name, 3, level="session")
    drain = Background(other, "SELECT lock_keys(%s)", [name])
    wait_until_queued(observer, pid_of(other))
    # The table may have been copied for the error before.
    time.sleep(1)
    assert detail(3) == f"3 slots and is held by process {pid_of(holder)}, the rest is free now or others wait for it before this session."
    holder.execute("SELECT unlock_slot(%s)", [name])
    drain.result()


@pytest.mark.parametrize("place", ["head", "queue"])
@pytest.mark.parametrize("end", ["cancel", "terminate", "statement_timeout"])
def test_who_is_ended_while_waiting_leaves_nothing_and_keeps_nobody(connect, name, place, end):
    holder, observer, waiter, other = (connect() for _ in range(4))
    hold(holder, name, 1)
    if end == "statement_timeout":
        waiter.execute("SET statement_timeout = '700ms'")
    first, second = (waiter, other) if place == "head" else (other, waiter)
    calls = {session: waiting(observer, session, name, 1) for session in (first, second)}
    if end != "statement_timeout":
        observer.execute(f"SELECT pg_{end}_backend(%s)", [pid_of(waiter)])
    with pytest.raises(psycopg.OperationalError) as error:
        calls[waiter].result()
    if end != "terminate":
        assert isinstance(error.value, psycopg.errors.QueryCanceled)
        if not PORTABLE:
            assert 'while locking a slot of advisory key "slots-' in error.value.diag.context
        waiter.execute("ROLLBACK")
    holder.execute("COMMIT")
    assert calls[other].result() == ""
    other.execute("COMMIT")
    assert_nothing_left(observer, holder, other, waiter)
