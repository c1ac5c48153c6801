"""CALL acquire_keys waits without a snapshot of its own: who waits with it keeps nobody from cleaning up or from
building an index, and `lock_keys` beside it does."""

import uuid
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.pq import ExecStatus, Format, TransactionStatus

from scene import (
    PORTABLE, Background, held_keys, name_key, native_only, pid_of, scratch_database, stopped, wait_until,
    wait_until_waiting,
)

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


@only_native_lets_go
@pytest.mark.parametrize("where", LETS_GO)
def test_it_waits_without_a_snapshot(connect, tables, holder, where):
    with waiting(connect, holder, LETS_GO[where]) as pid:
        assert xmin_of(holder, pid) is None


@pytest.mark.parametrize("where", KEEPS)
def test_where_a_snapshot_is_needed_it_is_kept(connect, tables, holder, where):
    with waiting(connect, holder, KEEPS[where]) as pid:
        assert xmin_of(holder, pid) is not None


@pytest.mark.skipif(not PORTABLE, reason="the native edition lets it go")
@pytest.mark.parametrize("where", LETS_GO)
def test_in_the_portable_edition_it_is_always_kept(connect, tables, holder, where):
    with waiting(connect, holder, LETS_GO[where]) as pid:
        assert xmin_of(holder, pid) is not None


def test_what_the_next_statement_reads_is_new(connect, tables, holder):
    """The snapshot after the wait is younger than what the holder has done meanwhile."""
    db = connect()
    db.execute("CREATE TEMP TABLE seen (n bigint)")
    holder.execute("CREATE TABLE counter AS SELECT 0 AS n")
    call = Background(db, f"DO $$ BEGIN {CALL}; INSERT INTO seen SELECT n FROM counter; END $$")
    wait_until_waiting(holder, pid_of(db))
    holder.execute("UPDATE counter SET n = 1")
    holder.release()
    call.result()
    assert db.execute("SELECT n FROM seen").fetchone() == (1,)
    holder.execute("DROP TABLE counter")


# What others can do meanwhile.

@pytest.fixture
def litter(connect):
    """A table whose rows are all dead, once VACUUM may take them."""
    name = f"litter_{uuid.uuid4().hex[:12]}"
    db = connect()
    db.execute(f"CREATE TABLE {name} AS SELECT i AS id, i % 3 AS n FROM generate_series(1, 1000) AS i")
    yield name
    db.execute(f"DROP TABLE {name}")


def pages(db, table):
    return db.execute("SELECT pg_relation_size(%s) / 8192", [table]).fetchone()[0]


@pytest.mark.parametrize("statement", [pytest.param(CALL, marks=only_native_lets_go), SELECT])
def test_vacuum_removes_what_died_during_the_wait(connect, tables, holder, litter, statement):
    with waiting(connect, holder, [statement]):
        holder.execute(f"DELETE FROM {litter}")
        holder.execute(f"VACUUM {litter}")
        assert (pages(holder, litter) == 0) is (statement == CALL)


CONCURRENTLY = {
    "CREATE INDEX": ([], "CREATE INDEX CONCURRENTLY ON {table} (id)"),
    "REINDEX": (["CREATE INDEX {table}_id ON {table} (id)"], "REINDEX TABLE CONCURRENTLY {table}"),
    "DROP INDEX": (["CREATE INDEX {table}_id ON {table} (id)"], "DROP INDEX CONCURRENTLY {table}_id"),
    "DETACH PARTITION": (
        ["CREATE TABLE {table}_parted (id int, n int) PARTITION BY LIST (n)", "CREATE TABLE {table}_1 PARTITION OF {table}_parted FOR VALUES IN (1)"],
        "ALTER TABLE {table}_parted DETACH PARTITION {table}_1 CONCURRENTLY"),
}


@only_native_lets_go
@pytest.mark.parametrize("what", CONCURRENTLY)
@pytest.mark.parametrize("whose", ["the holder's", "another"])
def test_what_is_done_concurrently_does_not_wait_for_it(connect, tables, holder, litter, what, whose):
    before, statement = CONCURRENTLY[what]
    for prepare in before:
        holder.execute(prepare.format(table=litter))
    with waiting(connect, holder, [CALL]):
        worker = holder if whose == "the holder's" else connect()
        worker.execute("SET statement_timeout = '15s'")
        worker.execute(statement.format(table=litter))
        worker.execute("RESET statement_timeout")
    holder.execute(f"DROP TABLE IF EXISTS {litter}_parted, {litter}_1")


