"""The SQL of docs/limits.md, taken from that page, and what it says about it."""

import pathlib
import re

import psycopg
import pytest

from scene import Background, connections, pid_of, scratch_database, wait_until_waiting

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "limits.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"### (.+?)\n.*?```sql\n(.+?)```", PAGE, re.DOTALL))
FUNCTION = re.search(r"```sql\n(CREATE FUNCTION may_export.+?)```", PAGE, re.DOTALL)[1]


@pytest.fixture
def session():
    """A factory of sessions, in a database of their own."""
    with scratch_database("limits") as name, connections(lambda: psycopg.connect(dbname=name, autocommit=True)) as connect:
        yield connect


def one(db, query, *arguments):
    return db.execute(query, arguments).fetchone()[0]


def hold(session, name, times):
    """So many sessions that hold a place of the name each."""
    holders = [session() for _ in range(times)]
    for db in holders:
        db.execute("BEGIN")
        assert one(db, "SELECT try_lock_slot(%s, %s)", name, times)
    return holders


def test_every_block_runs(session):
    blocks = re.findall(r"```sql\n(.+?)```", PAGE, re.DOTALL)
    assert len(blocks) >= 7
    db = session()
    for block in blocks:
        db.execute(block)


def test_the_fourth_is_refused_and_told_who_holds(session):
    holders = hold(session, ["export", "customer-7"], 3)
    db = session()
    at_once, in_time, or_error, _ = BLOCKS["Wait for a slot, or do something else"].strip().splitlines()
    assert one(db, at_once) is False
    assert one(db, in_time.replace("2s", "50ms")) is False
    with pytest.raises(psycopg.errors.LockNotAvailable) as refused:
        db.execute(or_error.replace("2s", "50ms"))
    assert any(str(pid_of(holder)) in refused.value.diag.message_detail for holder in holders)
    holders[0].execute("COMMIT")
    assert one(db, at_once) is True


def test_a_customer_out_of_places_leaves_those_of_all(session):
    hold(session, ["export", "customer-7"], 3)
    db = session()
    db.execute(FUNCTION)
    db.execute("BEGIN")
    db.execute("SAVEPOINT before_customer")
    assert one(db, "SELECT may_export('customer-7')") is False
    assert one(db, "SELECT slots_held(ARRAY['export'])") == 1
    db.execute("ROLLBACK TO before_customer")
    assert one(db, "SELECT slots_held(ARRAY['export'])") == 0
    assert one(db, "SELECT may_export('customer-8')") is True
    db.execute("COMMIT")


def test_a_premium_customer_gets_more(session):
    hold(session, ["export", "customer-8"], 3)
    db = session()
    assert one(db, "SELECT try_lock_slot(ARRAY['export', 'customer-8'], 3)") is False
    assert one(db, "SELECT try_lock_slot(ARRAY['export', 'customer-8'], 10)") is True


def test_maintenance_waits_for_all_and_lets_nobody_in(session):
    holders = hold(session, ["export"], 3)
    janitor, late, observer = session(), session(), session()
    janitor.execute("BEGIN")
    drained = Background(janitor, "SELECT lock_keys(ARRAY['export'], timeout => '1min')")
    wait_until_waiting(observer, pid_of(janitor))
    assert one(late, "SELECT try_lock_slot(ARRAY['export'], 20)") is False
    for holder in holders:
        holder.execute("COMMIT")
    drained.result()
    assert one(late, "SELECT slots_held(ARRAY['export'])") == 0
    janitor.execute("COMMIT")
    assert one(late, "SELECT try_lock_slot(ARRAY['export'], 20)") is True
