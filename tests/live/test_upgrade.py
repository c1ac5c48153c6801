"""From every released version's SQL there is a way to the present one's, and the present library serves both. On a server that is in use, with
the library of then: tests/upgrade."""

import pathlib

import psycopg
import pytest

from description import description
from scene import native_only, scratch_database

pytestmark = native_only("the portable edition is upgraded by installing it again")

RELEASES = pathlib.Path(__file__).parents[2] / "sql" / "released.txt"
RELEASED = [line.split()[0] for line in RELEASES.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module", params=RELEASED)
def released(request):
    """A database in which this version is installed."""
    with scratch_database("upgrade", install=lambda db: db.execute(f"CREATE EXTENSION advisory_keys VERSION '{request.param}'")) as name:
        yield name


def connect_to(name):
    return psycopg.connect(dbname=name, autocommit=True)


def test_something_was_released():
    assert "0.1.0" in RELEASED


def test_the_functions_of_then_work_with_the_library_of_now(released):
    with connect_to(released) as db, connect_to(released) as other:
        db.execute("SELECT lock_keys('{old,api}', session => true)")
        assert db.execute("SELECT holds_keys('{old,api}'), advisory_key('{order,42}')").fetchone() == (True, 4321398832972926703)
        assert other.execute("SELECT try_lock_keys('{old,api}'), keys_available('{old,api}')").fetchone() == (False, False)
        assert other.execute("SELECT count(*) FROM advisory_locks").fetchone() == (1,)
        assert db.execute("SELECT unlock_keys('{old,api}')").fetchone() == (True,)


def test_an_upgrade_makes_what_a_new_installation_makes(released):
    with scratch_database("fresh") as fresh, connect_to(fresh) as new, connect_to(released) as db:
        db.execute("ALTER EXTENSION advisory_keys UPDATE")
        assert description(db) == description(new)
