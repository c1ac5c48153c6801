"""What leases cost, by what is counted and not by the clock: updates within their page, rows that are looked at, rows that are left."""

import itertools

import psycopg
import pytest

from leases import connect, fence, holds, install_both, name, release, renew, take  # noqa: F401
from scene import connections, name_key, scratch_database

NAMES = 200


@pytest.fixture
def database():
    """For each test its own."""
    with scratch_database("cost", install=install_both) as name:
        yield name


def statistics(db, columns, table="lease"):
    """Counters of the table, up to what this session has just done."""
    db.execute("SELECT pg_stat_force_next_flush()")
    query = f"SELECT {columns} FROM pg_stat_all_tables JOIN pg_statio_all_tables USING (relid) WHERE relid = 'advisory_leases.{table}'::regclass"
    return db.execute(query).fetchone()


def ended_long_ago(db, where):
    db.execute(f"UPDATE advisory_leases.lease SET expires_at = expires_at - interval '1 day', token = token - 7200000 WHERE {where}")


def test_every_update_stays_in_its_page_and_needs_no_index_entry(connect):
    db = connect()
    db.execute("ALTER TABLE advisory_leases.lease SET (autovacuum_enabled = off)")
    tokens = {i: take(db, ["hot", str(i)]) for i in range(NAMES)}
    for _ in range(20):
        assert all(renew(db, ["hot", str(i)], token) for i, token in tokens.items())
    for i, token in tokens.items():
        assert release(db, ["hot", str(i)], token)
        assert take(db, ["hot", str(i)]) > token
    assert statistics(db, "n_tup_ins, n_tup_upd, n_tup_hot_upd") == (NAMES, 22 * NAMES, 22 * NAMES)


@pytest.mark.parametrize("vacuumed", [False, True])
def test_plans_made_on_an_empty_table_serve_a_full_one(connect, vacuumed):
    """All in one session, which plans each statement once, when the planner takes the tables for empty."""
    db = connect()
    for table in ("lease", "epoch", "limits"):
        db.execute(f"ALTER TABLE advisory_leases.{table} SET (autovacuum_enabled = off)")
        if vacuumed:
            db.execute(f"VACUUM ANALYZE advisory_leases.{table}")
    first, names = take(db, ["first"]), 3000
    for i in range(20):
        # Until there would be a generic plan.
        assert take(db, ["few", str(i)]) and renew(db, ["first"], first) and holds(db, ["first"], first)
        fence(db, ["first"], first)
    db.execute("SELECT count(advisory_leases.try_lease_key(ARRAY['many', i::text], '1 hour')) FROM generate_series(1, %s) AS i", [names])
    columns = "idx_tup_fetch, heap_blks_hit + heap_blks_read, seq_scan"
    before = statistics(db, columns)
    for i in range(100):
        assert take(db, ["late", str(i)]) and renew(db, ["first"], first) and holds(db, ["first"], first)
        fence(db, ["first"], first)
    assert release(db, ["first"], first)
    rows, pages, scans = (now - then for now, then in zip(statistics(db, columns), before))
    # Of one take in 16, the 64 rows that it may clean up; else some for each call.
    assert scans == 0 and rows < 100 * 12 and pages < 100 * 40
    # Building its index is one.
    assert statistics(db, "seq_scan", "epoch") <= (1,) and statistics(db, "seq_scan", "limits") <= (1,)


def test_new_names_clean_up_old_ones(connect):
    db = connect()
    db.execute("SELECT count(advisory_leases.try_lease_key(ARRAY['old', i::text], '1 hour')) FROM generate_series(1, 2000) AS i")
    ended_long_ago(db, "name LIKE 'old-%'")
    left = "SELECT count(*) FROM advisory_leases.lease WHERE name LIKE 'old-%'"
    count, taken = 2000, 0
    while count > 100:
        for _ in range(100):
            taken += 1
            assert take(db, ["new", str(taken)])
        (now,) = db.execute(left).fetchone()
        count = now
        assert taken < 10_000, f"{count} are left"
    assert db.execute("SELECT count(*) FROM advisory_leases.lease WHERE name LIKE 'new-%'").fetchone() == (taken,)


def near(first, number):
    """A name whose key is in the same 16th of all keys as those of all others that are made here: so far a clean-up looks."""
    return next(name for name in ([first, f"{number}.{i}"] for i in itertools.count()) if name_key(*name) >> 60 == 2)


