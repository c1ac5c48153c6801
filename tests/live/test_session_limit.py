"""`advisory_keys.max_keys_per_session`: a loop over rows ends with an error before the lock table is full."""

import psycopg
import pytest

from scene import connections, held_keys, native_only, pid_of
from server import Server

pytestmark = native_only("counting them in SQL would take a copy of the lock table for each call")

LEVELS = pytest.mark.parametrize("level", ["transaction", "session"])
MANY = "SELECT count(lock_keys(ARRAY['row', i::text], session => {session})) FROM generate_series({first}, {last}) AS i"


def lock_many(db, level, first, last):
    db.execute(MANY.format(session=level == "session", first=first, last=last))


@pytest.fixture
def limited(connect):
    """A connection that may hold 10 locks."""
    db = connect()
    db.execute("SET advisory_keys.max_keys_per_session = 10")
    return db


def refused(db, statement, parameters=None):
    with pytest.raises(psycopg.errors.ProgramLimitExceeded) as error:
        db.execute(statement, parameters)
    assert error.value.sqlstate == "54000"
    return error.value.diag


@LEVELS
def test_one_more_than_allowed_is_refused_and_says_why(limited, connect, level):
    db = limited
    db.execute("BEGIN")
    lock_many(db, level, 1, 10)
    db.execute("SAVEPOINT s")
    told = refused(db, f"SELECT try_lock_keys('{{eleventh}}', session => {level == 'session'})")
    assert told.message_primary == "too many advisory locks in one session"
    assert told.message_detail == 'The session holds 10 by name, with those of this call, "advisory_keys.max_keys_per_session" allows 10.'
    db.execute("ROLLBACK TO s")
    assert len(held_keys(connect(), pid_of(db))) == 10
    # Locking again is nothing new.
    assert db.execute("SELECT try_lock_keys('{row,7}')").fetchone() == (True,)


@LEVELS
def test_a_call_for_several_keys_takes_none_if_they_are_too_many(limited, connect, level):
    db, observer = limited, connect()
    names = [["many", str(i)] for i in range(11)]
    refused(db, f"SELECT lock_keys(%s, session => {level == 'session'})", [names])
    assert held_keys(observer, pid_of(db)) == []
    db.execute(f"SELECT lock_keys(%s, session => {level == 'session'})", [names[:10]])


def test_both_levels_count_together(limited):
    db = limited
    lock_many(db, "session", 1, 6)
    db.execute("BEGIN")
    lock_many(db, "transaction", 11, 14)
    refused(db, "SELECT lock_keys('{one,more}')")
    db.execute("ROLLBACK")
    lock_many(db, "session", 21, 24)
    refused(db, "SELECT lock_keys('{one,more}', session => true)")


def test_no_wait_is_begun_for_what_would_be_refused(limited, connect):
    holder, db = connect(), limited
    holder.execute("SELECT lock_keys('{taken}', session => true)")
    lock_many(db, "session", 1, 10)
    refused(db, "SELECT try_lock_keys('{taken}', timeout => '1h')")


@pytest.mark.parametrize("release", [
    "SELECT unlock_keys(ARRAY[['row', '1'], ['row', '2'], ['row', '3']])",
    "SELECT release_keys(ARRAY[['row', '1'], ['row', '2'], ['row', '3']])",
    "SELECT pg_advisory_unlock(advisory_key(ARRAY['row', i::text])) FROM generate_series(1, 3) AS i",
    "SELECT pg_advisory_unlock_all()",
    "DISCARD ALL",
])
def test_what_was_released_makes_room(limited, release):
    lock_many(limited, "session", 1, 10)
    limited.execute(release)
    limited.execute("SET advisory_keys.max_keys_per_session = 10")
    lock_many(limited, "session", 11, 13)


def test_what_a_savepoint_gave_back_makes_room(limited):
    limited.execute("BEGIN")
    lock_many(limited, "transaction", 1, 5)
    limited.execute("SAVEPOINT s")
    lock_many(limited, "transaction", 6, 10)
    limited.execute("ROLLBACK TO s")
    lock_many(limited, "transaction", 11, 15)
    refused(limited, "SELECT lock_keys('{one,more}')")