def test_beside_it_lock_keys_makes_create_index_concurrently_wait(connect, tables, holder, litter):
    worker = connect()
    with waiting(connect, holder, [SELECT]):
        index = Background(worker, CONCURRENTLY["CREATE INDEX"][1].format(table=litter))
        wait_until_waiting(holder, pid_of(worker))
    index.result()


@pytest.mark.parametrize("statement", [pytest.param(CALL, marks=only_native_lets_go), SELECT])
def test_two_deployers_at_once(connect, tables, litter, statement):
    """Both take the lock and build an index under it. With lock_keys that is a deadlock."""
    first, second = connect(), connect()
    lock = statement.replace("}'", "}', session => true")
    first.execute(lock)
    call = Background(second, lock)
    wait_until_waiting(first, pid_of(second))
    build = f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {litter}_id ON {litter} (id)"
    first.execute("SET deadlock_timeout = '10ms'")
    if statement == SELECT:
        with pytest.raises(psycopg.errors.DeadlockDetected):
            first.execute(build)
    else:
        first.execute(build)
    first.execute("SELECT unlock_keys(%s)", [NAME])
    call.result()
    if statement == CALL:
        second.execute(build)


def test_it_is_granted_in_its_turn(connect, tables, holder):
    order, calls = [], []
    holder.execute("CREATE TABLE turns (n int GENERATED ALWAYS AS IDENTITY, who int)")
    for who, statement in enumerate([CALL, SELECT, CALL, CALL, SELECT]):
        session = connect()
        session.execute("BEGIN")
        locked = Background(session, statement)
        wait_until_waiting(holder, pid_of(session))
        calls.append((who, session, locked))
    holder.release()
    for who, session, locked in calls:
        locked.result()
        order.append(session.execute("INSERT INTO turns (who) VALUES (%s) RETURNING who", [who]).fetchone()[0])
        for _, later, _ in calls[who + 1:]:
            assert held_keys(holder, pid_of(later)) == []
        session.execute("COMMIT")
    assert order == [0, 1, 2, 3, 4]
    holder.execute("DROP TABLE turns")


# Several waits in one call, and what is looked up in the catalog between them.

@only_native_lets_go
@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1"])
def test_each_wait_of_several_is_without_a_snapshot(encoding):
    """To name a key, text of another encoding is converted, by a function that is found in the catalog."""
    with scratch_database("waits", f"ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0") as database:
        options = {"dbname": database, "autocommit": True, "client_encoding": "UTF8"}
        with psycopg.connect(**options) as holder, psycopg.connect(**options) as db:
            names = sorted(([f"é{i}"] for i in range(4)), key=lambda name: name_key(*name))
            holder.execute("SELECT lock_keys(%s, session => true)", [names[::2]])
            holder.execute("SELECT lock_keys(%s, session => true)", [names[1::2]])
            db.execute("BEGIN")
            call = Background(db, "CALL acquire_keys(%s, timeout => '1h')", [names])
            for name in names:
                wait_until(lambda: holder.execute(
                    "SELECT true FROM pg_locks WHERE pid = %s AND NOT granted AND (classid::int8 << 32) | objid::int8 = %s",
                    [pid_of(db), name_key(*name)]).fetchone(), f"waits for {name}")
                assert xmin_of(holder, pid_of(db)) is None
                holder.execute("SELECT unlock_keys(%s)", [name])
            call.result()
            assert db.execute("SELECT holds_keys(%s)", [names]).fetchone() == (True,)


