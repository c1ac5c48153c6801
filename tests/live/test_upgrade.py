"""From every released version there is a way to this one, and its library serves installations of all of them."""

import pathlib

import psycopg
import pytest

from scene import native_only, scratch_database

pytestmark = native_only("the portable edition is upgraded by installing it again")

SCRIPTS = pathlib.Path(__file__).parents[2] / "sql"
RELEASED = sorted(line.split("--")[1].removesuffix(".sql") for line in (SCRIPTS / "released.sha256").read_text().splitlines() if line.count("--") == 1)

CATALOG = """
    SELECT pg_describe_object(classid, objid, objsubid), content FROM pg_depend
    CROSS JOIN LATERAL (
        SELECT pg_get_functiondef(objid) || coalesce((SELECT proacl::text FROM pg_proc WHERE oid = objid), '')
            || coalesce(obj_description(objid, 'pg_proc'), 'no comment')
            WHERE classid = 'pg_proc'::regclass
        UNION ALL
        SELECT pg_get_viewdef(objid) || (SELECT relacl::text FROM pg_class WHERE oid = objid)
            || obj_description(objid, 'pg_class')
            || (SELECT string_agg(concat(attname, attnum, ' ', col_description(objid, attnum)), ',' ORDER BY attnum)
                FROM pg_attribute WHERE attrelid = objid AND attnum > 0)
            WHERE classid = 'pg_class'::regclass
        UNION ALL
        SELECT '' WHERE classid NOT IN ('pg_proc'::regclass, 'pg_class'::regclass)
    ) AS s (content)
    WHERE refclassid = 'pg_extension'::regclass
        AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'advisory_keys') AND deptype = 'e'
    ORDER BY 1"""


@pytest.fixture(scope="module", params=RELEASED)
def released(request):
    """The version, and a database in which it is installed."""
    version = request.param
    with scratch_database("upgrade", install=lambda db: db.execute(f"CREATE EXTENSION advisory_keys VERSION '{version}'")) as name:
        yield version, name


def connect_to(name):
    return psycopg.connect(dbname=name, autocommit=True)


def test_something_was_released():
    assert "0.1.0" in RELEASED


def test_the_functions_of_then_work_with_the_library_of_now(released):
    _, name = released
    with connect_to(name) as db, connect_to(name) as other:
        db.execute("SELECT lock_keys('{old,api}', session => true)")
        assert db.execute("SELECT holds_keys('{old,api}'), advisory_key('{order,42}')").fetchone() == (True, 4321398832972926703)
        assert other.execute("SELECT try_lock_keys('{old,api}'), keys_available('{old,api}')").fetchone() == (False, False)
        assert other.execute("SELECT count(*) FROM advisory_locks").fetchone() == (1,)
        assert db.execute("SELECT unlock_keys('{old,api}')").fetchone() == (True,)


def test_an_upgrade_makes_what_a_new_installation_makes_and_loses_no_lock(released, database):
    _, name = released
    with connect_to(database) as fresh, connect_to(name) as db, connect_to(name) as holder:
        holder.execute("SELECT lock_keys('{kept}', session => true)")
        holder.execute("BEGIN; SELECT lock_keys('{kept,too}')")
        db.execute("ALTER EXTENSION advisory_keys UPDATE")
        assert db.execute(CATALOG).fetchall() == fresh.execute(CATALOG).fetchall()
        version = "SELECT extversion FROM pg_extension WHERE extname = 'advisory_keys'"
        assert db.execute(version).fetchone() == fresh.execute(version).fetchone()
        assert db.execute("SELECT try_lock_keys('{kept}'), try_lock_keys('{kept,too}')").fetchone() == (False, False)
        holder.execute("COMMIT")
        assert holder.execute("SELECT release_keys('{kept}')").fetchone() == (1,)