def test_savepoints_are_followed_beside_locks_of_core(limited):
    """Then the lock table cannot tell whose locks are left."""
    limited.execute("SELECT pg_advisory_lock(i) FROM generate_series(1, 10) AS i")
    limited.execute("BEGIN")
    for _ in range(3):
        limited.execute("SAVEPOINT s")
        lock_many(limited, "transaction", 1, 5)
        limited.execute("SAVEPOINT inner_s")
        lock_many(limited, "transaction", 6, 10)
        limited.execute("ROLLBACK TO s")
        lock_many(limited, "transaction", 1, 5)
        limited.execute("SAVEPOINT kept; RELEASE kept")
        lock_many(limited, "transaction", 6, 10)
        limited.execute("ROLLBACK TO s")
    limited.execute("SAVEPOINT s")
    lock_many(limited, "transaction", 1, 10)
    limited.execute("RELEASE s")
    refused(limited, "SELECT lock_keys('{one,more}')")


def test_a_lock_of_the_transaction_that_becomes_one_of_the_session_counts_on(limited, connect):
    with pytest.raises(psycopg.errors.ProgramLimitExceeded):
        limited.execute("""
            DO $$ BEGIN
                FOR i IN 1 .. 50 LOOP
                    PERFORM lock_keys(ARRAY['c', i::text]);
                    PERFORM lock_keys(ARRAY['c', i::text], session => true);
                    COMMIT;
                END LOOP;
            END $$""")
    # The eleventh one was held for the transaction only.
    assert len(held_keys(connect(), pid_of(limited))) <= 10


def test_who_was_refused_gets_a_lock_once_there_is_room(limited):
    """Also right away, in the same transaction."""
    limited.execute("BEGIN")
    lock_many(limited, "transaction", 1, 5)
    limited.execute("SAVEPOINT s")
    refused(limited, MANY.format(session=False, first=6, last=11))
    limited.execute("ROLLBACK TO s")
    lock_many(limited, "transaction", 6, 10)
    limited.execute("ROLLBACK")
    lock_many(limited, "session", 1, 10)
    refused(limited, "SELECT lock_keys('{one,more}', session => true)")
    limited.execute("SELECT pg_advisory_unlock_all()")
    lock_many(limited, "session", 1, 10)


def test_calls_that_fail_do_not_count(limited, connect):
    holder = connect()
    holder.execute("SELECT lock_keys('{taken}', session => true)")
    for _ in range(20):
        assert limited.execute(
            "SELECT try_lock_keys('{{a},{b},{c},{taken}}', session => true)").fetchone() == (False,)
    lock_many(limited, "session", 1, 10)


def test_locks_of_core_do_not_count(limited):
    for i in range(20):
        limited.execute("SELECT pg_advisory_lock(%s)", [i])
    lock_many(limited, "session", 1, 10)
    refused(limited, "SELECT lock_keys('{one,more}')")


def test_zero_is_no_limit(connect):
    db = connect()
    db.execute("SET advisory_keys.max_keys_per_session = 0")
    db.execute("BEGIN")
    lock_many(db, "transaction", 1, 5000)
    db.execute("ROLLBACK")


def test_by_default_a_loop_over_rows_does_not_keep_others_from_connecting():
    with Server(max_locks_per_transaction=10, max_connections=20) as server:
        with connections(server.connect) as connect:
            db = connect()
            size = db.execute(
                "SELECT current_setting('max_locks_per_transaction')::int * (20"
                " + current_setting('autovacuum_max_workers')::int + current_setting('max_worker_processes')::int"
                " + current_setting('max_wal_senders')::int + 1)").fetchone()[0]
            told = refused(db, MANY.format(session=True, first=1, last=100_000))
            limit = int(told.message_detail.split()[-1].rstrip("."))
            # Some processes of the server count too, more of them in later versions.
            assert size // 2 <= limit <= size // 2 + 200
            for _ in range(5):
                connect().execute("SELECT count(*) FROM pg_class, pg_attribute LIMIT 1")
