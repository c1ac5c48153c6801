"""`advisory_lock_stats`: what is counted, for how long, and who sees it."""

import threading
import uuid

import psycopg
import pytest

from scene import (
    MAJOR, Background, answer, connections, native_only, pid_of, scratch_database, stopped, wait_until, wait_until_waiting,
)
from server import MODES, Server, with_shared_memory
from slots import wait_until_queued

pytestmark = native_only("statistics need shared memory")

SMALL = 16
"""First parts that the statistics of the small server have room for."""

COUNTS = ["locks", "refused", "waits", "timeouts", "deadlocks", "cancels"]


@pytest.fixture(scope="module", params=MODES)
def server(request):
    server = with_shared_memory(request.param, deadlock_timeout="20ms", max_prepared_transactions="5")
    yield server
    server.remove()


@pytest.fixture(scope="module", params=MODES)
def small_server(request):
    server = with_shared_memory(request.param, **{"advisory_keys.max_stats": str(SMALL)})
    yield server
    server.remove()


@pytest.fixture
def connect(server):
    with connections(server.connect) as connect:
        yield connect


@pytest.fixture
def kind():
    """A first part that nobody has used."""
    return f"kind {uuid.uuid4().hex[:12]}"


def counts(db, kind):
    """What is counted for a first part, without zeros; None if nothing ever was."""
    cursor = db.execute(f"SELECT {', '.join(COUNTS)} FROM advisory_lock_stats WHERE first_part = %s", [kind])
    rows = cursor.fetchall()
    assert len(rows) < 2
    return {name: count for name, count in zip(COUNTS, rows[0]) if count} if rows else None


def times(db, kind):
    return db.execute("SELECT wait_time, max_wait_time FROM advisory_lock_stats WHERE first_part = %s", [kind]).fetchone()


@pytest.mark.parametrize("options", ["", ", session => true", ", shared => true", ", timeout => '5s'"])
@pytest.mark.parametrize("function", ["lock_keys", "try_lock_keys", "acquire_keys"])
def test_each_lock_that_is_granted_counts(connect, kind, function, options):
    db = connect()
    assert counts(db, kind) is None
    call = f"{'CALL' if function == 'acquire_keys' else 'SELECT'} {function}(%s{options})"
    for names in ([kind, "1"], [kind, "1"], [[kind, "1"], [kind, "2"], [kind, "2"], [f"{kind} too", "3"]]):
        db.execute(call, [names])
    assert counts(db, kind) == {"locks": 4}
    assert counts(db, f"{kind} too") == {"locks": 1}


def test_slots_and_claims_count(connect, kind):
    db, other = connect(), connect()
    db.execute("SELECT lock_slot(%s, 1, session => true)", [[kind, "slot"]])
    assert other.execute("SELECT try_lock_slot(%s, 1)", [[kind, "slot"]]).fetchone() == (False,)
    assert counts(db, kind) == {"locks": 1, "refused": 1}
    claim = "SELECT claim_keys(%s, wanted => 2, session => true)"
    jobs = [[kind, "1"], [kind, "2"], [kind, "3"]]
    assert db.execute(claim, [jobs]).fetchone() == ([1, 2],)
    assert other.execute(claim, [jobs]).fetchone() == ([3],)
    assert other.execute(claim, [jobs]).fetchone() == ([],)
    assert counts(db, kind) == {"locks": 4, "refused": 2}


def test_a_claim_that_fails_does_not_count(connect, kind):
    db = connect()
    db.execute("SET advisory_keys.max_keys_per_session = 2")
    with pytest.raises(psycopg.errors.ProgramLimitExceeded):
        db.execute("SELECT claim_keys(%s, wanted => 3)", [[[kind, "1"], [kind, "2"], [kind, "3"]]])
    assert counts(db, kind) is None


def test_what_was_given_back_does_not_count_as_granted(connect, kind):
    db, other = connect(), connect()
    other.execute("SELECT lock_keys(%s, session => true)", [[f"{kind} b", "x"]])
    names = [[f"{kind} a", "x"], [f"{kind} b", "x"], [f"{kind} c", "x"]]
    assert db.execute("SELECT try_lock_keys(%s)", [names]).fetchone() == (False,)
    assert counts(db, f"{kind} a") is None and counts(db, f"{kind} c") is None
    assert counts(db, f"{kind} b") == {"locks": 1, "refused": 1}


