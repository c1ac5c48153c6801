"""What the tests of installing sql/portable.sql share: databases and roles for it, objects that are in its way, and what of it is there."""

import re
import subprocess

import psycopg
import pytest

from scene import PORTABLE_SQL, install_portable, roles, scratch_database
from server import default_bindir

FILE = PORTABLE_SQL.read_text(encoding="utf-8")

OURS = """
    SELECT count(*) FROM (
        SELECT proname, pronamespace, proowner FROM pg_proc
        UNION ALL SELECT relname, relnamespace, relowner FROM pg_class WHERE relkind = 'v') AS object (name, namespace, owner)
    WHERE namespace = 'public'::regnamespace AND owner = current_user::regrole AND name ~ '_keys|advisory|slot'
"""
"""How much of it is in a database."""

STRANGE = {
    "a helper": "CREATE FUNCTION public._advisory_keys_lock(text[], interval, boolean, boolean) RETURNS bigint RETURN 1",
    "a helper of another signature": "CREATE FUNCTION public._advisory_keys_any(int) RETURNS int RETURN 1",
    "an overload": "CREATE FUNCTION public.lock_keys(text) RETURNS int RETURN 1",
    "an aggregate": "CREATE AGGREGATE public.holds_keys(int) (SFUNC = int4larger, STYPE = int)",
    "a view": "CREATE VIEW public.advisory_locks AS SELECT 1::bigint AS key",
    "a table": "CREATE TABLE public.advisory_locks (key bigint)",
    "a type": "CREATE DOMAIN public.advisory_locks AS int",
}
"""What a stranger may have made before."""


@pytest.fixture
def empty():
    """A database without any edition, in which a role that nobody trusts may create objects."""
    with scratch_database("empty", install=lambda db: db.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")) as name:
        yield name


@pytest.fixture
def stranger():
    with psycopg.connect(dbname="postgres", autocommit=True) as admin, roles(admin, stranger="") as names:
        yield names["stranger"]


def psql(dbname, *options):
    """A psql that has been started."""
    return subprocess.Popen([f"{default_bindir()}/psql", "-Xq", "-d", dbname, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def refused(db, sqlstate):
    with pytest.raises(psycopg.Error) as error:
        install_portable(db)
    assert error.value.sqlstate == sqlstate, error.value
    return error.value.diag


def uninstalling():
    """The statements that the head of the file says."""
    return re.sub(r"^-- +", "", re.search(r"^-- Uninstall.*\n((--   .*\n)+)", FILE, re.M).group(1), flags=re.M)
