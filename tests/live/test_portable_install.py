"""Installing sql/portable.sql: by whom, among whom, inside of what, and over what was there before."""

import os
import pathlib
import re
import subprocess
import uuid

import psycopg
import pytest
import sqlalchemy
from alembic.migration import MigrationContext
from alembic.operations import Operations

from application import check_application, create_application
from scene import (
    PORTABLE, PORTABLE_SQL, Background, held_keys, install_portable, name_key, pid_of, scratch_database,
    wait_until_waiting,
)

pytestmark = pytest.mark.skipif(not PORTABLE, reason="the extension is installed by Postgres")

FILE = PORTABLE_SQL.read_text(encoding="utf-8")
RELEASED = {file.stem.removeprefix("portable-"): file for file in (pathlib.Path(__file__).parents[1] / "portable" / "released").glob("portable-*.sql")}
OF_0_1_0 = RELEASED["0.1.0"]
INSTALL = ["ADVISORY-KEYS", "install"]

OURS = """
    SELECT count(*) FROM (
        SELECT proname, pronamespace, proowner FROM pg_proc
        UNION ALL SELECT relname, relnamespace, relowner FROM pg_class WHERE relkind = 'v') AS object (name, namespace, owner)
    WHERE namespace = 'public'::regnamespace AND owner = current_user::regrole AND name ~ '_keys|advisory|slot'
"""


@pytest.fixture
def empty():
    """A database without any edition, in which a role that nobody trusts may create objects."""
    with scratch_database("empty", install=lambda db: db.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")) as name:
        yield name


@pytest.fixture
def stranger():
    name = f"live_stranger_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(dbname="postgres", autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name}")
        yield name
        admin.execute(f"DROP ROLE {name}")