CALLS = {
    "lock_keys": "SELECT lock_keys(%s{})",
    "try_lock_keys": "SELECT try_lock_keys(%s, timeout => '1h'{})",
    "acquire_keys": "CALL acquire_keys(%s{})",
    "lock_slot": "SELECT lock_slot(%s, 1{})",
}
"""Each waits, and takes more arguments."""


@pytest.fixture(params=CALLS)
def contended(connect, request, kind):
    """Somebody who holds, somebody who has begun to wait by some function, and a third who looks on."""
    holder, waiter, observer = connect(), connect(), connect()
    hold = "SELECT lock_slot(%s, 1)" if request.param == "lock_slot" else "SELECT lock_keys(%s)"
    holder.execute("BEGIN")
    holder.execute(hold, [[kind, "1"]])

    def wait(options=""):
        call = Background(waiter, CALLS[request.param].format(options), [[kind, "1"]])
        wait_until_queued(observer, pid_of(waiter))
        return call

    return holder, waiter, observer, wait


def test_a_wait_that_ends_well(contended, kind):
    holder, _, observer, wait = contended
    call = wait()
    assert counts(observer, kind) == {"locks": 1, "waits": 1}
    observer.execute("SELECT pg_sleep(0.1)")
    holder.execute("COMMIT")
    assert call.result() in ("", True)
    assert counts(observer, kind) == {"locks": 2, "waits": 1}
    total, longest = times(observer, kind)
    assert 100 <= total < 20_000 and total == longest


@pytest.mark.parametrize("setting", ["timeout", "lock_timeout"])
def test_a_wait_that_times_out(contended, kind, setting, request):
    _, waiter, observer, wait = contended
    if setting == "lock_timeout":
        waiter.execute("SET lock_timeout = '150ms'")
    elif "try_lock_keys" in request.node.name:
        pytest.skip("it has one already")
    if "try_lock_keys" in request.node.name:
        # Its own timeout would win.
        call = Background(waiter, "SELECT try_lock_keys(%s, timeout => NULL)", [[kind, "1"]])
        assert call.result() is False
    else:
        with pytest.raises(psycopg.errors.LockNotAvailable):
            wait(", timeout => '150ms'" if setting == "timeout" else "").result()
    assert counts(observer, kind) == {"locks": 1, "waits": 1, "timeouts": 1}
    assert times(observer, kind)[0] >= 100


@pytest.mark.parametrize("how", ["pg_cancel_backend", "statement_timeout"])
def test_a_wait_that_is_cancelled(contended, kind, how):
    _, waiter, observer, wait = contended
    if how == "statement_timeout":
        waiter.execute("SET statement_timeout = '150ms'")
    call = wait()
    if how == "pg_cancel_backend":
        observer.execute("SELECT pg_cancel_backend(%s)", [pid_of(waiter)])
    with pytest.raises(psycopg.errors.QueryCanceled):
        call.result()
    assert counts(observer, kind) == {"locks": 1, "waits": 1, "cancels": 1}
    assert times(observer, kind)[0] > 0


def test_a_wait_of_a_session_that_is_terminated(contended, kind):
    _, waiter, observer, wait = contended
    call = wait()
    observer.execute("SELECT pg_terminate_backend(%s)", [pid_of(waiter)])
    with pytest.raises(psycopg.OperationalError):
        call.result()
    assert counts(observer, kind) == {"locks": 1, "waits": 1}
    assert times(observer, kind) == (0, 0)


def test_a_wait_that_is_a_deadlock(contended, kind):
    """It counts where it is noticed: by who begins to wait last, or by the one who waits for a slot, who looks again and again."""
    holder, waiter, observer, wait = contended
    waiter.execute("BEGIN")
    waiter.execute("SELECT lock_keys(%s)", [[f"{kind} other"]])
    calls = {kind: (waiter, wait())}
    # The waiter has looked for deadlocks in vain.
    observer.execute("SELECT pg_sleep(0.1)")
    calls[f"{kind} other"] = (holder, Background(holder, "SELECT lock_keys(%s)", [[f"{kind} other"]]))
    victims = []
    for first in reversed(calls):
        session, call = calls[first]
        try:
            call.result()
        except psycopg.errors.DeadlockDetected:
            victims.append(first)
        session.execute("ROLLBACK")
    (victim,) = victims
    for first in calls:
        granted = {"locks": 1, "deadlocks": 1} if first == victim else {"locks": 2}
        assert counts(observer, first) == {**granted, "waits": 1}


