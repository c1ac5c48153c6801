"""Queries over a table `rows` whose rows are read by workers."""

import pytest


def make_rows(db):
    # In one block, which one of the workers reads; with one worker alone, Postgres finds it no cheaper.
    db.execute("CREATE TABLE IF NOT EXISTS rows WITH (parallel_workers = 2) AS SELECT n FROM generate_series(1, 200) AS n")


def use_workers(db):
    """Has the queries of a session run in a worker, but for what only a leader may do."""
    for setting in (
        "parallel_setup_cost = 0", "parallel_tuple_cost = 0", "min_parallel_table_scan_size = 0",
        "parallel_leader_participation = off",
    ):
        db.execute(f"SET {setting}")


def create_in_leader(db):
    """CREATE TABLE … AS with rows of workers, for which the leader takes locks."""
    made = "CREATE TABLE made AS SELECT n, try_lock_keys(ARRAY['row', n::text]) FROM rows WHERE n < 3 OFFSET 0"
    assert any("Gather" in line for line, in db.execute(f"EXPLAIN {made}").fetchall())
    db.execute(made)


@pytest.fixture
def leader(connect):
    leader = connect()
    make_rows(leader)
    use_workers(leader)
    return leader


def query(call):
    """The leader makes the call with the first row that it gets from the worker."""
    return f"""
        SELECT count(*) FILTER (WHERE f IS NULL), count(l) FROM (
            SELECT f, CASE WHEN n = 1 THEN {call}::text END AS l
            FROM (SELECT n, pg_temp.fails(n) AS f FROM rows OFFSET 0) AS of_worker OFFSET 0) AS of_leader"""
