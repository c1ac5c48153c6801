"""What README.md, and the pages that grew out of it, show and say, run as it stands there."""

import pathlib
import re

import psycopg
import pytest

from programs import program
from scene import Background, native_only, pid_of, roles, scratch_database, unique, wait_until, wait_until_waiting
from server import Server

ROOT = pathlib.Path(__file__).parents[2]
BLOCKS = [
    block for page in ("README.md", "docs/install.md", "docs/tasks.md")
    for block in re.findall(r"```sql\n(.+?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)]


def block_with(text):
    """The one block of SQL that has this text."""
    (block,) = (block for block in BLOCKS if text in block)
    return block


def statements(text):
    """The statements of a text with one in each line, each with the comment beside it."""
    lines = (line.partition("-- ") for line in text.splitlines())
    return [(statement.strip(), comment) for statement, _, comment in lines if statement.strip()]


def test_the_first_lines(connect):
    first, second = connect(), connect()
    _, one_session, other_session, commit = BLOCKS[0].split("\n\n")

    def run(session, part):
        for statement, comment in part:
            cursor = session.execute(statement)
            if comment:
                assert str(cursor.fetchone()[0]).lower() == re.match("true|false", comment)[0], statement

    run(first, statements(one_session))
    *at_once, (waits, comment) = statements(other_session)
    assert len(at_once) == 2 and comment == "waits in line: true, as soon as the first one commits; else false, after a minute"
    run(second, at_once)
    call = Background(second, waits)
    wait_until_waiting(first, pid_of(second))
    run(first, statements(commit))
    assert call.result() is True


# The trigger.

@pytest.fixture
def accounts(connect):
    """A database with the trigger of the page on its table; a connection to it."""
    with scratch_database("accounts") as database:
        db = connect(dbname=database)
        db.execute("CREATE TABLE account (id int PRIMARY KEY, email text)")
        db.execute(block_with("CREATE FUNCTION assert_account_locked"))
        db.execute("INSERT INTO account VALUES (1, 'a'), (2, 'b')")
        yield db


@pytest.mark.parametrize("search_path", ["public", ""])
@pytest.mark.parametrize("change", ["UPDATE public.account SET email = 'c'", "UPDATE public.account SET id = id + 10", "DELETE FROM public.account"])
def test_the_trigger_sees_the_lock_whatever_the_search_path(accounts, search_path, change):
    accounts.execute("SELECT set_config('search_path', %s, false)", [search_path])
    with accounts.transaction():
        accounts.execute("SELECT public.lock_keys('{account,1}')")
        assert accounts.execute(f"{change} WHERE id = 1").rowcount == 1
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="account 2 is changed without its lock"):
            with accounts.transaction():
                accounts.execute(f"{change} WHERE id = 2")


def test_the_trigger_and_pg_restore_of_data(accounts, tmp_path):
    dump = str(tmp_path / "dump")
    program("pg_dump", "-a", "-Fc", "-f", dump, accounts.info.dbname)
    accounts.execute("TRUNCATE account")
    program("pg_restore", "-a", "-d", accounts.info.dbname, dump)
    assert accounts.execute("SELECT count(*) FROM account").fetchone() == (2,)


def test_the_trigger_and_logical_replication():
    with Server(wal_level="logical") as server:
        with server.connect() as subscriber:
            subscriber.execute("CREATE TABLE account (id int PRIMARY KEY)")
            subscriber.execute(block_with("CREATE FUNCTION assert_account_locked"))
            subscriber.execute("CREATE DATABASE publisher")
            with server.connect(dbname="publisher") as publisher:
                publisher.execute("CREATE TABLE account (id int PRIMARY KEY)")
                publisher.execute("CREATE PUBLICATION accounts FOR TABLE account")
                # A server cannot make the slot while it waits for its own transaction to end.
                publisher.execute("SELECT pg_create_logical_replication_slot('accounts', 'pgoutput')")
                subscriber.execute(
                    f"CREATE SUBSCRIPTION accounts CONNECTION 'host={publisher.info.host} port={publisher.info.port}"
                    " user=postgres dbname=publisher' PUBLICATION accounts WITH (create_slot = false, copy_data = false)")

                publisher.execute("INSERT INTO account VALUES (1)")
                wait_until(lambda: subscriber.execute("SELECT id FROM account").fetchall() == [(1,)], "the first row")
                subscriber.execute("ALTER TABLE account ENABLE ALWAYS TRIGGER assert_locked")
                publisher.execute("DELETE FROM account")
                wait_until(lambda: "ERROR:" in server.log(), "an error of the worker")
                assert "ERROR:  account 1 is changed without its lock" in server.log()


# A leader at session level.

LEADER = ["worker", "importer"]
HEARTBEAT = re.search(r"## A leader\n.+?```sql\n(.+?)```", (ROOT / "docs" / "levels.md").read_text(encoding="utf-8"), re.DOTALL)[1]


def test_a_leader_asks_whether_it_still_leads(connect):
    leader, other = connect(), connect()
    lock, unlock, release = [statement for statement, _ in statements(block_with("-- many transactions later"))]
    heartbeat = HEARTBEAT
    leader.execute(lock)
    for _ in range(3):
        assert leader.execute(heartbeat).fetchone() == (True,)
    assert leader.execute(unlock).fetchone() == (True,)
    assert leader.execute(heartbeat).fetchone() == (False,)

    for _ in range(3):
        leader.execute(lock)
    assert leader.execute(release).fetchone() == (3,)
    assert leader.execute(heartbeat).fetchone() == (False,)

    leader.execute(lock)
    other.execute("SELECT pg_terminate_backend(%s, 10000)", [pid_of(leader)])
    assert connect().execute(heartbeat).fetchone() == (False,)


def test_an_idle_session_that_is_ended_leads_no_more(connect):
    leader, other = connect(), connect()
    leader.execute("SELECT lock_keys(%s, session => true)", [LEADER])
    leader.execute("SET idle_session_timeout = '50ms'")
    assert other.execute("SELECT try_lock_keys(%s, timeout => '10s')", [LEADER]).fetchone() == (True,)


# The reference and its limits.

def test_names_have_no_limit_of_length(connect):
    db, other = connect(autocommit=False), connect(autocommit=False)
    name = "array[repeat('x', 10000000) || %s]"
    assert db.execute(f"SELECT try_lock_keys({name})", ["a"]).fetchone() == (True,)
    assert other.execute(f"SELECT try_lock_keys({name}), try_lock_keys({name})", ["a", "b"]).fetchone() == (False, True)


def test_a_writer_who_waits_is_not_overtaken_by_those_who_share(connect):
    reader, writer, third, name = connect(autocommit=False), connect(), connect(autocommit=False), unique()
    reader.execute("SELECT lock_keys(%s, shared => true)", [name])
    ask = "SELECT keys_available(%(name)s, shared => true), try_lock_keys(%(name)s, shared => true)"
    assert third.execute(ask, {"name": name}).fetchone() == (True, True)
    third.rollback()

    call = Background(writer, "SELECT try_lock_keys(%s, timeout => '1h')", [name])
    wait_until_waiting(third, pid_of(writer))
    assert third.execute(ask, {"name": name}).fetchone() == (True, False)
    reader.rollback()
    assert call.result() is True


def test_nobody_notices_who_waits_for_himself_through_dblink(connect):
    db = connect()
    if not db.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'dblink'").fetchone():
        pytest.skip("this Postgres has no dblink")
    with scratch_database("dblink") as database:
        db = connect(dbname=database)
        db.execute("CREATE EXTENSION dblink")
        with db.transaction():
            db.execute("SET LOCAL deadlock_timeout = '10ms'")
            db.execute("SELECT lock_keys('{self}')")
            again = db.execute(
                "SELECT locked FROM dblink(%s, $$SELECT try_lock_keys('{self}', timeout => '300ms')$$) AS t (locked boolean)",
                [f"host={db.info.host} port={db.info.port} dbname={database} options='-c deadlock_timeout=10ms'"])
            assert again.fetchone() == (False,)


# Who may use it.

@pytest.fixture
def sessions(connect):
    """The owner of a new database, a role `app` of the page's, and a guest: connections to it as each of them
    and as a superuser."""
    with roles(connect(), owner="LOGIN", app="LOGIN", guest="LOGIN") as names, \
            scratch_database("roles", f"OWNER {names['owner']}", install=lambda db: None) as database:
        sessions = {role: connect(dbname=database, user=name) for role, name in names.items()}
        block = block_with("GRANT USAGE ON SCHEMA locks TO app").replace("TO app", f"TO {names['app']}")
        sessions["owner"].execute(block)
        yield {**sessions, "superuser": connect(dbname=database)}


TRY = "SELECT locks.try_lock_keys('{a}', session => true)"


@native_only("the portable edition belongs to whoever installed it")
def test_a_schema_says_who_may_use_it(sessions):
    assert sessions["app"].execute(TRY).fetchone() == (True,)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        sessions["guest"].execute(TRY)
    key = sessions["app"].execute("SELECT locks.advisory_key('{a}')").fetchone()
    assert sessions["guest"].execute("SELECT pg_try_advisory_lock(%s)", key).fetchone() == (False,)


@native_only("the portable edition belongs to whoever installed it")
def test_the_owner_may_drop_it_but_not_revoke_or_move_it(sessions):
    revoke = "REVOKE EXECUTE ON FUNCTION locks.try_lock_keys FROM PUBLIC"
    move = "CREATE SCHEMA elsewhere; ALTER EXTENSION advisory_keys SET SCHEMA elsewhere"
    sessions["owner"].execute(revoke)
    assert sessions["app"].execute(TRY).fetchone() == (True,)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        sessions["owner"].execute(move)

    sessions["superuser"].execute(revoke)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        sessions["app"].execute(TRY)
    sessions["superuser"].execute(move)
    sessions["owner"].execute("DROP EXTENSION advisory_keys")


# The settings.

@native_only("there the settings are anybody's")
@pytest.mark.parametrize("preload, kept", [
    ({}, False), ({"session_preload_libraries": "advisory_keys"}, False), ({"shared_preload_libraries": "advisory_keys"}, True),
])
def test_what_keeps_a_client_from_getting_round_a_setting(preload, kept):
    with Server(**preload) as server:
        with server.connect() as db:
            db.execute("CREATE ROLE app LOGIN; ALTER ROLE app SET advisory_keys.session_locks = off")
        lock, client = "SELECT lock_keys('{a}', session => true)", {"options": "-c advisory_keys.session_locks=on", "user": "app"}
        with server.connect(user="app") as db, pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            db.execute(lock)
        if kept:
            with pytest.raises(psycopg.OperationalError, match="permission denied to set parameter"):
                server.connect(**client)
        else:
            with server.connect(**client) as db:
                db.execute(lock)