@only_native_lets_go
@pytest.mark.parametrize("ends", ["granted", "refused"])
def test_names_from_a_toast_table_that_is_emptied_during_the_wait(connect, tables, holder, ends):
    db, length = connect(), 100_000
    holder.execute("CREATE TABLE long (name text[]); ALTER TABLE long ALTER name SET STORAGE EXTERNAL")
    holder.execute("INSERT INTO long VALUES (ARRAY[repeat('x', %s)])", [length])
    holder.execute("CREATE FUNCTION long_name() RETURNS text[] LANGUAGE sql RETURN (SELECT name FROM long)")
    key = name_key("x" * length)
    holder.execute("SELECT pg_advisory_lock(%s)", [key])
    db.execute("BEGIN")
    call = Background(db, f"CALL acquire_keys(long_name(), timeout => '{'1h' if ends == 'granted' else '1s'}')")
    wait_until_waiting(holder, pid_of(db))
    holder.execute("DELETE FROM long")
    # The waiter has read the table in this transaction, so that one is not VACUUM's to cut off.
    toast = holder.execute("SELECT reltoastrelid::regclass::text FROM pg_class WHERE relname = 'long'").fetchone()[0]
    holder.execute(f"VACUUM {toast}")
    assert pages(holder, toast) == 0
    if ends == "granted":
        holder.execute("SELECT pg_advisory_unlock(%s)", [key])
        call.result()
        assert held_keys(holder, pid_of(db)) == [(key, "ExclusiveLock")]
    else:
        with pytest.raises(psycopg.errors.LockNotAvailable) as refused:
            call.result()
        assert refused.value.diag.message_detail.startswith('Key "xxx')
    db.execute("ROLLBACK")
    holder.execute("DROP FUNCTION long_name; DROP TABLE long")


# When it is not granted.

INTERRUPTS = {
    "timeout": (psycopg.errors.LockNotAvailable, None),
    "lock_timeout": (psycopg.errors.LockNotAvailable, "SET lock_timeout = '100ms'"),
    "statement_timeout": (psycopg.errors.QueryCanceled, "SET statement_timeout = '100ms'"),
    "cancel": (psycopg.errors.QueryCanceled, None),
    "deadlock": (psycopg.errors.DeadlockDetected, "SET deadlock_timeout = '100ms'"),
}


@pytest.mark.parametrize("interrupt", INTERRUPTS)
@pytest.mark.parametrize("where", [
    "by itself", "in a block", "after a savepoint", "in DO", "EXECUTE in DO", "between COMMITs", "after ROLLBACK",
    "a function", "a procedure in a block with EXCEPTION", "a loop over rows", "REPEATABLE READ",
])
def test_an_error_leaves_the_session_as_any_error_does(connect, tables, holder, interrupt, where):
    error, setting = INTERRUPTS[interrupt]
    statements = {**LETS_GO, **KEEPS}[where]
    if interrupt == "timeout":
        if CALL not in statements[-1]:
            pytest.skip("has no timeout")
        statements = [s.replace(CALL, "CALL acquire_keys('{acquire,1}', timeout => '50ms')") for s in statements]
    session = connect()
    session.execute("SELECT lock_keys('{acquire,2}', session => true)")
    if setting:
        session.execute(setting)
    observer, pid = connect(), pid_of(session)
    if interrupt == "deadlock":
        holder.execute("SET deadlock_timeout = '1h'")
        other = Background(holder, "SELECT lock_keys('{acquire,2}')")
        wait_until_waiting(observer, pid_of(holder))
    call = send(session, statements)
    if interrupt == "cancel":
        wait_until_waiting(observer, pid)
        observer.execute("SELECT pg_cancel_backend(%s)", [pid])
    with pytest.raises(error):
        call.result()
    assert (KEY, "ExclusiveLock") not in held_keys(observer, pid)
    if session.info.transaction_status == TransactionStatus.INERROR:
        if "SAVEPOINT b" in statements:
            session.execute("ROLLBACK TO SAVEPOINT b")
            assert session.execute("SELECT count(*) FROM rows").fetchone() == (10,)
        session.execute("ROLLBACK")
    assert xmin_of(observer, pid) is None
    assert session.execute("SELECT count(*) FROM rows").fetchone() == (10,)
    session.execute("SELECT pg_advisory_unlock_all()")
    if interrupt == "deadlock":
        other.result()
    holder.release()
    session.execute("RESET statement_timeout")
    session.execute("BEGIN")
    session.execute(CALL)
    assert held_keys(observer, pid) == [(KEY, "ExclusiveLock")]