OLD = [near("old", number) for number in range(30)]
CLEANING = next(name for name in (near("cleans", number) for number in itertools.count())
                if name_key(*name) % 16 == 0 and name_key(*name) < min(name_key(*old) for old in OLD))


@pytest.fixture
def crowd(connect):
    """A session; and names whose lease has ended long ago, and will be cleaned up with the next name that is CLEANING."""
    db = connect()
    for name in OLD:
        assert take(db, name)
    ended_long_ago(db, "true")
    return db


def change(db, name, assignment):
    db.execute(f"UPDATE advisory_leases.lease SET {assignment} WHERE key = %s", [name_key(*name)])


def old_rows(db):
    rows = db.execute("SELECT key FROM advisory_leases.lease WHERE name LIKE 'old-%'").fetchall()
    return [name for name in OLD if (name_key(*name),) in rows]


def test_one_name_cleans_up_all_that_follow_it_closely(crowd):
    assert old_rows(crowd) == OLD
    assert take(crowd, CLEANING)
    assert old_rows(crowd) == []


def test_what_is_leased_or_was_so_within_the_hour_is_not_cleaned_up(crowd):
    change(crowd, OLD[1], "expires_at = clock_timestamp() + interval '1 hour'")
    change(crowd, OLD[2], "token = token + 7200000 - 3500000")
    change(crowd, OLD[3], "token = token + (1::bigint << 44)")
    assert take(crowd, CLEANING)
    assert old_rows(crowd) == OLD[1:4]


def test_only_names_of_roles_whose_rights_one_has_are_cleaned_up(crowd, connect):
    """Others could not have them until the transaction ends."""
    crowd.execute("CREATE ROLE regress_stranger LOGIN; CREATE ROLE regress_other")
    try:
        with connections(connect) as open_one:
            stranger = open_one(user="regress_stranger")
            change(crowd, OLD[7], "role = 'regress_stranger'")
            change(crowd, OLD[8], "role = 'regress_other'")
            assert take(stranger, CLEANING)
            assert old_rows(crowd) == OLD[:7] + OLD[8:]
    finally:
        crowd.execute("DROP ROLE regress_stranger; DROP ROLE regress_other")


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_in_stricter_isolation_nothing_is_cleaned_up(crowd, isolation):
    crowd.execute(f"SET default_transaction_isolation = '{isolation}'")
    assert take(crowd, CLEANING)
    assert old_rows(crowd) == OLD


def test_a_fence_that_is_left_open_keeps_its_own_row_and_delays_nobody(crowd, connect):
    fencing = connect()
    change(crowd, OLD[7], "expires_at = clock_timestamp() + interval '1 hour'")
    (token,) = crowd.execute("SELECT token FROM advisory_leases.lease WHERE key = %s", [name_key(*OLD[7])]).fetchone()
    fencing.execute("BEGIN")
    fence(fencing, OLD[7], token)
    assert release(crowd, OLD[7], token)
    crowd.execute("SET statement_timeout = '5s'")
    assert take(crowd, CLEANING)
    assert OLD[7] in old_rows(crowd)
    fencing.execute("COMMIT")
    crowd.execute("DELETE FROM advisory_leases.lease WHERE key = %s", [name_key(*CLEANING)])
    assert take(crowd, CLEANING)
    assert old_rows(crowd) == []


def test_names_that_are_being_cleaned_up_are_refused_and_soon_free(crowd, connect):
    other = connect()
    crowd.execute("BEGIN")
    assert take(crowd, CLEANING)
    assert take(other, OLD[7]) is None
    crowd.execute("COMMIT")
    assert take(other, OLD[7])


def test_an_old_snapshot_hinders_nothing_but_the_removal_of_dead_rows(connect):
    db, old = connect(), connect()
    token = take(db, ["kept"])
    old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    assert holds(old, ["kept"], token)
    for _ in range(500):
        assert renew(db, ["kept"], token)
    assert take(db, ["kept"]) is None and holds(db, ["kept"], token) and holds(old, ["kept"], token)
    with pytest.raises(psycopg.errors.SerializationFailure):
        renew(old, ["kept"], token)
    old.execute("ROLLBACK")
    assert release(db, ["kept"], token) and take(db, ["kept"]) > token
