"""Connections to the server under test, found by PGHOST, PGPORT and PGUSER (a superuser)."""

import uuid

import psycopg
import pytest

from scene import install


@pytest.fixture(scope="session")
def database():
    """A database with the extension, for this run only."""
    name = f"live_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(dbname="postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        with psycopg.connect(dbname=name, autocommit=True) as db:
            install(db)
        yield name
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def connect(database):
    """A factory of connections, all closed when the test ends."""
    opened = []

    def connect(autocommit=True, dbname=None, **options):
        connection = psycopg.connect(dbname=dbname or database, autocommit=autocommit, **options)
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        connection.close()