def test_a_grant_in_the_moment_of_the_timeout_is_a_lock(connect, kind):
    holder, waiter, observer = connect(), connect(), connect()
    holder.execute("BEGIN")
    holder.execute("SELECT lock_keys(%s)", [[kind]])
    call = Background(waiter, "SELECT try_lock_keys(%s, timeout => '200ms', session => true)", [[kind]])
    wait_until_waiting(observer, pid_of(waiter))
    with stopped(pid_of(waiter)):
        holder.execute("COMMIT")
        observer.execute("SELECT pg_sleep(0.3)")
    assert call.result() is True
    assert counts(observer, kind) == {"locks": 2, "waits": 1}


def test_a_wait_with_several_names_counts_for_the_one_it_waits_for(connect, kind):
    holder, waiter, observer = connect(), connect(), connect()
    holder.execute("BEGIN")
    holder.execute("SELECT lock_keys(%s)", [[f"{kind} b", "x"]])
    call = Background(waiter, "SELECT lock_keys(%s, timeout => '1h')", [[[f"{kind} a", "x"], [f"{kind} b", "x"]]])
    wait_until_waiting(observer, pid_of(waiter))
    holder.execute("COMMIT")
    call.result()
    assert counts(observer, f"{kind} a") == {"locks": 1}
    assert counts(observer, f"{kind} b") == {"locks": 2, "waits": 1}


def test_first_parts_are_told_apart(connect, kind):
    db = connect()
    long = [kind + "x" * 300 + end for end in ("a", "b")]
    for first in ("", "Ä" * 90, *long, *long):
        db.execute("SELECT lock_keys(%s)", [[first, kind]])
    shown = "SELECT locks FROM advisory_lock_stats WHERE first_part LIKE %s"
    assert db.execute(shown, ["ÄÄ%Ä..."]).fetchall() == [(1,)]
    assert db.execute(shown, [f"{kind}xx%x..."]).fetchall() == [(2,), (2,)]
    assert db.execute(shown, [""]).fetchone()[0] >= 1


def test_nothing_is_counted_when_switched_off(connect, kind):
    db, other = connect(), connect()
    db.execute("SET advisory_keys.track_stats = off")
    db.execute("SELECT lock_keys(%s, session => true)", [[kind]])
    other.execute("SET advisory_keys.track_stats = off")
    assert other.execute("SELECT try_lock_keys(%s)", [[kind]]).fetchone() == (False,)
    assert other.execute("SELECT try_lock_keys(%s, timeout => '10ms')", [[kind]]).fetchone() == (False,)
    assert counts(db, kind) is None


def test_each_database_has_its_own(server, connect, kind):
    db = connect()
    db.execute("SELECT lock_keys(%s)", [[kind]])
    with scratch_database("stats", admin=db) as name, connections(server.connect) as connect_there:
        other = connect_there(dbname=name)
        assert other.execute("SELECT count(*) FROM advisory_lock_stats").fetchone() == (0,)
        other.execute("SELECT lock_keys(%s)", [[[kind, "1"], [kind, "2"]]])
        assert (counts(db, kind), counts(other, kind)) == ({"locks": 1}, {"locks": 2})
        other.execute("SELECT advisory_lock_stats_reset()")
        assert (counts(db, kind), counts(other, kind)) == ({"locks": 1}, None)


def test_a_reset_begins_anew(connect, kind):
    db, since = connect(), "SELECT stats_reset FROM advisory_lock_stats WHERE first_part = %s"
    db.execute("SELECT lock_keys(%s)", [[kind]])
    (before,) = db.execute(since, [kind]).fetchone()
    (now,) = db.execute("SELECT clock_timestamp() FROM advisory_lock_stats_reset()").fetchone()
    assert before < now and counts(db, kind) is None
    db.execute("SELECT lock_keys(%s)", [[kind]])
    assert counts(db, kind) == {"locks": 1}
    assert db.execute(since, [kind]).fetchone()[0] >= now


