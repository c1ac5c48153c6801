"""The record of names when more come than there is room for, under load, and over restarts and crashes."""

import functools
import itertools
import time

from load import crash_under_load, run_all
from names import names_of
from scene import name_key, native_only, pid_of, unique
from server import MODES, Server, server_fixture

pytestmark = native_only("names need shared memory")

SMALL = 64
"""Names that the record of the small server has room for."""

small_server = server_fixture(MODES, **{"advisory_keys.max_names": SMALL})


def test_names_in_use_stay_when_more_come_than_fit(small_server):
    with small_server.connect() as holder, small_server.connect() as other:
        kept = unique("kept")
        for i in range(50 * SMALL):
            holder.execute("SELECT try_lock_keys(%s, session => %s)", [kept, i == 0])
            other.execute("SELECT lock_keys(%s)", [["passing", str(i)]])
        assert names_of(other, kept) == ["-".join(kept)]


def test_false_lines_are_not_logged_when_names_push_each_other_out():
    """Each name is always split in the same way, so there is nothing to tell."""
    with Server(**MODES["preloaded"], **{"advisory_keys.max_names": "1", "log_min_messages": "log"}) as tiny:
        end = time.monotonic() + 4

        def lock(worker):
            with tiny.connect() as db:
                db.execute("SET advisory_keys.warn_short_locks = off")
                i = worker
                while time.monotonic() < end:
                    i += 5
                    parts = ["p"] * (1 + i % 12)
                    db.execute("SELECT count(try_lock_keys(%s, shared => true)) FROM generate_series(1, 20)", [parts])

        run_all([functools.partial(lock, i) for i in range(6)])
        assert tiny.log().count("one advisory key is used for two different names") == 0


def test_the_record_begins_anew_with_the_server(small_server):
    name = unique("order")

    def recorded():
        with small_server.connect() as db:
            db.execute("SELECT pg_advisory_lock(%s)", [name_key(*name)])
            return names_of(db, name) != [None]

    def lock_once():
        with small_server.connect() as db:
            db.execute("SELECT lock_keys(%s)", [name])

    lock_once()
    assert recorded()
    small_server.stop("fast")
    small_server.start()
    assert not recorded()
    lock_once()
    assert recorded()
    with small_server.connect() as victim:
        small_server.crash_by_killing(pid_of(victim))
    assert not recorded()
    lock_once()
    assert recorded()


def test_no_wrong_name_is_ever_shown_under_load_and_crashes(small_server):
    """Many clients lock more names than fit while others read the view; then one is killed."""
    wrong, seen = [], []

    def locker(number):
        rounds = itertools.count(1)

        def lock(db):
            i = next(rounds)
            names = [["load", str((i * 31 + number * 17 + j) % (10 * SMALL))] for j in range(8)]
            db.execute("SELECT try_lock_keys(%s, shared => true)", [names])
        return lock

    def read(db):
        for key, name in db.execute("SELECT key, name FROM advisory_locks WHERE name IS NOT NULL"):
            seen.append(name)
            if name_key(*name.split("-")) != key:
                wrong.append((key, name))

    for _ in range(3):
        enough = len(seen) + 300
        crash_under_load(small_server, [*(locker(i) for i in range(6)), read, read], until=lambda _: len(seen) > enough)
    assert wrong == []
    with small_server.connect() as db:
        assert db.execute("SELECT count(*) FROM advisory_locks").fetchone() == (0,)
