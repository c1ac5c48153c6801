"""Installing sql/portable.sql over an earlier version, or the same: what is there is kept, and so are locks."""

import pathlib

import pytest

from application import check_application, create_application
from portable import OURS, uninstalling
from scene import (
    PORTABLE, PORTABLE_SQL, Background, held_keys, install_portable, name_key, pid_of, scratch_database, wait_until_waiting,
)

pytestmark = pytest.mark.skipif(not PORTABLE, reason="the extension is installed by Postgres")

RELEASED = {
    file.stem.removeprefix("portable-"): file
    for file in (pathlib.Path(__file__).parents[1] / "portable" / "released").glob("portable-*.sql")
}


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
    with scratch_database("old", install=lambda db: db.execute(RELEASED["0.1.0"].read_text(encoding="utf-8"))) as name:
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