def test_who_sees_it_and_who_may_reset_it(connect, kind):
    db = connect()
    db.execute("SELECT lock_keys(%s)", [[kind]])
    for role in ("regress_nobody", "regress_monitor", "regress_keeper"):
        db.execute(f"CREATE ROLE {role}")
    db.execute("GRANT pg_read_all_stats TO regress_monitor")
    db.execute("GRANT EXECUTE ON FUNCTION advisory_lock_stats_reset TO regress_keeper")
    try:
        seen = {}
        for role in ("regress_nobody", "regress_monitor", "regress_keeper"):
            db.execute(f"SET ROLE {role}")
            seen[role] = counts(db, kind)
            if role != "regress_keeper":
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    db.execute("SELECT advisory_lock_stats_reset()")
            (evictions,) = db.execute("SELECT advisory_lock_stats_evictions()").fetchone()
            assert (evictions is not None) == (role == "regress_monitor")
            db.execute("RESET ROLE")
        assert seen == {"regress_nobody": None, "regress_monitor": {"locks": 1}, "regress_keeper": None}
        db.execute("SET advisory_keys.show_keys = off")
        assert db.execute("SELECT count(*), count(first_part) FROM advisory_lock_stats WHERE locks > 0").fetchone()[1] == 0
        db.execute("SET ROLE regress_keeper")
        db.execute("SELECT advisory_lock_stats_reset()")
        db.execute("RESET ROLE")
        db.execute("RESET advisory_keys.show_keys")
        assert counts(db, kind) is None
    finally:
        db.execute("DROP OWNED BY regress_keeper")
        for role in ("regress_nobody", "regress_monitor", "regress_keeper"):
            db.execute(f"DROP ROLE {role}")


def hammer(server, kind, clients, calls):
    """Each of so many clients locks so many names of a kind, one after the other."""
    def work(client):
        with connections(server.connect) as connect:
            connect().execute(
                f"DO $$ BEGIN FOR i IN 1..{calls} LOOP"
                f" PERFORM try_lock_keys(ARRAY['{kind}', '{client}', (i % 10)::text]); END LOOP; END $$")

    workers = [threading.Thread(target=work, args=(client,)) for client in range(clients)]
    for worker in workers:
        worker.start()
    return workers


def test_eight_clients_lose_no_count(server, connect, kind):
    """On one first part, new to all of them, while others read and others come."""
    observer, other, seen = connect(), connect(), [0]
    workers = hammer(server, kind, 8, 5000)
    while any(worker.is_alive() for worker in workers):
        seen.append((counts(observer, kind) or {"locks": 0})["locks"])
        other.execute("SELECT try_lock_keys(ARRAY[['other', '1'], [%s, '2']])", [f"{kind} {len(seen) % 100}"])
    assert seen == sorted(seen), "a count never goes backwards"
    assert counts(observer, kind) == {"locks": 40_000}


def test_eight_clients_while_others_reset(server, connect, kind):
    observer = connect()
    workers = hammer(server, kind, 8, 5000)
    last = None
    while any(worker.is_alive() for worker in workers):
        observer.execute("SELECT advisory_lock_stats_reset()")
        for _ in range(20):
            row = observer.execute("SELECT stats_reset, locks FROM advisory_lock_stats WHERE first_part = %s", [kind]).fetchone()
            if row is not None:
                # Less only with a row that counts since later.
                assert last is None or row[0] > last[0] or row[1] >= last[1]
                last = row
    assert last is not None
    assert (counts(observer, kind) or {"locks": 0})["locks"] <= 40_000
    observer.execute("SELECT advisory_lock_stats_reset()")
    observer.execute("SELECT lock_keys(%s)", [[kind]])
    assert counts(observer, kind) == {"locks": 1}


def test_what_is_used_least_makes_room(small_server):
    with small_server.connect() as db:
        db.execute("SELECT advisory_lock_stats_reset()")
        (before,) = db.execute("SELECT advisory_lock_stats_evictions()").fetchone()
        for i in range(10 * SMALL):
            db.execute("SELECT lock_keys(ARRAY['steady', '1'])")
            db.execute("SELECT lock_keys(%s)", [[f"customer {i}", "1"]])
        assert counts(db, "steady") == {"locks": 10 * SMALL}
        (rows,) = db.execute("SELECT count(*) FROM advisory_lock_stats").fetchone()
        (after,) = db.execute("SELECT advisory_lock_stats_evictions()").fetchone()
        assert SMALL <= rows <= 2 * SMALL
        assert after - before == 10 * SMALL + 1 - rows
        with small_server.connect() as other:
            assert other.execute("SELECT advisory_lock_stats_evictions()").fetchone() == (after,)


