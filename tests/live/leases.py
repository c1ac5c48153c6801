"""What the tests of leases share: the add-on advisory_leases, its functions as calls, and names that no other test has."""

import pathlib

import psycopg
import pytest

from scene import PATIENCE, PORTABLE, connections, install, scratch_database, unique, wait_until

(LEASES_SQL,) = (pathlib.Path(__file__).parents[2] / "leases").glob("advisory_leases--*.sql")


def install_by_script(db):
    """As psql -1 -f does it."""
    with db.transaction():
        db.execute(LEASES_SQL.read_text(encoding="utf-8"))


def install_leases(db):
    """Beside the native edition the extension, beside the portable one the script."""
    if PORTABLE:
        install_by_script(db)
    else:
        db.execute("CREATE EXTENSION advisory_leases")


def install_both(db):
    install(db)
    install_leases(db)


@pytest.fixture(scope="module")
def database():
    """A database with the edition that is tested and with leases, for the tests of one module."""
    with scratch_database("leases", install=install_both) as name:
        yield name


@pytest.fixture
def connect(database):
    """A factory of connections to it, all closed when the test ends. Nothing waits for long, so that what never ends is an error."""
    def open_one(autocommit=True, dbname=None, **options):
        return psycopg.connect(dbname=dbname or database, autocommit=autocommit, options=f"-c statement_timeout={PATIENCE}s", **options)

    with connections(open_one) as connect:
        yield connect


@pytest.fixture
def name():
    return unique("lease")


def call(db, function, *arguments):
    places = ", ".join(["%s"] * len(arguments))
    return db.execute(f"SELECT advisory_leases.{function}({places})", arguments).fetchone()[0]


def take(db, name, ttl="1 hour", holder=None):
    return call(db, "try_lease_key", name, ttl, holder)


def renew(db, name, token, ttl="1 hour"):
    return call(db, "renew_lease_key", name, token, ttl)


def release(db, name, token):
    return call(db, "release_lease_key", name, token)


def holds(db, name, token):
    return call(db, "holds_lease_key", name, token)


def fence(db, name, token):
    call(db, "fence_lease_key", name, token)


CALLS = [renew, release, holds, fence]
"""What one does with a lease."""


def wait_until_expired(db, name, token):
    wait_until(lambda: not holds(db, name, token), "the lease expires")
