"""CALL acquire_keys waits without a snapshot of its own: who waits with it keeps nobody from cleaning up or from
building an index, and `lock_keys` beside it does."""

import uuid

import psycopg
import pytest

from acquiring import CALL, KEEPS, LETS_GO, NAME, SELECT, holder, only_native_lets_go, tables, waiting, xmin_of
from scene import PORTABLE, Background, held_keys, name_key, pid_of, scratch_database, wait_until, wait_until_waiting


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