def test_under_load_and_crashes(small_server):
    """More first parts than there is room for, eight clients, readers, and SIGKILL: no count goes backwards within a
    row, and after the crash the statistics begin empty."""
    stop, wrong = threading.Event(), []

    def lock(worker):
        with small_server.connect() as db:
            for i in range(10**9):
                if stop.is_set():
                    return
                names = [[f"kind {(i * 31 + worker * 17 + j) % (4 * SMALL)}", str(j)] for j in range(8)]
                db.execute("SELECT try_lock_keys(%s, shared => true)", [[["steady", "1"], *names]])

    def read():
        last = {}
        with small_server.connect() as db:
            while not stop.is_set():
                rows = db.execute("SELECT first_part, stats_reset, locks, refused FROM advisory_lock_stats").fetchall()
                for first, since, locks, refused in rows:
                    before = last.get(first)
                    if refused or before and before[0] == since and before[1] > locks:
                        wrong.append((first, since, locks, before))
                    last[first] = (since, locks)

    def quietly(work, *arguments):
        try:
            work(*arguments)
        except psycopg.OperationalError:
            pass  # the crash below

    for _ in range(2):
        stop.clear()
        workers = [threading.Thread(target=quietly, args=(lock, i)) for i in range(8)]
        workers += [threading.Thread(target=quietly, args=(read,)) for _ in range(2)]
        for worker in workers:
            worker.start()
        with small_server.connect() as db:
            wait_until(lambda: (counts(db, "steady") or {"locks": 0})["locks"] > 1000, "locks are counted")
            victim = db.execute(
                "SELECT pid FROM pg_stat_activity WHERE query LIKE '%%try_lock_keys%%' AND pid <> pg_backend_pid()"
            ).fetchone()[0]
        small_server.crash_by_killing(victim)
        stop.set()
        for worker in workers:
            worker.join(20)
            assert not worker.is_alive()
        assert wrong == []
        with small_server.connect() as db:
            assert db.execute("SELECT count(*) FROM advisory_lock_stats").fetchone() == (0,)
            assert db.execute("SELECT advisory_lock_stats_evictions()").fetchone() == (0,)
            db.execute("SELECT lock_keys(ARRAY['steady'])")
            assert counts(db, "steady") == {"locks": 1}
            begun = "SELECT stats_reset > pg_postmaster_start_time() FROM advisory_lock_stats"
            assert db.execute(begun).fetchall() == [(True,)]


def test_terminated_sessions_leave_right_counts(server, connect, kind):
    """Sessions that are ended in the middle of what they do: what is counted stays what was granted."""
    observer = connect()
    for _ in range(20):
        workers = [connect() for _ in range(2)]
        loop = f"DO $$ BEGIN LOOP PERFORM try_lock_keys(ARRAY['{kind}', '1'], shared => true); END LOOP; END $$"
        calls = [Background(worker, loop) for worker in workers]
        observer.execute("SELECT pg_sleep(0.02)")
        for worker in workers:
            observer.execute("SELECT pg_terminate_backend(%s)", [pid_of(worker)])
        for call in calls:
            with pytest.raises(psycopg.OperationalError):
                call.result()
    (before,) = (counts(observer, kind) or {"locks": 0}).values()
    for _ in range(100):
        observer.execute("SELECT try_lock_keys(ARRAY[%s, '1'], shared => true)", [kind])
    assert counts(observer, kind) == {"locks": before + 100}


def test_a_restart_begins_anew(server, kind):
    with server.connect() as db:
        db.execute("SELECT lock_keys(%s)", [[kind]])
        assert counts(db, kind) == {"locks": 1}
    server.stop("fast")
    server.start()
    with server.connect() as db:
        assert db.execute("SELECT count(*) FROM advisory_lock_stats").fetchone() == (0,)
        assert db.execute("SELECT advisory_lock_stats_evictions()").fetchone() == (0,)


@pytest.mark.skipif(MAJOR >= 17, reason="there is shared memory without preload")
def test_without_shared_memory_there_are_none(kind):
    server = Server()
    try:
        with server.connect() as db:
            db.execute("SELECT lock_keys(%s)", [[kind]])
            assert db.execute("SELECT count(*) FROM advisory_lock_stats").fetchone() == (0,)
            assert answer(db.execute("SELECT advisory_lock_stats_evictions()")) is None
            db.execute("SELECT advisory_lock_stats_reset()")
            assert db.execute("SHOW advisory_keys.max_stats").fetchone() == ("1000",)
    finally:
        server.remove()


def test_the_size_cannot_be_changed_in_a_session(connect):
    with pytest.raises(psycopg.errors.CantChangeRuntimeParam):
        connect().execute("SELECT lock_keys('{a}'); SET advisory_keys.max_stats = 5")
