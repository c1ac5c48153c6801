"""The SQL of docs/from-another-database.md, taken from that page."""

import pathlib
import re

import psycopg
import pytest

from scene import Background, pid_of, wait_until_waiting

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "from-another-database.md").read_text(encoding="utf-8")
ROWS = {there: statement for there, statement in re.findall(r"^\| `([^`|]+)`[^|]*\|[^|`]*`(SELECT [^|]+?)`", PAGE, re.MULTILINE)}
(GETAPPLOCK,) = re.findall(r"```sql\n(.+?)```", PAGE, re.DOTALL)
NAME = ["order", "42"]


def ask(db, statement, parameters=None):
    return db.execute(statement, parameters).fetchone()[0]


@pytest.fixture
def db(connect):
    return connect()


@pytest.fixture
def other(connect):
    return connect()


def test_all_rows_were_found():
    assert len(ROWS) == PAGE.count("| `SELECT ") + PAGE.count("COMMIT. `SELECT ") == 24


@pytest.mark.parametrize("there", ROWS)
def test_each_statement_is_one(db, there):
    with db.transaction(force_rollback=True):
        db.execute(ROWS[there])
    db.execute("SELECT pg_advisory_unlock_all()")


LOCKS = [there for there in ROWS if re.match(r"SELECT (try_)?lock_keys\(ARRAY\['", ROWS[there]) and "CONVERT" not in there]


@pytest.mark.parametrize("there", LOCKS)
def test_each_lock_has_the_mode_and_the_level(db, other, there):
    session = "GET_LOCK" in there or "'Session'" in there or "REQUEST" in there and "release_on_commit" not in there
    shared = "Shared" in there or "s_mode" in there
    with db.transaction():
        db.execute(ROWS[there])
        assert ask(db, "SELECT holds_keys(%s)", [NAME]) is not shared
        assert ask(db, "SELECT holds_keys(%s, shared => true)", [NAME])
    assert ask(db, "SELECT holds_keys(%s, shared => true)", [NAME]) is session
    db.execute("SELECT pg_advisory_unlock_all()")


def test_get_lock(db, other):
    assert ask(db, ROWS["GET_LOCK('order-42', 0)"]) and ask(db, ROWS["GET_LOCK('order-42', 0)"])
    assert not ask(other, ROWS["GET_LOCK('order-42', 0)"])
    assert not ask(other, ROWS["GET_LOCK('order-42', 10)"].replace("10 s", "0.05"))
    assert not ask(other, ROWS["IS_FREE_LOCK('order-42')"]) and ask(db, ROWS["IS_FREE_LOCK('order-42')"])
    assert ask(other, ROWS["IS_USED_LOCK('order-42')"]) == pid_of(db)
    held = ROWS["IS_USED_LOCK('order-42') = CONNECTION_ID()"]
    assert ask(db, held) and not ask(other, held)
    assert not ask(other, ROWS["RELEASE_LOCK('order-42')"])
    assert ask(db, ROWS["RELEASE_LOCK('order-42')"]) and ask(db, held)
    db.execute(ROWS["RELEASE_ALL_LOCKS()"])
    assert not ask(db, held) and not ask(db, ROWS["RELEASE_LOCK('order-42')"])


def test_a_number_is_seconds(db):
    assert ask(db, "SELECT '0.5'::interval = '500 ms'::interval")


@pytest.mark.parametrize(("call", "sqlstate"), [
    ("try_lock_keys(NULL)", "22004"), ("try_lock_keys(ARRAY[NULL])", "22004"), ("try_lock_keys(ARRAY['a'], timeout => '-1 s')", "22023"),
])
def test_what_was_null_is_an_error(db, call, sqlstate):
    with pytest.raises(psycopg.Error) as error:
        db.execute(f"SELECT {call}")
    assert error.value.sqlstate == sqlstate


def test_the_locking_service(db, other):
    write, read = ROWS["service_get_write_locks('shop', 'a', 'b', 10)"], ROWS["service_get_read_locks('shop', 'a', 'b', 10)"]
    db.execute(read)
    other.execute(read)
    with pytest.raises(psycopg.errors.LockNotAvailable):
        other.execute(write.replace("10 s", "0.05"))
    db.execute("SELECT pg_advisory_unlock_all()")
    other.execute(write.replace("10 s", "0.05"))
    assert ask(other, ROWS["service_release_locks('shop')"]) == 2


def test_converting_lets_nobody_in(db, other):
    db.execute(ROWS["GET_LOCK('order-42', 0)"])
    waiter = Background(other, "SELECT lock_keys(%s)", [NAME])
    wait_until_waiting(db, pid_of(other))
    assert db.execute(ROWS["CONVERT(handle, s_mode)"]).fetchone() == ("", True)
    assert db.execute(ROWS["APPLOCK_MODE('public', 'order-42', 'Session')"]).fetchone() == (False, True)
    assert ask(db, "SELECT count(*) FROM pg_locks WHERE pid = %s AND NOT granted", [pid_of(other)]) == 1
    other.cancel()
    with pytest.raises(psycopg.errors.QueryCanceled):
        waiter.result()
    assert ask(db, ROWS["CONVERT(handle, x_mode, 10)"])
    assert ask(db, "SELECT unlock_keys(%s, shared => true)", [NAME]) and ask(db, "SELECT holds_keys(%s)", [NAME])
    db.execute("SELECT pg_advisory_unlock_all()")


def test_getapplock(db, other, connect):
    observer = connect()
    db.execute(GETAPPLOCK)
    call = "SELECT getapplock('order-42', %s, %s, %s)"
    try:
        assert ask(db, call, ["Shared", "Session", 0]) == 0 == ask(other, call, ["Shared", "Session", 0])
        assert ask(db, call, ["Exclusive", "Session", 50]) == -1
        assert ask(db, call, ["Update", "Session", 0]) == ask(db, call, ["Shared", "Me", 0]) == ask(db, call, ["Shared", "Session", -2]) == -999
        # Both want it exclusively, and wait for ever: Postgres sees that as the second one begins to wait.
        first = Background(db, call, ["Exclusive", "Transaction", -1])
        wait_until_waiting(observer, pid_of(db))
        with other.transaction():
            other.execute("SELECT lock_keys('{before}')")
            assert ask(other, call, ["Exclusive", "Transaction", -1]) == -3
            assert ask(other, "SELECT holds_keys('{before}') AND holds_keys('{order-42}', shared => true)")
        other.execute("SELECT pg_advisory_unlock_all()")
        assert first.result() == 0
    finally:
        for session in (db, other):
            session.execute("SELECT pg_advisory_unlock_all()")
        db.execute("DROP FUNCTION getapplock")
