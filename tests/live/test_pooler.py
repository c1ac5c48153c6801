"""A real pgbouncer in transaction mode: what holds through it and what cannot."""

import uuid

import psycopg
import pytest

from load import run_all
from pooler import Pooler
from scene import PORTABLE, unique


@pytest.fixture
def pooler(database):
    """A factory of poolers, all ended with the test."""
    started = []

    def pooler(pool_size, **options):
        started.append(Pooler(database, pool_size, **options))
        return started[-1]

    yield pooler
    for one in started:
        one.end()


@pytest.mark.parametrize("pool_size", [1, 2, 8, 30])
def test_transaction_level_locks_exclude_each_other_under_load(pooler, connect, pool_size):
    """A counter that only the lock protects: no increment is lost."""
    clients, rounds = 16, 25
    table = f"counter_{uuid.uuid4().hex[:8]}"
    db = connect()
    db.execute(f"CREATE TABLE {table} AS SELECT 0 AS n")
    bouncer = pooler(pool_size)

    def work():
        client = bouncer.connect()
        for _ in range(rounds):
            with client.transaction():
                client.execute("SELECT lock_keys(%s, timeout => '60s')", [["pooler", table]])
                n = client.execute(f"SELECT n FROM {table}").fetchone()[0]
                client.execute(f"UPDATE {table} SET n = %s", [n + 1])
        client.close()

    run_all([work] * clients, patience=120)
    assert db.execute(f"SELECT n FROM {table}").fetchone() == (clients * rounds,)


def test_session_level_locks_fail_through_it(pooler):
    """Two clients share a server connection: both are told that they hold the lock, and either can
    release it. This is what the documentation warns of."""
    bouncer = pooler(1)
    first, second = bouncer.connect(), bouncer.connect()
    name = unique("pooler")
    lock = "SELECT try_lock_keys(%s, session => true)"
    assert first.execute(lock, [name]).fetchone() == (True,)
    assert second.execute(lock, [name]).fetchone() == (True,)
    for client in (second, second):
        assert client.execute("SELECT unlock_keys(%s)", [name]).fetchone() == (True,)
    assert first.execute("SELECT holds_keys(%s)", [name]).fetchone() == (False,)


def test_a_session_level_claim_belongs_to_the_server_connection(pooler, connect):
    """Neither the next client on it nor anybody else is given the name; at transaction level it is free again."""
    bouncer, outside = pooler(1), connect()
    first, second = bouncer.connect(), bouncer.connect()
    names = [unique("pooler")]
    claim = "SELECT claim_keys(%s, session => {})"
    assert first.execute(claim.format(False), [names]).fetchone() == ([1],)
    assert first.execute(claim.format(True), [names]).fetchone() == ([1],)
    first.close()
    for client in (second, outside):
        assert client.execute(claim.format(True), [names]).fetchone() == ([],)
    assert outside.execute("SELECT unlock_keys(%s)", [names]).fetchone() == (False,)


def test_a_role_can_be_kept_from_session_level_locks(pooler, connect):
    role, db = f"regress_ak_{uuid.uuid4().hex[:8]}", connect()
    db.execute(f"CREATE ROLE {role} LOGIN")
    db.execute(f"ALTER ROLE {role} SET advisory_keys.session_locks = off")
    client = pooler(2, user=role).connect()
    name = ["pooler", role]
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refused:
        client.execute("SELECT lock_keys(%s, session => true)", [name])
    assert "pooler" in refused.value.diag.message_hint
    assert client.execute("SELECT try_lock_keys(%s)", [name]).fetchone() == (True,)
    if not PORTABLE:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            client.execute("SET advisory_keys.session_locks = on")


def test_a_timed_wait_through_it_ends_in_time(pooler, connect):
    holder, client, name = connect(), pooler(2).connect(), unique("pooler")
    holder.execute("SELECT lock_keys(%s, session => true)", [name])
    assert client.execute("SELECT try_lock_keys(%s, timeout => '50ms')", [name]).fetchone() == (False,)
    # What the wait was bounded by does not stay with the server connection.
    assert client.execute("SHOW lock_timeout").fetchone() == ("0",)