def psql(dbname, *options):
    """A psql that has been started."""
    bindir = subprocess.run([os.environ["PG_CONFIG"], "--bindir"], check=True, capture_output=True, text=True).stdout.strip()
    return subprocess.Popen([f"{bindir}/psql", "-Xq", "-d", dbname, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def refused(db, sqlstate):
    with pytest.raises(psycopg.Error) as error:
        install_portable(db)
    assert error.value.sqlstate == sqlstate, error.value
    return error.value.diag


# What is a stranger's.

STRANGE = {
    "a helper": "CREATE FUNCTION public._advisory_keys_lock(text[], interval, boolean, boolean) RETURNS bigint RETURN 1",
    "a helper of another signature": "CREATE FUNCTION public._advisory_keys_any(int) RETURNS int RETURN 1",
    "an overload": "CREATE FUNCTION public.lock_keys(text) RETURNS int RETURN 1",
    "an aggregate": "CREATE AGGREGATE public.holds_keys(int) (SFUNC = int4larger, STYPE = int)",
    "a view": "CREATE VIEW public.advisory_locks AS SELECT 1::bigint AS key",
    "a table": "CREATE TABLE public.advisory_locks (key bigint)",
    "a type": "CREATE DOMAIN public.advisory_locks AS int",
}


@pytest.mark.parametrize("object", STRANGE)
def test_an_object_of_another_role_is_refused(connect, empty, stranger, object):
    db = connect(dbname=empty)
    db.execute(f"SET ROLE {stranger}")
    db.execute(STRANGE[object])
    db.execute("RESET ROLE")
    diag = refused(db, "42501")
    assert stranger in diag.message_detail
    assert db.execute(OURS).fetchone() == (0,)
    db.execute(f"DROP OWNED BY {stranger}")
    install_portable(db)


@pytest.mark.parametrize("object", ["an overload", "a helper of another signature"])
def test_an_object_that_another_role_creates_meanwhile_is_refused(connect, empty, stranger, object):
    """A trigger is the stranger: it fires within the installation, after the first look."""
    db = connect(dbname=empty)
    db.execute(f"""
        CREATE FUNCTION meanwhile() RETURNS event_trigger LANGUAGE plpgsql AS $$
        BEGIN
            SET LOCAL ROLE {stranger};
            {STRANGE[object]};
            RESET ROLE;
        END $$""")
    db.execute("CREATE EVENT TRIGGER meanwhile ON ddl_command_end WHEN TAG IN ('CREATE VIEW') EXECUTE FUNCTION meanwhile()")
    refused(db, "42501")
    assert db.execute(OURS).fetchone() == (0,)


def test_objects_of_the_installer_are_not_strange(connect, empty):
    db = connect(dbname=empty)
    db.execute(STRANGE["an overload"])
    install_portable(db)


def test_an_upgrade_by_another_role_is_refused(connect, empty, stranger):
    db = connect(dbname=empty)
    db.execute(f"SET ROLE {stranger}")
    install_portable(db)
    install_portable(db)
    db.execute("RESET ROLE")
    assert "SET ROLE" not in refused(db, "42501").message_primary
    db.execute(f"DROP OWNED BY {stranger}")


def test_what_a_stranger_puts_into_the_schema_is_not_called(connect, empty, stranger):
    """These fit the calls in our functions better than core's do, which take any type."""
    db = connect(dbname=empty)
    install_portable(db)
    db.execute(f"SET ROLE {stranger}")
    db.execute("""
        CREATE FUNCTION public.trap() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
        CREATE FUNCTION public.cardinality(bigint[]) RETURNS int RETURN public.trap();
        CREATE FUNCTION public.array_ndims(text[]) RETURNS int RETURN public.trap();
        CREATE FUNCTION public.array_to_string(text[], text) RETURNS text RETURN public.trap()::text;
        CREATE FUNCTION public.unnest(text[]) RETURNS SETOF text RETURN public.trap()::text;
        CREATE FUNCTION public.trim_array(bigint[], int) RETURNS bigint[] RETURN ARRAY[public.trap()];
        CREATE FUNCTION public.append(bigint[], bigint) RETURNS bigint[] RETURN ARRAY[public.trap()];
        CREATE OPERATOR public.|| (LEFTARG = bigint[], RIGHTARG = bigint, FUNCTION = public.append)""")
    db.execute("RESET ROLE")
    names = [["a", "b", "c", str(i)] for i in range(3)]
    holder = connect(dbname=empty)
    holder.execute("SELECT lock_keys(%s, session => true)", [names[-1:]])
    db.execute("SELECT try_lock_keys(%s, timeout => '20ms', session => true)", [names])
    with pytest.raises(psycopg.errors.LockNotAvailable):
        db.execute("SELECT lock_keys(%s, timeout => '20ms', session => true)", [names])
    holder.execute("SELECT unlock_keys(%s)", [names[-1:]])
    db.execute("SELECT lock_keys(%s, session => true), holds_keys(%s), keys_available(%s), unlock_keys(%s), release_keys(%s)", [names] * 5)
    db.execute(f"DROP OWNED BY {stranger}")


# At the same time.

def install_at_once(empty, *others):
    installing = [psql(empty, "-v", "ON_ERROR_STOP=1", "-f", PORTABLE_SQL) for _ in range(6)] + list(others)
    return [(*process.communicate(timeout=60), process.returncode) for process in installing]


def test_six_at_once_all_succeed(connect, empty):
    for _ in range(3):
        assert install_at_once(empty) == [("", "", 0)] * 6
    assert connect(dbname=empty).execute("SELECT try_lock_keys('{a}')").fetchone() == (True,)


def test_of_both_editions_one_gets_in(connect, empty):
    db = connect(dbname=empty)
    if not db.execute("SELECT FROM pg_available_extensions WHERE name = 'advisory_keys'").fetchall():
        pytest.skip("the extension is not at hand")
    db.execute("CREATE SCHEMA elsewhere")
    for _ in range(3):
        *portable, native = install_at_once(empty, psql(empty, "-c", "CREATE EXTENSION advisory_keys SCHEMA elsewhere"))
        extensions = db.execute("SELECT count(*) FROM pg_extension WHERE extname = 'advisory_keys'").fetchone()[0]
        helpers = db.execute("SELECT count(*) FROM pg_proc WHERE proname = '_advisory_keys_lock'").fetchone()[0]
        assert (extensions, helpers) in [(1, 0), (0, 1)]
        assert native[2] == (0 if extensions else 1)
        assert {code for *_, code in portable} == {3 if extensions else 0}
        if extensions:
            db.execute("DROP EXTENSION advisory_keys")
        else:
            db.execute(uninstalling())


@pytest.mark.parametrize("lock_timeout, bound", [("0", "10s"), ("50ms", "50ms")])
def test_who_holds_the_lock_of_installations_does_not_stop_one_for_ever(connect, empty, lock_timeout, bound):
    holder, db = connect(dbname=empty), connect(dbname=empty)
    holder.execute("SELECT pg_advisory_lock(%s)", [name_key(*INSTALL)])
    db.execute(f"SET lock_timeout = '{lock_timeout}'")
    begun = db.execute("SELECT clock_timestamp()").fetchone()[0]
    refused(db, "55P03")
    assert db.execute("SELECT clock_timestamp() - %s >= %s::interval", [begun, bound]).fetchone() == (True,)
    assert db.execute(OURS).fetchone() == (0,)


# Inside of other things.

def state(db):
    return db.execute("SELECT current_setting('search_path'), current_setting('lock_timeout'), current_user").fetchone()


@pytest.mark.parametrize("lock_timeout", ["0", "3s"])
def test_it_is_a_part_of_the_transaction_that_is_open(connect, empty, lock_timeout):
    db, other = connect(dbname=empty, autocommit=False), connect(dbname=empty)
    db.execute(f"SET lock_timeout = '{lock_timeout}'")
    before = state(db)
    install_portable(db)
    assert state(db) == before
    assert other.execute(OURS).fetchone() == (0,)
    db.rollback()
    assert other.execute(OURS).fetchone() == (0,)
    install_portable(db)
    db.commit()
    assert other.execute("SELECT try_lock_keys('{a}')").fetchone() == (True,)


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_an_old_snapshot_is_refused(connect, empty, isolation):
    db = connect(dbname=empty)
    db.execute(f"SET default_transaction_isolation = '{isolation.lower()}'")
    refused(db, "25000")


def test_a_schema_whose_name_would_end_the_text_of_a_function_is_refused(connect, empty):
    db = connect(dbname=empty)
    db.execute('CREATE SCHEMA "x$$ y"')
    db.execute('SET search_path = "x$$ y"')
    refused(db, "3F000")


@pytest.mark.parametrize("name", ["a b", 'quote"', "apostrophe'", "back\\slash", "Ünï-çøde", "select", "@extschema@"])
def test_any_other_schema_will_do(connect, empty, name):
    db = connect(dbname=empty)
    schema = psycopg.sql.Identifier(name)
    db.execute(psycopg.sql.SQL("CREATE SCHEMA {0}; SET search_path = {0}").format(schema))
    install_portable(db)
    db.execute("SET search_path = ''")
    call = psycopg.sql.SQL("SELECT {0}.try_lock_keys('{{a,1}}', timeout => '1s', session => true), {0}.release_keys('{{a,1}}')")
    assert db.execute(call.format(schema)).fetchone() == (True, 1)


@pytest.mark.parametrize("options", [[], ["-1"], ["-1", "-v", "ON_ERROR_STOP=1"]])
def test_psql_installs_it_and_leaves_nothing_when_it_fails(connect, empty, stranger, options):
    db = connect(dbname=empty)
    db.execute(f"SET ROLE {stranger}")
    db.execute(STRANGE["a view"])
    db.execute("RESET ROLE")
    _, errors = psql(empty, *options, "-f", PORTABLE_SQL).communicate(timeout=60)
    assert errors.count("ERROR") == 1
    assert db.execute(OURS).fetchone() == (0,)
    db.execute(f"DROP OWNED BY {stranger}")
    assert psql(empty, *options, "-f", PORTABLE_SQL).communicate(timeout=60) == ("", "")
    assert db.execute("SELECT try_lock_keys('{a}')").fetchone() == (True,)


def test_psycopg_takes_no_part_of_it_for_a_parameter(connect, empty):
    """With parameters, even with none, a percent sign is one. In the binary format there is but one statement."""
    db = connect(dbname=empty)
    db.execute(FILE, [])
    db.execute(FILE, binary=True)
    assert db.execute("SELECT try_lock_keys('{a}')").fetchone() == (True,)


@pytest.fixture
def engine(empty):
    engine = sqlalchemy.create_engine(
        f"postgresql+psycopg://{os.environ.get('PGUSER', '')}@/{empty}?host={os.environ['PGHOST']}&port={os.environ.get('PGPORT', '5432')}")
    yield engine
    engine.dispose()


def by_text(connection):
    connection.execute(sqlalchemy.text(FILE))


def by_driver_sql(connection):
    connection.exec_driver_sql(FILE)


def by_alembic(connection):
    Operations(MigrationContext.configure(connection)).execute(FILE)


@pytest.mark.parametrize("run", [by_text, by_driver_sql, by_alembic])
def test_migration_tools_run_it_in_their_transaction(connect, engine, empty, run):
    db = connect(dbname=empty)
    with engine.connect() as connection:
        with connection.begin() as transaction:
            connection.exec_driver_sql("CREATE TABLE version (n int)")
            run(connection)
            transaction.rollback()
    assert db.execute(OURS).fetchone() == (0,)
    assert db.execute("SELECT to_regclass('version')").fetchone() == (None,)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE version (n int)")
        run(connection)
        connection.exec_driver_sql("INSERT INTO version VALUES (1)")
    assert db.execute("SELECT n, try_lock_keys('{a}') FROM version").fetchone() == (1, True)


def test_nothing_in_it_looks_like_a_parameter():
    assert "%" not in FILE
    assert re.findall(r"(?<![:\w]):\w", FILE) == []
    assert FILE.isascii()


# Over what was there before.

def uninstalling():
    """The statements that the head of the file says."""
    return re.sub(r"^-- +", "", re.search(r"^-- Uninstall.*\n((--   .*\n)+)", FILE, re.M).group(1), flags=re.M)


CATALOG = """
    SELECT 'function', oid::regprocedure::text, pg_get_functiondef(oid), obj_description(oid, 'pg_proc'), proacl::text
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prokind = 'f'
    UNION ALL
    SELECT 'view', relname, pg_get_viewdef(oid), obj_description(oid, 'pg_class'), relacl::text
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'v'
    UNION ALL
    SELECT 'column', attname, format_type(atttypid, atttypmod), col_description(attrelid, attnum), attacl::text
    FROM pg_attribute WHERE attrelid = 'public.advisory_locks'::regclass
    ORDER BY 1, 2
"""


def catalog(db):
    return db.execute(CATALOG).fetchall()


@pytest.fixture
def old():
    """A database with 0.1.0."""
    with scratch_database("old", install=lambda db: db.execute(OF_0_1_0.read_text(encoding="utf-8"))) as name:
        yield name


def test_the_upgrade_from_0_1_0_leaves_what_a_new_installation_leaves(connect, old):
    db = connect(dbname=old)
    before = catalog(db)
    db.execute("CREATE TABLE uses_key (id int, key bigint GENERATED ALWAYS AS (advisory_key(ARRAY['acct', id::text])) STORED)")
    db.execute("CREATE INDEX ON uses_key (advisory_key(ARRAY['acct', id::text]))")
    db.execute("INSERT INTO uses_key VALUES (1)")
    install_portable(db)
    with scratch_database("new") as new:
        assert catalog(db) == catalog(connect(dbname=new))
    assert catalog(db) != before
    assert db.execute("SELECT key FROM uses_key").fetchone() == (name_key("acct", "1"),)
    db.execute("DROP TABLE uses_key")
    db.execute(uninstalling())
    assert db.execute(OURS).fetchone() == (0,)


@pytest.fixture(params=[*RELEASED, "this version"])
def installed(request):
    """A database with a released version, or with this one."""
    file = RELEASED.get(request.param, PORTABLE_SQL)
    with scratch_database("installed", install=lambda db: db.execute(file.read_text(encoding="utf-8"))) as name:
        yield name


def test_locks_stay_held_through_the_upgrade(connect, installed):
    holder, in_block, waiter, db = (connect(dbname=installed) for _ in range(4))
    holder.execute("SELECT lock_keys('{a}', session => true), lock_keys('{a}', session => true), try_lock_keys('{{b},{c}}', timeout => '1s', session => true)")
    in_block.execute("BEGIN")
    in_block.execute("SELECT lock_keys('{d}'), lock_keys('{{e},{f}}', shared => true)")
    held = [held_keys(db, pid_of(session)) for session in (holder, in_block)]
    waiting = Background(waiter, "SELECT lock_keys('{{a},{d}}', session => true)")
    wait_until_waiting(db, pid_of(waiter))
    install_portable(db)
    assert [held_keys(db, pid_of(session)) for session in (holder, in_block)] == held
    assert in_block.execute("SELECT holds_keys('{d}'), try_lock_keys('{g}')").fetchone() == (True, True)
    assert db.execute("SELECT keys_available('{d}'), keys_available('{g}')").fetchone() == (False, False)
    in_block.execute("COMMIT")
    assert holder.execute("SELECT unlock_keys('{{b},{c}}'), release_keys('{a}')").fetchone() == (True, 2)
    waiting.result()
    assert waiter.execute("SELECT release_keys('{{a},{d}}')").fetchone() == (2,)


def test_a_prepared_transaction_holds_its_locks_through_the_upgrade(connect, installed):
    preparing, db = connect(dbname=installed), connect(dbname=installed)
    if db.execute("SHOW max_prepared_transactions").fetchone() == ("0",):
        pytest.skip("the server has max_prepared_transactions = 0")
    preparing.execute("BEGIN")
    preparing.execute("SELECT lock_keys('{p}')")
    preparing.execute(f"PREPARE TRANSACTION '{installed}'")
    install_portable(db)
    assert db.execute("SELECT try_lock_keys('{p}')").fetchone() == (False,)
    db.execute(f"COMMIT PREPARED '{installed}'")
    assert db.execute("SELECT try_lock_keys('{p}')").fetchone() == (True,)


def test_what_uses_it_goes_on_through_the_upgrade(connect, installed):
    db, other = connect(dbname=installed), connect(dbname=installed)
    create_application(db)
    check_application(db, other)
    install_portable(db)
    check_application(db, other)


# What it relies on.

def test_postgres_merges_cores_functions_into_the_statements_that_note_what_they_did(connect, database):
    """Called by themselves, they would serve a cancel between the lock and the note of it. Merged, they are not counted."""
    holder, db = connect(), connect(autocommit=False)
    holder.execute("SELECT lock_keys('{b}', session => true)")
    db.execute("SET track_functions = 'all'")
    db.execute("SELECT try_lock_keys('{a}', session => true), try_lock_keys('{{a},{b},{c}}', timeout => '10ms', session => true)")
    db.execute("SELECT unlock_keys('{a}'), try_lock_keys('{a}'), release_keys('{a}')")
    called = {name for name, in db.execute("SELECT proname FROM pg_proc WHERE pg_stat_get_xact_function_calls(oid) > 0")}
    assert {"_advisory_keys_lock", "_advisory_keys_is_held"} <= called
    assert not called & {"_advisory_keys_try", "_advisory_keys_wait", "_advisory_keys_unlock"}
