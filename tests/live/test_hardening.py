"""The SQL of docs/hardening.md, run as it stands there, by and for real roles."""

import pathlib
import re

import psycopg
import pytest

from scene import PORTABLE, connections, install_portable, native_only, roles, scratch_database

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "hardening.md").read_text(encoding="utf-8")
OURS, VIEWS, CORES, BOUNDS, POOLED = re.findall(r"```sql\n(.+?)```", PAGE, re.DOTALL)

LOCK = "SELECT locks.lock_keys('{a}', timeout => '1s')"

EXECUTABLE = """
    SELECT oid::regprocedure::text FROM pg_proc
    WHERE pronamespace = %s::regnamespace AND proname ~ %s AND has_function_privilege(%s, oid, 'EXECUTE')"""


@pytest.fixture
def sessions(connect):
    """A database with the edition in its schema `locks`: connections of a superuser, of the roles `app` and `monitor` of the page's, and of a guest."""
    def install(db):
        db.execute("CREATE SCHEMA locks; GRANT USAGE ON SCHEMA locks TO PUBLIC")
        if PORTABLE:
            db.execute("SET search_path = locks")
            install_portable(db)
        else:
            db.execute("CREATE EXTENSION advisory_keys SCHEMA locks")

    with roles(connect(), app="LOGIN", monitor="LOGIN", guest="LOGIN") as names, \
            scratch_database("security", install=install) as database:
        yield {"superuser": connect(dbname=database), **{role: connect(dbname=database, user=name) for role, name in names.items()}}


def executable(sessions, role, schema, pattern):
    user = sessions[role].info.user
    return {name for name, in sessions["superuser"].execute(EXECUTABLE, [schema, pattern, user])}


def run(sessions, sql):
    for role in ("app", "monitor"):
        sql = re.sub(rf"\b(TO|ROLE) {role}\b", rf"\1 {sessions[role].info.user}", sql)
    sessions["superuser"].execute(sql)


@native_only("of the portable edition no extension says what belongs to it")
def test_ours_are_for_the_application_alone(sessions):
    all_of_them = executable(sessions, "guest", "locks", "")
    assert len(all_of_them) >= 9
    run(sessions, OURS)
    assert executable(sessions, "guest", "locks", "") == set()
    assert executable(sessions, "app", "locks", "") == all_of_them
    sessions["app"].execute(LOCK)
    for refused in (LOCK, "TABLE locks.advisory_locks"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            sessions["guest"].execute(refused)
    sessions["app"].execute("TABLE locks.advisory_locks")
    # Who monitors, only looks.
    run(sessions, "SET search_path = locks; " + VIEWS)
    for view in ("locks.advisory_locks", "locks.advisory_lock_stats"):
        sessions["monitor"].execute(f"TABLE {view}")
    sessions["monitor"].execute("SELECT locks.advisory_lock_stats_evictions()")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        sessions["monitor"].execute(LOCK)
    # Core's are everybody's all the same, as the page says.
    sessions["guest"].execute("SELECT pg_try_advisory_xact_lock(1)")


@native_only("the portable edition calls core's functions as its caller")
def test_with_cores_too_only_the_application_locks(sessions):
    run(sessions, OURS)
    run(sessions, CORES)
    # Whatever core has that takes an advisory lock, of this major.
    assert executable(sessions, "guest", "pg_catalog", "advisory.*lock") == {
        "pg_advisory_unlock(bigint)", "pg_advisory_unlock(integer,integer)", "pg_advisory_unlock_shared(bigint)",
        "pg_advisory_unlock_shared(integer,integer)", "pg_advisory_unlock_all()"}
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        sessions["guest"].execute("SELECT pg_advisory_lock(1)")
    sessions["app"].execute(LOCK)
    sessions["app"].execute("DISCARD ALL")


@pytest.mark.skipif(not PORTABLE, reason="the native edition calls none of core's functions")
def test_the_portable_edition_needs_what_core_grants(sessions):
    schema = re.search(r"`(REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA .+?)`", PAGE)[1]
    run(sessions, schema)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        sessions["guest"].execute(LOCK)
    run(sessions, "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA locks TO app")
    sessions["app"].execute(LOCK)
    run(sessions, CORES)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        sessions["app"].execute(LOCK)
    run(sessions, CORES.replace("REVOKE", "GRANT").replace("FROM PUBLIC", "TO app"))
    sessions["app"].execute(LOCK)


def test_a_role_is_bounded(connect, sessions):
    run(sessions, BOUNDS)
    user, database = sessions["app"].info.user, sessions["app"].info.dbname
    holder, bounded = sessions["superuser"], connect(dbname=database, user=user)
    names = "SELECT locks.lock_keys(array_agg(ARRAY['row', i::text])) FROM generate_series(1, %s) AS i"
    bounded.execute("BEGIN")
    bounded.execute(names, [100])
    if not PORTABLE:
        with pytest.raises(psycopg.errors.ProgramLimitExceeded):
            bounded.execute("SELECT locks.lock_keys('{one,more}')")
    bounded.execute("ROLLBACK")

    holder.execute("SELECT locks.lock_keys('{a}', session => true)")
    bounded.execute("SET lock_timeout = '10ms'")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        bounded.execute("SELECT locks.lock_keys('{a}')")
    bounded.execute("SET idle_in_transaction_session_timeout = '10ms'; BEGIN; SELECT locks.lock_keys('{b}')")
    assert holder.execute("SELECT locks.try_lock_keys('{b}', timeout => '10s')").fetchone() == (True,)

    with connections(lambda: connect(dbname=database, user=user)) as another, pytest.raises(psycopg.OperationalError, match="too many connections"):
        for _ in range(21):
            another()


def test_a_pooled_role_locks_in_transactions_only(sessions):
    run(sessions, CORES)
    run(sessions, POOLED)
    sessions["app"].execute("SELECT pg_advisory_xact_lock(1), pg_try_advisory_xact_lock_shared(1)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        sessions["app"].execute("SELECT pg_advisory_lock(1)")


def test_no_function_runs_with_anothers_privileges(sessions):
    definers = sessions["superuser"].execute("SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'locks'::regnamespace AND prosecdef")
    assert definers.fetchall() == []
