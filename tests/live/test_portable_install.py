"""Installing sql/portable.sql: by whom, among whom, at the same time as others, and into which schema."""

import psycopg
import pytest

from portable import OURS, STRANGE, empty, psql, refused, stranger, uninstalling  # noqa: F401, fixtures
from scene import PORTABLE, PORTABLE_SQL, install_portable, name_key

pytestmark = pytest.mark.skipif(not PORTABLE, reason="the extension is installed by Postgres")

INSTALL = ["ADVISORY-KEYS", "install"]
"""The name of the lock that installations take."""


# What is a stranger's.

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


# Into which schema.

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
