"""Connections to the server under test, found by PGHOST, PGPORT and PGUSER (a superuser)."""

import psycopg
import pytest

from scene import connections, scratch_database


@pytest.fixture(scope="session")
def database():
    """A database with the extension, for this run only."""
    with scratch_database("main") as name:
        yield name


@pytest.fixture
def connect(database):
    """A factory of connections, all closed when the test ends."""
    def open_one(autocommit=True, dbname=None, **options):
        return psycopg.connect(dbname=dbname or database, autocommit=autocommit, **options)

    with connections(open_one) as connect:
        yield connect
