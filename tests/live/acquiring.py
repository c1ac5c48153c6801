"""What the tests of CALL acquire_keys have in common: where it can stand, and a session that waits there."""

from contextlib import contextmanager

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from scene import Background, held_keys, name_key, native_only, pid_of, wait_until_waiting

NAME = ["acquire", "1"]
KEY = name_key(*NAME)
CALL, SELECT = "CALL acquire_keys('{acquire,1}')", "SELECT lock_keys('{acquire,1}')"

only_native_lets_go = native_only("what runs in PL/pgSQL has a snapshot all the time")

ROUTINES = """
    CREATE PROCEDURE in_plpgsql() LANGUAGE plpgsql AS $$ BEGIN CALL acquire_keys('{acquire,1}'); END $$;
    CREATE PROCEDURE nested() LANGUAGE plpgsql AS $$ BEGIN CALL in_plpgsql(); PERFORM count(*) FROM rows; END $$;
    CREATE PROCEDURE between_commits() LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO work VALUES (1);
        COMMIT;
        CALL acquire_keys('{acquire,1}');
        INSERT INTO work SELECT count(*) FROM rows;
        COMMIT;
        INSERT INTO work VALUES (1);
    END $$;
    CREATE PROCEDURE after_rollback() LANGUAGE plpgsql AS $$
    BEGIN PERFORM count(*) FROM rows; ROLLBACK; CALL acquire_keys('{acquire,1}'); PERFORM count(*) FROM rows; ROLLBACK; END $$;
    CREATE PROCEDURE in_sql() LANGUAGE sql AS $$ CALL acquire_keys('{acquire,1}'); $$;
    CREATE PROCEDURE with_setting() LANGUAGE plpgsql SET work_mem = '1MB' AS $$ BEGIN CALL acquire_keys('{acquire,1}'); END $$;
    CREATE PROCEDURE definer() LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN CALL acquire_keys('{acquire,1}'); END $$;
    CREATE PROCEDURE catches() LANGUAGE plpgsql AS $$
    BEGIN CALL acquire_keys('{acquire,1}'); EXCEPTION WHEN division_by_zero THEN NULL; END $$;
    CREATE PROCEDURE with_result(INOUT n bigint) LANGUAGE plpgsql AS $$
    BEGIN CALL acquire_keys('{acquire,1}'); SELECT count(*) INTO n FROM rows; END $$;
    CREATE FUNCTION in_function() RETURNS bigint LANGUAGE plpgsql AS $$
    BEGIN CALL acquire_keys('{acquire,1}'); RETURN (SELECT count(*) FROM rows); END $$;
    CREATE FUNCTION in_sql_function() RETURNS bigint LANGUAGE sql AS $$ CALL acquire_keys('{acquire,1}'); SELECT count(*) FROM rows $$;
    CREATE FUNCTION on_insert() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN CALL acquire_keys('{acquire,1}'); RETURN NEW; END $$;
    CREATE TRIGGER acquires BEFORE INSERT ON triggers FOR EACH ROW EXECUTE FUNCTION on_insert();
"""

# What a client sends, one statement after the other; the last one waits.
LETS_GO = {
    "by itself": [CALL],
    "with a timeout": ["CALL acquire_keys('{acquire,1}', timeout => '1h')"],
    "shared, of the session": ["CALL acquire_keys('{acquire,1}', shared => true, session => true)"],
    "in a block": ["BEGIN", "SELECT count(*) FROM rows", CALL],
    "after a savepoint": ["BEGIN", "SAVEPOINT a", "SELECT count(*) FROM rows", "SAVEPOINT b", CALL],
    "in one message with others": [f"SELECT count(*) FROM rows; {CALL}; SELECT count(*) FROM rows"],
    "in DO": [f"DO $$ DECLARE n bigint; BEGIN SELECT count(*) INTO n FROM rows; {CALL}; ASSERT n = (SELECT count(*) FROM rows); END $$"],
    "in a loop of DO": [f"DO $$ BEGIN FOR i IN 1..3 LOOP {CALL}; COMMIT; END LOOP; END $$"],
    "after a block with EXCEPTION": [
        f"DO $$ BEGIN BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END; {CALL}; PERFORM count(*) FROM rows; END $$"],
    "in a procedure": ["CALL in_plpgsql()"],
    "in a procedure of a procedure": ["CALL nested()"],
    "between COMMITs": ["CALL between_commits()"],
    "after ROLLBACK": ["CALL after_rollback()"],
}

