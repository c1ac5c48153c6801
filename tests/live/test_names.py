"""The names in `advisory_locks`: what is recorded and shown."""

import uuid

import psycopg
import pytest

from names import names_of
from parallel import create_in_leader, make_rows, use_workers
from scene import (
    MAJOR, Background, name_key, native_only, pid_of, scratch_database, unique, wait_until, wait_until_waiting,
)
from server import MODES, Server, connect, server_fixture  # noqa: F401, a fixture

pytestmark = native_only("names need shared memory")

server = server_fixture(MODES, max_prepared_transactions=5, log_min_messages="log")


@pytest.mark.parametrize("options", ["", ", session => true", ", shared => true", ", timeout => '5s'"])
@pytest.mark.parametrize("function", ["lock_keys", "try_lock_keys"])
def test_a_locked_name_is_shown(connect, function, options):
    db, name = connect(), unique("order")
    with db.transaction():
        db.execute(f"SELECT {function}(%s{options})", [name])
        assert names_of(db, name) == ["-".join(name)]


def test_holder_and_waiter_are_shown_with_the_name(connect):
    holder, waiter, observer, name = connect(), connect(), connect(), unique("order")
    holder.execute("SELECT lock_keys(%s, session => true)", [name])
    call = Background(waiter, "SELECT lock_keys(%s, session => true)", [name])
    wait_until_waiting(observer, pid_of(waiter))
    rows = observer.execute(
        "SELECT name, mode, granted, pid, waiting_since IS NOT NULL, blocked_by FROM advisory_locks"
        " WHERE key = %s ORDER BY granted DESC", [name_key(*name)]).fetchall()
    assert rows == [
        ("-".join(name), "exclusive", True, pid_of(holder), False, None),
        ("-".join(name), "exclusive", False, pid_of(waiter), True, [pid_of(holder)]),
    ]
    holder.execute("SELECT unlock_keys(%s)", [name])
    call.result()


def test_a_waiter_for_a_prepared_transaction_is_shown(connect):
    holder, waiter, observer, name = connect(), connect(), connect(), unique("order")
    holder.execute("BEGIN")
    holder.execute("SELECT lock_keys(%s)", [name])
    holder.execute("PREPARE TRANSACTION 'live_names'")
    call = Background(waiter, "SELECT lock_keys(%s)", [name])
    wait_until_waiting(observer, pid_of(waiter))
    rows = observer.execute(
        "SELECT name, granted, pid, blocked_by FROM advisory_locks WHERE key = %s ORDER BY granted DESC",
        [name_key(*name)]).fetchall()
    assert rows == [("-".join(name), True, None, None), ("-".join(name), False, pid_of(waiter), [0])]
    observer.execute("ROLLBACK PREPARED 'live_names'")
    call.result()


def test_a_lock_of_core_is_shown_and_named_once_its_name_is_known(connect):
    core, named, name = connect(), connect(), unique("order")
    core.execute("SELECT pg_advisory_lock(%s)", [name_key(*name)])
    assert names_of(core, name) == [None]
    assert named.execute("SELECT try_lock_keys(%s)", [name]).fetchone() == (False,)
    assert names_of(core, name) == ["-".join(name)]


def test_functions_that_lock_nothing_record_nothing(connect):
    db, name = connect(), unique("order")
    db.execute("SELECT pg_advisory_lock(%s)", [name_key(*name)])
    db.execute("SELECT advisory_key(%s), holds_keys(%s), keys_available(%s)", [name, name, name])
    assert names_of(db, name) == [None]


def test_all_names_of_a_call_are_shown(connect):
    db = connect()
    names = [unique("account") for _ in range(20)]
    with db.transaction():
        db.execute("SELECT lock_keys(%s)", [names])
        shown = db.execute("SELECT key, name FROM advisory_locks WHERE pid = %s", [pid_of(db)]).fetchall()
    assert sorted(shown) == sorted((name_key(*name), "-".join(name)) for name in names)


