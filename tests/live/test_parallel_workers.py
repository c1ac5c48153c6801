"""In a parallel worker a lock would be lost when the worker ends: there it is an error, also behind a function that
is falsely labelled PARALLEL SAFE."""

import psycopg
import pytest

from scene import name_key

CALLS = [
    "try_lock_keys('{in,worker}')",
    "try_lock_keys('{in,worker}', timeout => '1s')",
    "try_lock_keys('{in,worker}', session => true)",
    "try_lock_keys('{{in,worker},{in,another}}')",
    "lock_keys('{in,worker}')::text",
    "unlock_keys('{in,worker}')",
    "release_keys('{in,worker}')",
    "holds_keys('{in,worker}')",
    "keys_available('{in,worker}')",
    "try_lock_slot('{in,worker}', 1)",
    "lock_slot('{in,worker}', 1, session => true)::text",
    "unlock_slot('{in,worker}')",
    "slots_held('{in,worker}')",
]


@pytest.fixture
def db(connect):
    """A session whose queries run in a worker, if they may."""
    db = connect()
    forced = "debug_parallel_query" if db.info.server_version >= 160000 else "force_parallel_mode"
    db.execute(f"SET {forced} = on")
    return db


def wrap(db, call):
    db.execute(f"CREATE OR REPLACE FUNCTION pg_temp.wrapped() RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS $$ BEGIN RETURN {call}; END $$")


def test_it_is_a_worker(db):
    wrap(db, "pg_backend_pid()")
    assert db.execute("SELECT pg_temp.wrapped()").fetchone() != (str(db.info.backend_pid),)


@pytest.mark.parametrize("call", CALLS)
def test_in_a_worker_it_is_an_error(db, call):
    wrap(db, call)
    with db.transaction():
        for _ in range(2):
            with pytest.raises(psycopg.Error) as error:
                with db.transaction():
                    db.execute("SELECT pg_temp.wrapped()")
            assert error.value.sqlstate == "25000", error.value
            # The leader goes on as if nothing had happened.
            assert db.execute("SELECT try_lock_keys('{in,leader}')").fetchone() == (True,)
    assert db.execute("SELECT count(*) FROM advisory_locks WHERE pid = pg_backend_pid()").fetchone() == (0,)


def test_the_key_can_be_computed_there(db):
    wrap(db, "advisory_key('{in,worker}')")
    assert db.execute("SELECT pg_temp.wrapped()").fetchone() == (str(name_key("in", "worker")),)
