"""Installing sql/portable.sql inside of other things: a transaction that is open, psql, drivers, and tools for migrations."""

import os
import re

import pytest
import sqlalchemy
from alembic.migration import MigrationContext
from alembic.operations import Operations

from portable import FILE, OURS, STRANGE, empty, psql, refused, stranger  # noqa: F401, fixtures
from scene import PORTABLE, PORTABLE_SQL, install_portable

pytestmark = pytest.mark.skipif(not PORTABLE, reason="the extension is installed by Postgres")


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