@pytest.mark.parametrize("text, shown", [
    ("", ""), ("x" * 200, "x" * 200), ("x" * 201, "x" * 200 + "..."), ("日" * 300, "日" * 66 + "..."),
    ("a\nb\t'\"{}", "a\nb\t'\"{}"),
])
def test_names_are_shown_whole_or_cut_with_a_mark(connect, text, shown):
    db = connect()
    with db.transaction():
        db.execute("SELECT lock_keys(%s)", [[text]])
        assert names_of(db, [text]) == [shown]


def test_nothing_is_recorded_when_switched_off(connect):
    db, name = connect(), unique("secret")
    db.execute("SET advisory_keys.track_names = off")
    db.execute("SELECT lock_keys(%s, session => true)", [name])
    assert names_of(db, name) == [None]
    db.execute("SET advisory_keys.track_names = on")
    db.execute("SELECT lock_keys(%s, session => true)", [name])
    assert names_of(db, name) == ["-".join(name)]


def test_another_database_has_names_of_its_own(connect):
    here, name = connect(), unique("order")
    with scratch_database("other", admin=here) as database:
        there = connect(dbname=database)
        there.execute("SELECT lock_keys(%s, session => true)", [name])
        assert names_of(there, name) == ["-".join(name)]
        here.execute("SELECT pg_advisory_lock(%s)", [name_key(*name)])
        assert names_of(here, name) == [None]


def test_a_key_that_nobody_locked_has_no_name(connect):
    assert connect().execute("SELECT advisory_key_name(%s)", [name_key(*unique("never"))]).fetchone() == (None,)
    with pytest.raises(psycopg.errors.NullValueNotAllowed):
        connect().execute("SELECT advisory_key_name(NULL)")


def test_one_key_with_two_lists_of_parts_is_logged_once(server, connect):
    db, tail = connect(), uuid.uuid4().hex[:12]
    told = lambda: server.log().count(f'Key "a-b-{tail}"')
    for parts in [["a-b", tail], ["a-b", tail]]:
        db.execute("SELECT lock_keys(%s)", [parts])
    assert told() == 0
    for parts in [["a", f"b-{tail}"], ["a", "b", tail], ["a-b", tail]]:
        db.execute("SELECT lock_keys(%s)", [parts])
    wait_until(lambda: told() == 1, "the line in the log")


def test_a_line_for_the_log_is_not_sent_to_clients(server, connect):
    db, tail, heard = connect(), uuid.uuid4().hex[:12], []
    db.add_notice_handler(lambda notice: heard.append(notice.message_primary))
    db.execute("SET client_min_messages = debug1")
    for parts in [["c-d", tail], ["c", f"d-{tail}"]]:
        db.execute("SELECT lock_keys(%s, session => true)", [parts])
    wait_until(lambda: f'Key "c-d-{tail}"' in server.log(), "the line in the log")
    assert [text for text in heard if "advisory key" in text] == []


@pytest.mark.skipif(MAJOR < 17, reason="there the record is there from the start, or never")
def test_a_first_call_in_the_leader_of_a_parallel_query_puts_the_record_off():
    """Attaching to it takes a subtransaction, which is not allowed there."""
    with Server(log_min_messages="log") as server:
        with server.connect() as db:
            make_rows(db)
        with server.connect() as db:
            heard, name = [], unique("order")
            db.add_notice_handler(lambda notice: heard.append(notice.message_primary))
            use_workers(db)
            create_in_leader(db)
            assert heard == []
            db.execute("SELECT lock_keys(%s, session => true)", [name])
            assert names_of(db, name) == ["-".join(name)]
        assert "not recorded" not in server.log()


@pytest.mark.skipif(MAJOR >= 17, reason="there names are recorded without preload")
def test_without_shared_memory_all_else_works():
    with Server() as server:
        with server.connect() as db:
            name = unique("order")
            db.execute("SELECT lock_keys(%s, session => true)", [name])
            assert names_of(db, name) == [None]
            assert db.execute("SHOW advisory_keys.max_names").fetchone() == ("10000",)


def test_the_size_of_the_record_cannot_be_changed_in_a_session(connect):
    with pytest.raises(psycopg.errors.CantChangeRuntimeParam):
        connect().execute("SELECT lock_keys('{a}'); SET advisory_keys.max_names = 5")
