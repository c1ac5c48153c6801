"""Slots of the portable edition: what stands behind them there."""

import re
import threading
import time

import psycopg
import pytest

from scene import PATIENCE, PORTABLE, PORTABLE_SQL, Background, held_keys, name_key, pid_of, stopped, unique, wait_until, wait_until_waiting

pytestmark = pytest.mark.skipif(not PORTABLE, reason="the extension has a queue of its own")

LEVELS = pytest.mark.parametrize("session", [False, True])


@pytest.fixture
def name():
    return unique("slots")


def locks_of(observer, pid):
    """All advisory locks that a backend holds or awaits, of whatever kind."""
    return observer.execute(
        "SELECT objsubid, mode, granted FROM pg_locks WHERE locktype = 'advisory' AND pid = %s", [pid]).fetchall()


def twin(key, complement=False):
    """The two integers of the lock on the key's twin, as the page says."""
    key = ~key if complement else key
    high, low = key >> 32, key & 0xFFFFFFFF
    return high, low - (1 << 32) if low >= 1 << 31 else low


def in_the_queue(observer, session):
    """Has this session a place in the queue, as its head or behind it?"""
    return observer.execute(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND pid = %s)", [pid_of(session)]
    ).fetchone()[0]


def start_to_wait(observer, session, statement, parameters):
    call = Background(session, statement, parameters)
    wait_until(lambda: in_the_queue(observer, session), "it stands in the queue")
    return call


# What stands behind them.

def test_the_page_says_what_the_twins_are(connect):
    page = (PORTABLE_SQL.parents[1] / "docs" / "portable.md").read_text(encoding="utf-8")
    query, numbers = re.search(r"```sql\n(SELECT \(k >> 32\).*?);\s+-- (.*?)\n```", page, re.DOTALL).groups()
    key = name_key("order", "42")
    assert connect().execute(query).fetchone() == twin(key) + twin(key, complement=True)
    assert tuple(map(int, numbers.split(", "))) == twin(key) + twin(key, complement=True)


@pytest.mark.parametrize("key", [["order", "42"], ["SIGNUP-EMAIL", "a@b.c"], ["a"], ["b"]])
def test_the_queue_is_the_lock_on_the_twin(connect, key):
    holder, waiter, observer = connect(), connect(), connect()
    holder.execute("SELECT lock_slot(%s, 1, session => true)", [key])
    call = start_to_wait(observer, waiter, "SELECT try_lock_slot(%s, 1, timeout => '1h')", [key])
    assert observer.execute("SELECT pg_try_advisory_lock_shared(%s, %s)", twin(name_key(*key))).fetchone() == (False,)
    assert observer.execute("SELECT pg_try_advisory_lock(%s, %s)", twin(name_key(*key), complement=True)).fetchone() == (True,)
    holder.execute("SELECT unlock_slot(%s)", [key])
    assert call.result() is True


@LEVELS
def test_a_holder_holds_the_key_shared_and_nothing_else(connect, name, session):
    db, observer = connect(autocommit=False), connect()
    for _ in range(3):
        assert db.execute("SELECT try_lock_slot(%s, 1, session => %s)", [name, session]).fetchone() == (True,)
        assert held_keys(observer, pid_of(db)) == [(name_key(*name), "ShareLock")]
        assert locks_of(observer, pid_of(db)) == [(1, "ShareLock", True)]
    assert db.execute("SELECT release_keys(%s, shared => true)", [name]).fetchone() == (3 if session else 0,)
    db.commit()
    assert locks_of(observer, pid_of(db)) == []


def test_a_lost_tie_does_not_wait_for_ever(connect, name):
    """Ties are broken one after the other; who stops there is not waited for longer than 100 ms."""
    key = name_key(*name)
    stopped, other, db = connect(), connect(), connect()
    stopped.execute("SELECT pg_advisory_lock(%s, %s)", twin(key, complement=True))
    other.execute("SELECT lock_keys(%s, shared => true, session => true)", [name])
    # A holder that comes between the first count and the second: a trigger cannot do that, a busy loop can.
    stop = threading.Event()

    def come_and_go():
        with psycopg.connect(dbname=db.info.dbname, autocommit=True) as session:
            while not stop.is_set():
                session.execute("SELECT pg_advisory_lock_shared(%(k)s), pg_advisory_unlock_shared(%(k)s)", {"k": key})

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    begun = time.monotonic()
    for _ in range(200):
        db.execute("SELECT try_lock_slot(%s, 2)", [name])
        assert locks_of(db, pid_of(db)) == []
    stop.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert time.monotonic() - begun < 200 * 0.2


