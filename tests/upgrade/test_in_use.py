"""The present version takes the place of a released one on a server that is in use: first its files, then its SQL."""

import pathlib
import re

import psycopg
import pytest

from application import check_application, create_application
from description import description
from installation import has_the_old_library
from locks import Locks
from scene import connections, name_key

UPDATE = "ALTER EXTENSION advisory_keys UPDATE"

PROJECT = pathlib.Path(__file__).parents[2]
PRESENT = re.search(r"^default_version = '(.+)'$", (PROJECT / "advisory_keys.control").read_text(encoding="utf-8"), re.MULTILINE)[1]

PRIVILEGES = """
    REVOKE EXECUTE ON ROUTINE lock_keys FROM PUBLIC;
    GRANT EXECUTE ON ROUTINE lock_keys TO app;
    REVOKE SELECT ON advisory_locks FROM PUBLIC;
"""


@pytest.fixture
def locks(server, connect):
    with connect() as db:
        db.execute("CREATE ROLE app")
        db.execute("CREATE DATABASE fresh")
    return Locks(connect)


@pytest.fixture
def replace_files(server, connect, preloaded, put_present, locks):
    """Does to the server what the README says: the files, then new sessions, or a new start if the library is preloaded."""
    def replace():
        put_present()
        if preloaded:
            server.stop("fast")
            server.start()
            locks.after_restart(connect)

    return replace


def symbols(version):
    """The functions of the library that the SQL of a version calls."""
    script = PROJECT / "sql" / f"advisory_keys--{version}.sql"
    return set(re.findall(r"'(\w+_wrapper)'", script.read_text(encoding="utf-8")))


def version(db):
    return db.execute("SELECT extversion FROM pg_extension WHERE extname = 'advisory_keys'").fetchone()[0]


def settings(db):
    db.execute("SELECT advisory_key('{a}')")
    return set(db.execute("SELECT name, vartype, context FROM pg_settings WHERE name LIKE 'advisory_keys.%'"))


def use_the_old_sql(db, locks, view=True):
    """Every function that the first version has, while others hold locks; and its view, if that can be seen."""
    db.execute("SELECT lock_keys('{a,1}', session => true), lock_keys('{{b,1},{b,2}}', shared => true, session => true)")
    assert db.execute("SELECT holds_keys('{a,1}'), holds_keys('{{b,1},{b,2}}', shared => true)").fetchone() == (True, True)
    for name in locks.held:
        held = db is locks.session and name == "session"
        assert db.execute("SELECT try_lock_keys(%s), keys_available(%s), holds_keys(%s)", [[name]] * 3).fetchone() == (held,) * 3
    assert db.execute("SELECT advisory_key('{a,1}')").fetchone() == (name_key("a", "1"),)
    seen = "SELECT count(*) FILTER (WHERE granted), count(*) FILTER (WHERE NOT granted) FROM advisory_locks"
    others = len(locks.held)
    assert not view or db.execute(seen).fetchone() == (others + 3, others)
    assert db.execute("SELECT unlock_keys('{a,1}'), unlock_keys('{{b,1},{b,2}}', shared => true)").fetchone() == (True, True)
    if view:
        assert db.execute(seen).fetchone() == (others, others)
    else:
        with pytest.raises(psycopg.errors.UndefinedFunction, match="could not find function"):
            db.execute(seen)


def test_locks_stay_held_while_files_and_sql_are_replaced(server, connect, preloaded, released, locks, replace_files):
    was = settings(locks.session)
    replace_files()
    new, fresh = connect(), connect(dbname="fresh")
    use_the_old_sql(new, locks)
    assert not has_the_old_library(new)
    assert settings(new) >= was
    if not preloaded:
        use_the_old_sql(locks.session, locks)
        assert has_the_old_library(locks.session)

    new.execute(PRIVILEGES)
    assert version(new) == released[0]
    new.execute(UPDATE)
    fresh.execute("CREATE EXTENSION advisory_keys;" + PRIVILEGES)
    assert description(new, server.bindir) == description(fresh, server.bindir)
    use_the_old_sql(new, locks)
    assert new.execute("SELECT release_keys('{a,1}')").fetchone() == (0,)
    if not preloaded:
        if "release_keys_wrapper" not in symbols(released[0]):
            with pytest.raises(psycopg.errors.UndefinedFunction, match="could not find function"):
                locks.session.execute("SELECT release_keys('{a,1}')")
        use_the_old_sql(locks.session, locks, view="advisory_lock_entries_wrapper" in symbols(released[0]))
    locks.check(new)
    locks.end(new)


@pytest.mark.parametrize("preloaded", [True], indirect=True, ids=["preloaded"])
def test_before_the_restart_a_preloaded_library_goes_on_and_an_update_that_brings_functions_is_refused(
    connect, released, locks, put_present
):
    put_present()
    new = connect()
    use_the_old_sql(new, locks)
    assert has_the_old_library(new)
    if symbols(PRESENT) - symbols(released[0]):
        with pytest.raises(psycopg.errors.UndefinedFunction, match="could not find function"):
            new.execute(UPDATE)
        assert version(new) == released[0]
    else:
        new.execute(UPDATE)
    use_the_old_sql(new, locks)
    locks.check(new)
    locks.end(new)


@pytest.mark.parametrize("updated", [False, True], ids=["old SQL", "updated"])
def test_dropped_while_locks_are_held(connect, updated, locks, replace_files):
    replace_files()
    db = connect()
    create_application(db)
    if updated:
        db.execute(UPDATE)
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        db.execute("DROP EXTENSION advisory_keys")
    with connections(connect) as sessions:
        check_application(sessions(), sessions())
    db.execute("DROP EXTENSION advisory_keys CASCADE")
    locks.check(db)
    locks.end(db)
    db.execute("CREATE EXTENSION advisory_keys")
    # Who waited for it has it.
    assert db.execute("SELECT try_lock_keys('{prepared}'), try_lock_keys('{a}')").fetchone() == (False, True)


INSTALLATION_OF_AN_OWNER = "CREATE SCHEMA locks; CREATE EXTENSION advisory_keys SCHEMA locks"


def test_a_role_that_is_no_superuser_updates_and_drops_what_it_created(server, connect, released, locks, replace_files):
    with connect() as admin:
        admin.execute("CREATE ROLE stranger LOGIN; CREATE ROLE owner LOGIN; ALTER ROLE owner SET search_path = public, locks")
        admin.execute("CREATE DATABASE owned OWNER owner")
        admin.execute("ALTER DATABASE fresh OWNER TO owner")
    with connect(user="owner", dbname="owned") as db:
        db.execute(INSTALLATION_OF_AN_OWNER)
        assert version(db) == released[0]
        create_application(db)
    replace_files()
    stranger = connect(user="stranger", dbname="owned")
    for command in (UPDATE, "DROP EXTENSION advisory_keys CASCADE"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            stranger.execute(command)
    db, other, fresh = connect(user="owner", dbname="owned"), connect(user="owner", dbname="owned"), connect(user="owner", dbname="fresh")
    db.execute(UPDATE)
    fresh.execute(INSTALLATION_OF_AN_OWNER)
    create_application(fresh)
    check_application(db, other)
    assert description(db, server.bindir) == description(fresh, server.bindir)
    db.execute("DROP EXTENSION advisory_keys CASCADE")
    locks.end(connect())
