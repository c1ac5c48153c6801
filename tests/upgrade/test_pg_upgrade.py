"""pg_upgrade to a newer Postgres that has the present version, of a server on which a released version or the present one is in use."""

import pytest

from application import check_application, create_application
from description import description
from scene import connections


@pytest.fixture
def upgraded(installation, before, newer, start):
    """The newer server, after it."""
    installation.clear()
    installation.put(before)
    old, new = start(installation), start(newer, install=lambda db: None)
    with old.connect() as db, new.connect() as newer_db:
        create_application(db)
        make_readable(db, newer_db)
    old.stop("fast")
    new.stop("fast")
    new.upgrade_from(old)
    new.start()
    return new


def make_readable(old, new):
    """The minors of November 2026 note a version with each column, and pg_upgrade needs a newer Postgres that knows them: to another none
    gets by, with any table. Without them it does, as from an earlier minor."""
    knows = "SELECT EXISTS (SELECT FROM pg_proc WHERE proname = 'binary_upgrade_set_next_attribute_versions')"
    if old.execute(knows).fetchone()[0] and not new.execute(knows).fetchone()[0]:
        old.execute("SET allow_system_table_mods = on")
        old.execute("UPDATE pg_attribute SET attoptions = NULL WHERE attoptions::text LIKE '{pg_attver=%}' AND attrelid >= 16384")


def test_what_uses_it_goes_on_and_an_update_makes_what_a_new_installation_makes(upgraded):
    with connections(upgraded.connect) as connect:
        db, other = connect(), connect()
        check_application(db, other)
        db.execute("ALTER EXTENSION advisory_keys UPDATE")
        check_application(db, other)
        db.execute("CREATE DATABASE fresh TEMPLATE template0")
        fresh = connect(dbname="fresh")
        fresh.execute("CREATE EXTENSION advisory_keys")
        create_application(fresh)
        assert description(db, upgraded.bindir) == description(fresh, upgraded.bindir)