def test_a_waiter_can_be_terminated(connect, tables, holder):
    session = connect()
    pid, call = pid_of(session), send(session, [CALL])
    wait_until_waiting(holder, pid)
    holder.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
    with pytest.raises(psycopg.OperationalError):
        call.result()
    assert held_keys(holder, pid) == []


def test_an_error_after_the_last_grant_gives_the_locks_back(connect, tables, holder):
    """A cancel that comes with the grant is served when the snapshot is gone."""
    db = connect()
    call = Background(db, "CALL acquire_keys('{{acquire,1},{acquire,2}}', session => true)")
    wait_until_waiting(holder, pid_of(db))
    with stopped(pid_of(db)):
        holder.release()
        holder.execute("SELECT pg_cancel_backend(%s)", [pid_of(db)])
    with pytest.raises(psycopg.errors.QueryCanceled):
        call.result()
    assert held_keys(holder, pid_of(db)) == []
    assert db.execute("SELECT count(*) FROM rows").fetchone() == (10,)


# As drivers send it.

def raw(connection, send):
    """A thing with `execute` and `info` that sends in a way of libpq's own, for Background."""
    class Sender:
        info = connection.info

        def execute(self, *_):
            result = send(connection.pgconn)
            assert result.status == ExecStatus.COMMAND_OK, result.error_message
            return self

        description = None

    return Sender()


def prepared(pgconn):
    assert pgconn.prepare(b"acquire", b"CALL acquire_keys($1, timeout => $2, session => $3)").status == ExecStatus.COMMAND_OK
    return pgconn.exec_prepared(b"acquire", [b"{acquire,1}", b"1h", b"true"])


BINARY = b"".join(
    [(1).to_bytes(4, "big"), (0).to_bytes(4, "big"), (25).to_bytes(4, "big"), (2).to_bytes(4, "big"), (1).to_bytes(4, "big")]
    + [len(part).to_bytes(4, "big") + part for part in (b"acquire", b"1")])

PROTOCOLS = {
    "untyped text": lambda pgconn: pgconn.exec_params(b"CALL acquire_keys($1, session => true)", [b"{acquire,1}"]),
    "untyped binary": lambda pgconn: pgconn.exec_params(
        b"CALL acquire_keys($1, session => true)", [BINARY], param_formats=[Format.BINARY]),
    "prepared": prepared,
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_parameters_need_no_type(connect, tables, holder, protocol):
    db = connect()
    call = Background(raw(db, PROTOCOLS[protocol]), None)
    wait_until_waiting(holder, pid_of(db))
    assert (xmin_of(holder, pid_of(db)) is None) is not PORTABLE
    holder.release()
    call.result()
    assert held_keys(holder, pid_of(db)) == [(KEY, "ExclusiveLock")]


def test_a_statement_that_psycopg_prepares(connect, tables, holder):
    db = connect()
    db.execute("BEGIN")
    for _ in range(8):
        db.execute("CALL acquire_keys(%s, shared => %s)", [["acquire", "2"], False], prepare=True)
    call = Background(db, "CALL acquire_keys(%s, shared => %s)", [NAME, False])
    wait_until_waiting(holder, pid_of(db))
    assert (xmin_of(holder, pid_of(db)) is None) is not PORTABLE
    holder.release()
    call.result()


def test_in_a_pipeline(connect, tables, holder):
    """The transaction goes on in the next message, without a block."""
    db = connect()

    class Pipeline:
        info, description = db.info, None

        def execute(self, *_):
            with db.pipeline():
                db.execute("SELECT count(*) FROM rows")
                db.execute("CALL acquire_keys(%s)", [NAME])
                self.held = db.execute("SELECT holds_keys(%s), count(*) FROM rows", [NAME])
            return self

    pipeline = Pipeline()
    call = Background(pipeline, None)
    wait_until_waiting(holder, pid_of(db))
    assert (xmin_of(holder, pid_of(db)) is None) is not PORTABLE
    holder.release()
    call.result()
    assert pipeline.held.fetchone() == (True, 10)