# Nothing is left.

def timeout(waiter, observer, call):
    assert call(waiter, "try_lock_slot", "'300ms'").result() is False


def error(waiter, observer, call):
    with pytest.raises(psycopg.errors.LockNotAvailable):
        call(waiter, "lock_slot", "'300ms'").result()


def cancel(waiter, observer, call):
    waiting = call(waiter, "lock_slot", "NULL")
    observer.execute("SELECT pg_cancel_backend(%s)", [pid_of(waiter)])
    with pytest.raises(psycopg.errors.QueryCanceled):
        waiting.result()


def statement_timeout(waiter, observer, call):
    waiter.execute("SET statement_timeout = '300ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        call(waiter, "try_lock_slot", "'1h'").result()
    waiter.execute("SET statement_timeout = 0")


@LEVELS
@pytest.mark.parametrize("place", ["head", "second", "behind an exclusive locker"])
@pytest.mark.parametrize("fail", [timeout, error, cancel, statement_timeout])
def test_who_gives_up_leaves_nothing(connect, name, session, place, fail):
    observer, holder, head, waiter = connect(), connect(), connect(), connect()
    if place == "behind an exclusive locker":
        holder.execute("SELECT lock_keys(%s, session => true)", [name])
    else:
        holder.execute("SELECT lock_slot(%s, 1, session => true)", [name])
    first = None
    if place == "second":
        first = start_to_wait(observer, head, "SELECT lock_slot(%s, 1, session => true)", [name])

    def call(waiter, function, timeout):
        return start_to_wait(observer, waiter, f"SELECT {function}(%s, 1, timeout => {timeout}, session => {session})", [name])

    fail(waiter, observer, call)
    assert locks_of(observer, pid_of(waiter)) == []
    holder.execute("SELECT release_keys(%s), release_keys(%s, shared => true)", [name, name])
    if first is not None:
        first.result()
        head.execute("SELECT unlock_slot(%s)", [name])
    assert waiter.execute("SELECT try_lock_slot(%s, 1)", [name]).fetchone() == (True,)


# The races: the lock is granted to a session that is stopped, and when it goes on there is the timeout or cancel too.

@LEVELS
@pytest.mark.parametrize("place", ["second", "behind an exclusive locker"])
@pytest.mark.parametrize("interrupt", ["timeout", "cancel", "statement_timeout"])
def test_what_is_granted_in_the_last_moment_is_given_back(connect, name, session, place, interrupt):
    observer, holder, waiter = connect(), connect(), connect()
    key = name_key(*name)
    if interrupt == "statement_timeout":
        waiter.execute("SET statement_timeout = '500ms'")
    if place == "second":
        holder.execute("SELECT pg_advisory_lock(%s, %s)", twin(key))
    else:
        holder.execute("SELECT pg_advisory_lock(%s)", [key])
    timeout = "500ms" if interrupt == "timeout" else "1h"
    call = start_to_wait(observer, waiter, f"SELECT try_lock_slot(%s, 1, timeout => '{timeout}', session => {session})", [name])
    wait_until_waiting(observer, pid_of(waiter))
    with stopped(pid_of(waiter)):
        holder.execute("SELECT pg_advisory_unlock_all()")
        if interrupt == "cancel":
            observer.execute("SELECT pg_cancel_backend(%s)", [pid_of(waiter)])
        else:
            time.sleep(0.6)
    if interrupt == "timeout":
        assert call.result() is False
    else:
        with pytest.raises(psycopg.errors.QueryCanceled):
            call.result()
    assert locks_of(observer, pid_of(waiter)) == []
    assert waiter.execute("SHOW lock_timeout").fetchone() == ("0",)


@LEVELS
def test_a_savepoint_gives_a_slot_back_only_at_transaction_level(connect, name, session):
    db, observer = connect(autocommit=False), connect()
    db.execute("SAVEPOINT s")
    db.execute("SELECT lock_slot(%s, 1, session => %s)", [name, session])
    db.execute("ROLLBACK TO s")
    assert len(locks_of(observer, pid_of(db))) == session


def test_what_was_held_before_a_call_that_fails_is_held_after_it(connect, name):
    """Also once more than before: a wait of another name."""
    db, holder, other = connect(), connect(), unique("slots")
    db.execute("SELECT lock_slot(%s, 1, session => true)", [name])
    holder.execute("SELECT lock_slot(%s, 1, session => true)", [other])
    assert db.execute("SELECT try_lock_slot(%s, 1, timeout => '30ms', session => true)", [other]).fetchone() == (False,)
    assert locks_of(holder, pid_of(db)) == [(1, "ShareLock", True)]
    assert db.execute("SELECT unlock_slot(%s), slots_held(%s)", [name, name]).fetchone() == (True, 0)


# In which order.

def test_first_come_first_served_whatever_the_number(connect, name):
    observer, holder = connect(), connect()
    waiters, served, calls = [connect() for _ in range(6)], [], []
    holder.execute("SELECT lock_slot(%s, 1, session => true)", [name])
    for number, waiter in enumerate(waiters):
        calls.append(start_to_wait(observer, waiter, "SELECT lock_slot(%s, %s, session => true)", [name, 1 + number % 2]))
    assert observer.execute("SELECT try_lock_slot(%s, 100)", [name]).fetchone() == (False,)
    holder.execute("SELECT unlock_slot(%s)", [name])
    while len(served) < len(waiters):
        wait_until(lambda: observer.execute("SELECT slots_held(%s)", [name]).fetchone()[0] > 0, "somebody has a slot")
        pids = [row[0] for row in observer.execute(
            "SELECT pid FROM advisory_locks WHERE key = %s AND granted", [name_key(*name)])]
        for number, waiter in enumerate(waiters):
            if pid_of(waiter) in pids and number not in served:
                calls[number].result()
                served.append(number)
                waiter.execute("SELECT unlock_slot(%s)", [name])
    assert served == sorted(served)


def test_two_exclusive_lockers_back_to_back_do_not_keep_slots_out(connect, name):
    stop, taken = threading.Event(), []

    def drain():
        with psycopg.connect(dbname=db.info.dbname, autocommit=True) as session:
            while not stop.is_set():
                session.execute("SELECT lock_keys(%s, session => true)", [name])
                session.execute("SELECT pg_sleep(0.005)")
                session.execute("SELECT unlock_keys(%s)", [name])

    db = connect()
    threads = [threading.Thread(target=drain) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            taken.append(db.execute("SELECT try_lock_slot(%s, 2, timeout => '10s')", [name]).fetchone()[0])
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert taken == [True] * 10


def test_an_exclusive_locker_waits_for_the_holders_and_lets_nobody_in(connect, name):
    holder, drain, observer, late = connect(), connect(autocommit=False), connect(), connect()
    holder.execute("SELECT lock_slot(%s, 5, session => true)", [name])
    call = Background(drain, "SELECT lock_keys(%s)", [name])
    wait_until_waiting(observer, pid_of(drain))
    assert late.execute("SELECT try_lock_slot(%s, 5)", [name]).fetchone() == (False,)
    # Who has one already takes it again at once.
    assert holder.execute("SELECT try_lock_slot(%s, 5)", [name]).fetchone() == (True,)
    waiting = start_to_wait(observer, late, "SELECT try_lock_slot(%s, 5, timeout => '1h', session => true)", [name])
    holder.execute("SELECT unlock_slot(%s)", [name])
    call.result()
    assert observer.execute("SELECT slots_held(%s)", [name]).fetchone() == (0,)
    drain.commit()
    assert waiting.result() is True


# Who looks.

def test_the_view_shows_who_waits_for_whom(connect, name):
    holders, waiters, observer = [connect() for _ in range(2)], [connect() for _ in range(2)], connect()
    for holder in holders:
        holder.execute("SELECT lock_slot(%s, 2, session => true)", [name])
    calls = [start_to_wait(observer, waiter, "SELECT try_lock_slot(%s, 2, timeout => '1h')", [name]) for waiter in waiters]
    rows = observer.execute(
        "SELECT pid, mode, granted, blocked_by FROM advisory_locks WHERE key = %s", [name_key(*name)]).fetchall()
    pids = sorted(pid_of(holder) for holder in holders)
    assert sorted((pid, mode) for pid, mode, granted, _ in rows if granted) == [(pid, "shared") for pid in pids]
    waiting = [row for row in rows if not row[2]]
    assert sorted(row[0] for row in waiting) == sorted(pid_of(waiter) for waiter in waiters)
    assert all((mode, sorted(blocked_by)) == ("shared", pids) for _, mode, _, blocked_by in waiting)
    for holder in holders:
        holder.execute("SELECT unlock_slot(%s)", [name])
    assert [call.result() for call in calls] == [True, True]


def test_locks_on_pairs_of_integers_are_not_shown(connect):
    db = connect()
    db.execute("SELECT pg_advisory_lock(4, 2)")
    assert db.execute("SELECT count(*) FROM advisory_locks WHERE pid = %s", [pid_of(db)]).fetchone() == (0,)