KEEPS = {
    "SELECT lock_keys": [SELECT],
    "SELECT lock_keys in a block": ["BEGIN", SELECT],
    "DO with lock_keys": ["DO $$ BEGIN PERFORM lock_keys('{acquire,1}'); END $$"],
    "DO in a block": ["BEGIN", f"DO $$ BEGIN {CALL}; PERFORM count(*) FROM rows; END $$"],
    "a procedure in a block": ["BEGIN", "CALL nested()"],
    "a block with EXCEPTION": ["CALL catches()"],
    "a procedure in a block with EXCEPTION": [
        "DO $$ BEGIN CALL nested(); EXCEPTION WHEN division_by_zero THEN NULL; END $$"],
    "EXECUTE in DO": ["""DO $$ BEGIN EXECUTE 'DO $in$ BEGIN CALL in_plpgsql(); END $in$'; PERFORM count(*) FROM rows; END $$"""],
    "a procedure with SET": ["CALL with_setting()"],
    "a SECURITY DEFINER procedure": ["CALL definer()"],
    "a procedure in SQL": ["CALL in_sql()"],
    "a procedure with a result": ["CALL with_result(0)"],
    "a function": ["SELECT in_function()"],
    "a function in DO": ["DO $$ BEGIN PERFORM in_function(); END $$"],
    "a function in an argument": ["CALL acquire_keys(ARRAY[in_function()::text])"],
    "a function in SQL": ["SELECT in_sql_function()"],
    "a trigger": ["INSERT INTO triggers VALUES (1)"],
    "a loop over rows": [f"DO $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM rows LIMIT 2 LOOP {CALL}; PERFORM count(*) FROM rows; END LOOP; END $$"],
    "a cursor of DO": [f"DO $$ DECLARE c CURSOR FOR SELECT * FROM rows; BEGIN OPEN c; MOVE c; {CALL}; MOVE c; CLOSE c; END $$"],
    "a cursor that is open": ["BEGIN", "DECLARE c CURSOR FOR SELECT * FROM rows", CALL],
    "an exported snapshot": ["BEGIN", "SELECT pg_export_snapshot()", CALL],
    "an open large object": ["SELECT lo_create(424242)", "BEGIN", "SELECT lo_open(424242, x'40000'::int)", CALL],
    "REPEATABLE READ": ["BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM rows", CALL],
    "SERIALIZABLE": ["BEGIN ISOLATION LEVEL SERIALIZABLE", CALL],
}


@pytest.fixture(scope="module")
def tables(database):
    """What the routines work with, in the database of all tests."""
    with psycopg.connect(dbname=database, autocommit=True) as db:
        db.execute("CREATE TABLE rows AS SELECT i AS id FROM generate_series(1, 10) AS i")
        db.execute("CREATE TABLE work (n bigint); CREATE TABLE triggers (n int)")
        db.execute(ROUTINES)
        yield
        db.execute("""
            DROP PROCEDURE in_plpgsql, nested, between_commits, after_rollback, in_sql, with_setting, definer, catches, with_result;
            DROP TABLE triggers;
            DROP FUNCTION in_function, in_sql_function, on_insert;
            DROP TABLE rows, work""")


def send(session, statements):
    """Sends them; the last one in the background."""
    for statement in statements[:-1]:
        session.execute(statement)
    return Background(session, statements[-1])


@pytest.fixture
def holder(connect):
    """Holds NAME until told to `release`."""
    session = connect()
    session.execute("SELECT lock_keys(%s, session => true)", [NAME])
    session.release = lambda: session.execute("SELECT release_keys(%s)", [NAME])
    return session


def xmin_of(observer, pid):
    """The oldest transaction whose rows the backend keeps."""
    return observer.execute("SELECT backend_xmin FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()[0]


@contextmanager
def waiting(connect, holder, statements):
    """Yields the pid of a waiter, that is granted the lock in the end, and goes on as after any other statement."""
    session = connect()
    pid = pid_of(session)
    call = send(session, statements)
    wait_until_waiting(holder, pid)
    yield pid
    holder.release()
    call.result()
    assert session.execute("SELECT count(*) FROM rows").fetchone() == (10,)
    if session.info.transaction_status == TransactionStatus.INTRANS:
        assert held_keys(holder, pid) == [(KEY, "ExclusiveLock")]
        session.execute("COMMIT")
    session.execute("SELECT release_keys(%s, shared => true)", [NAME])
    assert held_keys(holder, pid) == []
