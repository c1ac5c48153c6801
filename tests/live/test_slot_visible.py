"""What is seen of slots: the view, the log, the wait event, and after faults nothing."""

import time

import psycopg
import pytest

from scene import MAJOR, Background, name_key, native_only, pid_of, stopped, unique, wait_until
from server import Server
from server_log import server_log  # noqa: F401, a fixture
from slots import HELPERS, assert_nothing_left, hold, wait_until_queued, waiting

pytestmark = native_only("the portable edition has no view of its own, no log lines and no head")


@pytest.fixture
def name():
    return unique("visible")


def rows(observer, name):
    return observer.execute(
        "SELECT pid, mode, granted, blocked_by, waiting_since IS NULL FROM advisory_locks WHERE key = %s ORDER BY granted DESC, waiting_since, pid",
        [name_key(*name)]).fetchall()


def test_the_view_shows_the_queue_and_whom_it_waits_for(connect, name):
    observer, head, second, locker, holders = connect(), connect(), connect(), connect(), [connect(), connect()]
    for holder in holders:
        hold(holder, name, 2)
    calls = [waiting(observer, session, name, 2) for session in (head, second)]
    pids = sorted(pid_of(holder) for holder in holders)
    held = [(pid, "shared", True, None, True) for pid in pids]
    queue = rows(observer, name)[2:]
    assert rows(observer, name)[:2] == held
    assert [(*row[:3], sorted(row[3]), row[4]) for row in queue] == [
        (pid_of(session), "shared", False, pids, False) for session in (head, second)]
    ages = observer.execute(
        "SELECT extract(epoch FROM clock_timestamp() - waiting_since) FROM advisory_locks WHERE NOT granted AND key = %s",
        [name_key(*name)]).fetchall()
    assert all(0 <= age < 5 for age, in ages)

    # An exclusive locker goes before those who look for a slot only now and then.
    drain = Background(locker, "SELECT lock_keys(%s, session => true)", [name])
    wait_until(lambda: (pid_of(locker), "exclusive", False) in [row[:3] for row in rows(observer, name)], "it waits")
    for holder in holders:
        holder.execute("COMMIT")
    assert drain.result() == ""
    time.sleep(0.2)
    assert rows(observer, name)[0] == (pid_of(locker), "exclusive", True, None, True)
    assert [row[3] for row in rows(observer, name)[1:]] == [[pid_of(locker)]] * 2
    locker.execute("SELECT unlock_keys(%s)", [name])
    assert [call.result() for call in calls] == ["", ""]
    head.execute("COMMIT")
    second.execute("COMMIT")
    assert_nothing_left(observer, *holders, head, second, locker)


@pytest.mark.skipif(MAJOR < 17, reason="until then, extensions have no wait events of their own")
def test_the_wait_of_the_head_has_a_name(connect, name):
    observer, holder, waiter = connect(), connect(), connect()
    hold(holder, name, 1)
    call = waiting(observer, waiter, name, 1)
    event = "SELECT wait_event_type, wait_event FROM pg_stat_activity WHERE pid = %s"
    wait_until(lambda: observer.execute(event, [pid_of(waiter)]).fetchone() == ("Extension", "AdvisoryKeysSlot"), "it sleeps")
    holder.execute("COMMIT")
    call.result()


def test_the_log_has_a_line_about_a_long_wait(connect, name, server_log):  # noqa: F811
    observer, holder, waiter = connect(), connect(), connect()
    waiter.execute("SET log_lock_waits = on")
    waiter.execute("SET deadlock_timeout = '100ms'")
    hold(holder, name, 1)
    call = waiting(observer, waiter, name, 1)
    slot = f'a slot of advisory key "{"-".join(name)}" ({name_key(*name)}) after '
    begin = f"process {pid_of(waiter)} still waiting for {slot}1"
    report = server_log.report(begin)
    assert f"Process holding the lock: {pid_of(holder)}. Wait queue: {pid_of(waiter)}." in report
    time.sleep(0.3)
    holder.execute("COMMIT")
    call.result()
    assert server_log.text().count(begin[:-1]) == 1
    server_log.report(f"process {pid_of(waiter)} acquired {slot}")


@pytest.mark.parametrize("level", ["transaction", "session"])
@pytest.mark.parametrize("place", ["head", "queue"])
@pytest.mark.parametrize("limit", ["timeout", "cancel"])
def test_a_slot_that_gets_free_while_the_wait_ends(connect, name, level, place, limit):
    """The waiter is stopped; the slot gets free, and its time is up or it is canceled. What it answers is true, and
    nothing is left behind."""
    observer, holder, before, waiter = (connect() for _ in range(4))
    hold(holder, name, 1)
    ahead = waiting(observer, before, name, 1) if place == "queue" else None
    options = f"timeout => {'NULL' if limit == 'cancel' else repr('1s')}, session => {level == 'session'}"
    waiter.execute("BEGIN")
    call = Background(waiter, f"SELECT try_lock_slot(%s, 1, {options})", [name])
    wait_until_queued(observer, pid_of(waiter))
    with stopped(pid_of(waiter)):
        holder.execute("COMMIT")
        if ahead:
            ahead.result()
            before.execute("COMMIT")
        if limit == "cancel":
            observer.execute("SELECT pg_cancel_backend(%s)", [pid_of(waiter)])
        else:
            time.sleep(1.2)
    held = (0,)
    if limit == "cancel":
        with pytest.raises(psycopg.errors.QueryCanceled):
            call.result()
        waiter.execute("ROLLBACK")
    else:
        held = (int(call.result()),)
    assert observer.execute("SELECT slots_held(%s)", [name]).fetchone() == held
    assert observer.execute(HELPERS).fetchall() == []
    waiter.execute("ROLLBACK")
    if level == "session" and held == (1,):
        assert waiter.execute("SELECT unlock_slot(%s)", [name]).fetchone() == (True,)
    assert_nothing_left(observer, holder, before, waiter)


@pytest.mark.parametrize("victim", ["holder", "head", "queue"])
def test_a_crash_leaves_nothing(victim):
    with Server(max_prepared_transactions=1) as server:
        name = ["crash", victim]
        sessions = {role: server.connect() for role in ("holder", "head", "queue", "observer")}
        hold(sessions["holder"], name, 1)
        for role in ("head", "queue"):
            waiting(sessions["observer"], sessions[role], name, 1)
        server.crash_by_killing(pid_of(sessions[victim]))
        with server.connect() as db:
            assert db.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)
            assert db.execute("SELECT try_lock_slot(%s, 1)", [name]).fetchone() == (True,)
