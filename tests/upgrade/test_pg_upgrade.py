"""pg_upgrade to a newer Postgres that has the present version, of a server on which a released version or the present one is in use; or leases are."""

import pytest

from application import check_application, create_application
from description import description
from leases import holds, install_by_script, release, renew, take
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


@pytest.mark.parametrize("preloaded", [False], indirect=True, ids=["on demand"])
def test_leases_and_the_order_of_their_tokens_survive(installation, newer, start, request):
    """Of the extension, and of the script."""
    installation.clear()
    installation.put(request.config.getoption("present"))
    old, new = start(installation), start(newer, install=lambda db: None)
    ways = {"extension": lambda db: db.execute("CREATE EXTENSION advisory_leases"), "script": install_by_script}
    held, short = ["held"], ["short"]
    tokens = {}
    with old.connect() as admin, new.connect() as newer_db:
        admin.execute("CREATE ROLE app LOGIN")
        for way, install in ways.items():
            admin.execute(f"CREATE DATABASE {way}")
            with old.connect(dbname=way) as db, old.connect(dbname=way, user="app") as app:
                install(db)
                tokens[way] = take(app, held), take(app, short, "1 ms")
                # As after some failovers; the new server begins with timeline 1 again.
                db.execute("INSERT INTO advisory_leases.epoch SELECT 7, 7, place FROM advisory_leases.epoch")
                make_readable(db, newer_db)
        make_readable(admin, newer_db)
    old.stop("fast")
    new.stop("fast")
    new.upgrade_from(old)
    new.start()
    for way in ways:
        with new.connect(dbname=way, user="app") as app:
            token, ended = tokens[way]
            assert take(app, held) is None and renew(app, held, token) and holds(app, held, token)
            assert take(app, short) > ended and take(app, ["new"]) >> 44 > 7
            assert release(app, held, token) and take(app, held) >> 44 > 7
