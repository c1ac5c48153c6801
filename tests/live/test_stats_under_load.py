"""`advisory_lock_stats` while many lock at once, come and go, or use more first parts than there is room for."""

import itertools
import threading

import psycopg
import pytest

from load import crash_under_load
from scene import Background, connections, native_only, pid_of
from server import MODES, connect, server_fixture  # noqa: F401, a fixture
from stats import counts, kind, locks  # noqa: F401, a fixture

pytestmark = native_only("statistics need shared memory")

SMALL = 16
"""First parts that the statistics of the small server have room for."""

server = server_fixture(MODES)
small_server = server_fixture(MODES, **{"advisory_keys.max_stats": SMALL})


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
        seen.append(locks(observer, kind))
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
    assert locks(observer, kind) <= 40_000
    observer.execute("SELECT advisory_lock_stats_reset()")
    observer.execute("SELECT lock_keys(%s)", [[kind]])
    assert counts(observer, kind) == {"locks": 1}


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
    before = counts(observer, kind) or {"locks": 0}
    assert before.keys() == {"locks"}
    for _ in range(100):
        observer.execute("SELECT try_lock_keys(ARRAY[%s, '1'], shared => true)", [kind])
    assert counts(observer, kind) == {"locks": before["locks"] + 100}


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
    wrong = []

    def locker(number):
        rounds = itertools.count()

        def lock(db):
            i = next(rounds)
            names = [[f"kind {(i * 31 + number * 17 + j) % (4 * SMALL)}", str(j)] for j in range(8)]
            db.execute("SELECT try_lock_keys(%s, shared => true)", [[["steady", "1"], *names]])
        return lock

    def reader():
        last = {}

        def read(db):
            rows = db.execute("SELECT first_part, stats_reset, locks, refused FROM advisory_lock_stats").fetchall()
            for first, since, granted, refused in rows:
                before = last.get(first)
                if refused or before and before[0] == since and before[1] > granted:
                    wrong.append((first, since, granted, before))
                last[first] = (since, granted)
        return read

    for _ in range(2):
        crash_under_load(small_server, [*(locker(i) for i in range(8)), reader(), reader()], until=lambda db: locks(db, "steady") > 1000)
        assert wrong == []
        with small_server.connect() as db:
            assert db.execute("SELECT count(*) FROM advisory_lock_stats").fetchone() == (0,)
            assert db.execute("SELECT advisory_lock_stats_evictions()").fetchone() == (0,)
            db.execute("SELECT lock_keys(ARRAY['steady'])")
            assert counts(db, "steady") == {"locks": 1}
            begun = "SELECT stats_reset > pg_postmaster_start_time() FROM advisory_lock_stats"
            assert db.execute(begun).fetchall() == [(True,)]
