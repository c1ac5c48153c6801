"""The names in `advisory_locks`: what is recorded, for how long, and who sees it."""

import threading
import uuid

import psycopg
import pytest

from scene import (
    MAJOR, Background, connections, name_key, native_only, pid_of, scratch_database, wait_until, wait_until_waiting,
)
from server import MODES, Server, with_shared_memory

# Which may say 15.20 or 19rc1.
pytestmark = native_only("names need shared memory")

SMALL = 64
"""Names that the record of the small server has room for."""

@pytest.fixture(scope="module", params=MODES)
def server(request):
    server = with_shared_memory(request.param, max_prepared_transactions="5", log_min_messages="log")
    yield server
    server.remove()


@pytest.fixture(scope="module", params=MODES)
def small_server(request):
    server = with_shared_memory(request.param, **{"advisory_keys.max_names": str(SMALL)})
    yield server
    server.remove()


@pytest.fixture
def connect(server):
    with connections(server.connect) as connect:
        yield connect


def unique(*parts):
    return [*parts, uuid.uuid4().hex[:12]]


def names_of(db, name):
    """What the view shows as the name of a key: one entry for each row."""
    rows = db.execute("SELECT name FROM advisory_locks WHERE key = %s ORDER BY granted DESC", [name_key(*name)])
    return [row[0] for row in rows]


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


def test_one_key_with_two_lists_of_parts_is_logged_once(server, connect):
    db, tail = connect(), uuid.uuid4().hex[:12]
    told = lambda: server.log().count(f'Key "a-b-{tail}"')
    for parts in [["a-b", tail], ["a-b", tail]]:
        db.execute("SELECT lock_keys(%s)", [parts])
    assert told() == 0
    for parts in [["a", f"b-{tail}"], ["a", "b", tail], ["a-b", tail]]:
        db.execute("SELECT lock_keys(%s)", [parts])
    wait_until(lambda: told() == 1, "the line in the log")


ROLES = {
    "regress_ak_owner": "", "regress_ak_member": "IN ROLE regress_ak_owner",
    "regress_ak_stranger": "", "regress_ak_stats": "IN ROLE pg_read_all_stats", "regress_ak_super": "SUPERUSER",
}


@pytest.fixture(scope="module")
def roles(server):
    with server.connect() as db:
        for role, rest in ROLES.items():
            db.execute(f"CREATE ROLE {role} LOGIN {rest}")
    return server


@pytest.mark.parametrize("reader, sees", [
    ("regress_ak_owner", True), ("regress_ak_member", True), ("regress_ak_stranger", False),
    ("regress_ak_stats", True), ("regress_ak_super", True),
])
def test_a_name_is_for_those_who_may_see_the_query(roles, connect, reader, sees):
    """Also of what waits; and the reader's own rows do not open those of others."""
    holder, waiter = connect(user="regress_ak_owner"), connect(user="regress_ak_owner")
    db, name = connect(user=reader), unique("private")
    holder.execute("SELECT lock_keys(%s, session => true)", [name])
    call = Background(waiter, "SELECT lock_keys(%s)", [name])
    wait_until_waiting(db, pid_of(waiter))
    db.execute("SELECT lock_keys(%s, session => true)", [unique("of the reader")])

    rows = db.execute("SELECT name, query FROM advisory_locks WHERE key = %s", [name_key(*name)]).fetchall()
    assert len(rows) == 2
    for shown, query in rows:
        assert shown == ("-".join(name) if sees else None)
        assert (query != "<insufficient privilege>") == sees
    holder.execute("SELECT unlock_keys(%s)", [name])
    call.result()


def test_a_stranger_does_not_see_the_name_of_a_prepared_transaction(roles, connect):
    holder, stranger, name = connect(user="regress_ak_owner"), connect(user="regress_ak_stranger"), unique("private")
    holder.execute("BEGIN")
    holder.execute("SELECT lock_keys(%s)", [name])
    holder.execute("PREPARE TRANSACTION 'live_private'")
    assert names_of(stranger, name) == [None]
    assert names_of(connect(), name) == ["-".join(name)]
    holder.execute("ROLLBACK PREPARED 'live_private'")


def test_who_waits_for_the_integer_does_not_learn_the_name(roles, connect):
    """Anybody can take an integer from pg_locks and wait for it; the own row then shows what the own row may."""
    owner, stranger, name = connect(user="regress_ak_owner"), connect(user="regress_ak_stranger"), unique("private")
    owner.execute("SELECT lock_keys(%s, session => true)", [name])
    call = Background(stranger, "SELECT pg_advisory_lock(%s)", [name_key(*name)])
    with connect(user="regress_ak_stranger") as observer:
        wait_until_waiting(observer, pid_of(stranger))
        assert names_of(observer, name) == [None, None]
        owner.execute("SELECT unlock_keys(%s)", [name])
        call.result()
        # It holds the lock now, and the owner is gone.
        owner.close()
        for reader in (observer, stranger):
            assert names_of(reader, name) == [None]
            assert reader.execute("SELECT advisory_key_name(%s)", [name_key(*name)]).fetchone() == (None,)
    assert names_of(connect(user="regress_ak_stats"), name) == ["-".join(name)]


def test_who_locks_by_the_same_name_sees_it_in_the_own_row_only(roles, connect):
    owner, other, name = connect(user="regress_ak_owner"), connect(user="regress_ak_stranger"), unique("shared")
    for db in (owner, other):
        db.execute("SELECT lock_keys(%s, shared => true, session => true)", [name])
    rows = dict(other.execute("SELECT pid, name FROM advisory_locks WHERE key = %s", [name_key(*name)]).fetchall())
    assert rows == {pid_of(owner): None, pid_of(other): "-".join(name)}


@pytest.mark.parametrize("role, sees", [
    ("regress_ak_owner", True), ("regress_ak_member", True), ("regress_ak_stranger", False),
    ("regress_ak_stats", True), ("regress_ak_super", True),
])
def test_the_name_behind_a_key_is_for_roles_that_recorded_it(roles, connect, role, sees):
    owner, name = connect(user="regress_ak_owner"), unique("private")
    with owner.transaction():
        owner.execute("SELECT lock_keys(%s)", [name])
    owner.close()
    reader = connect(user=role)
    asked = reader.execute("SELECT advisory_key_name(%s)", [name_key(*name)]).fetchone()
    assert asked == ("-".join(name) if sees else None,)


def test_a_key_that_nobody_locked_has_no_name(connect):
    assert connect().execute("SELECT advisory_key_name(%s)", [name_key(*unique("never"))]).fetchone() == (None,)
    with pytest.raises(psycopg.errors.NullValueNotAllowed):
        connect().execute("SELECT advisory_key_name(NULL)")


def test_the_roles_that_recorded_a_name_last_may_read_it(roles, connect):
    """Four of them; who calls a function with its owner's rights records it for the owner."""
    admin, name = connect(), unique("busy")
    many = [f"regress_ak_busy_{i}" for i in range(5)]
    try:
        for role in many:
            admin.execute(f"CREATE ROLE {role}")
            admin.execute(f"SET ROLE {role}")
            admin.execute("SELECT try_lock_keys(%s), 1", [name])
            admin.execute("RESET ROLE")
        admin.execute("CREATE FUNCTION asks(key bigint) RETURNS text SECURITY DEFINER RETURN advisory_key_name(key)")
        admin.execute(f"ALTER FUNCTION asks OWNER TO {many[4]}")
        told = {}
        for role in [*many, "regress_ak_stranger"]:
            admin.execute(f"SET ROLE {role}")
            told[role] = admin.execute("SELECT advisory_key_name(%s)", [name_key(*name)]).fetchone()[0] is not None
            assert admin.execute("SELECT asks(%s)", [name_key(*name)]).fetchone() == ("-".join(name),)
            admin.execute("RESET ROLE")
        assert told == {many[0]: False, **dict.fromkeys(many[1:], True), "regress_ak_stranger": False}
    finally:
        admin.execute("RESET ROLE")
        admin.execute("DROP FUNCTION IF EXISTS asks")
        for role in many:
            admin.execute(f"DROP ROLE IF EXISTS {role}")


def test_a_role_that_was_dropped_leaves_the_name_to_nobody(roles, connect):
    admin, name = connect(), unique("private")
    admin.execute("CREATE ROLE regress_ak_gone; SET ROLE regress_ak_gone")
    admin.execute("SELECT try_lock_keys(%s), 1", [name])
    admin.execute("RESET ROLE; DROP ROLE regress_ak_gone; CREATE ROLE regress_ak_gone; SET ROLE regress_ak_gone")
    assert admin.execute("SELECT advisory_key_name(%s)", [name_key(*name)]).fetchone() == (None,)
    admin.execute("RESET ROLE; DROP ROLE regress_ak_gone")
    assert admin.execute("SELECT advisory_key_name(%s)", [name_key(*name)]).fetchone() == ("-".join(name),)


def test_a_line_for_the_log_is_not_sent_to_clients(server, connect):
    db, tail, heard = connect(), uuid.uuid4().hex[:12], []
    db.add_notice_handler(lambda notice: heard.append(notice.message_primary))
    db.execute("SET client_min_messages = debug1")
    for parts in [["c-d", tail], ["c", f"d-{tail}"]]:
        db.execute("SELECT lock_keys(%s, session => true)", [parts])
    wait_until(lambda: f'Key "c-d-{tail}"' in server.log(), "the line in the log")
    assert [text for text in heard if "advisory key" in text] == []


def test_false_lines_are_not_logged_when_names_push_each_other_out(server):
    """Each name is always split in the same way, so there is nothing to tell."""
    tiny = with_shared_memory(MODES[0], **{"advisory_keys.max_names": "1", "log_min_messages": "log"})
    try:
        stop = threading.Event()

        def lock(worker):
            with tiny.connect() as db:
                db.execute("SET advisory_keys.warn_short_locks = off")
                i = worker
                while not stop.is_set():
                    i += 5
                    parts = ["p"] * (1 + i % 12)
                    db.execute("SELECT count(try_lock_keys(%s, shared => true)) FROM generate_series(1, 20)", [parts])

        workers = [threading.Thread(target=lock, args=(i,)) for i in range(6)]
        for worker in workers:
            worker.start()
        stop.wait(4)
        stop.set()
        for worker in workers:
            worker.join()
        assert tiny.log().count("one advisory key is used for two different names") == 0
    finally:
        tiny.remove()


def test_a_role_set_later_does_not_change_whose_backend_it_is(roles, connect):
    holder, stranger, name = connect(), connect(user="regress_ak_stranger"), unique("private")
    holder.execute("SET ROLE regress_ak_stranger")
    holder.execute("SELECT lock_keys(%s, session => true)", [name])
    assert names_of(stranger, name) == [None]


def test_names_in_use_stay_when_more_come_than_fit(small_server):
    with small_server.connect() as holder, small_server.connect() as other:
        kept = unique("kept")
        for i in range(50 * SMALL):
            holder.execute("SELECT try_lock_keys(%s, session => %s)", [kept, i == 0])
            other.execute("SELECT lock_keys(%s)", [["passing", str(i)]])
        assert names_of(other, kept) == ["-".join(kept)]


def test_the_record_begins_anew_with_the_server(small_server):
    name = unique("order")

    def recorded():
        with small_server.connect() as db:
            db.execute("SELECT pg_advisory_lock(%s)", [name_key(*name)])
            return names_of(db, name) != [None]

    def lock_once():
        with small_server.connect() as db:
            db.execute("SELECT lock_keys(%s)", [name])

    lock_once()
    assert recorded()
    small_server.stop("fast")
    small_server.start()
    assert not recorded()
    lock_once()
    assert recorded()
    with small_server.connect() as victim:
        small_server.crash_by_killing(pid_of(victim))
    assert not recorded()
    lock_once()
    assert recorded()


def test_no_wrong_name_is_ever_shown_under_load_and_crashes(small_server):
    """Many clients lock more names than fit while others read the view; then one is killed."""
    stop, wrong, seen = threading.Event(), [], []

    def lock(worker):
        db = small_server.connect()
        i = 0
        while not stop.is_set():
            i += 1
            names = [["load", str((i * 31 + worker * 17 + j) % (10 * SMALL))] for j in range(8)]
            db.execute("SELECT try_lock_keys(%s, shared => true)", [names])

    def read():
        db = small_server.connect()
        while not stop.is_set():
            for key, name in db.execute("SELECT key, name FROM advisory_locks WHERE name IS NOT NULL"):
                seen.append(name)
                if name_key(*name.split("-")) != key:
                    wrong.append((key, name))

    def quietly(work, *arguments):
        try:
            work(*arguments)
        except psycopg.OperationalError:
            pass  # the crash below

    for _ in range(3):
        stop.clear()
        workers = [threading.Thread(target=quietly, args=(lock, i)) for i in range(6)]
        workers += [threading.Thread(target=quietly, args=(read,)) for _ in range(2)]
        for worker in workers:
            worker.start()
        before = len(seen)
        wait_until(lambda: len(seen) > before + 300 or not any(w.is_alive() for w in workers), "names seen")
        with small_server.connect() as db:
            victim = db.execute(
                "SELECT pid FROM pg_stat_activity WHERE query LIKE '%%try_lock_keys%%' AND pid <> pg_backend_pid()"
            ).fetchone()[0]
        small_server.crash_by_killing(victim)
        stop.set()
        for worker in workers:
            worker.join(20)
            assert not worker.is_alive()
    assert wrong == []
    with small_server.connect() as db:
        assert db.execute("SELECT count(*) FROM advisory_locks").fetchone() == (0,)


@pytest.mark.skipif(MAJOR < 17, reason="there the record is there from the start, or never")
def test_a_first_call_in_the_leader_of_a_parallel_query_puts_the_record_off():
    """Attaching to it takes a subtransaction, which is not allowed there."""
    server = Server(log_min_messages="log")
    try:
        with server.connect() as db:
            db.execute("CREATE TABLE rows WITH (parallel_workers = 2) AS SELECT n FROM generate_series(1, 200) AS n")
        with server.connect() as db:
            heard, name = [], unique("order")
            db.add_notice_handler(lambda notice: heard.append(notice.message_primary))
            for setting in ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size"):
                db.execute(f"SET {setting} = 0")
            db.execute("SET parallel_leader_participation = off")
            made = "CREATE TABLE made AS SELECT n, try_lock_keys(ARRAY['row', n::text]) FROM rows WHERE n < 3 OFFSET 0"
            plan = db.execute(f"EXPLAIN {made}").fetchall()
            assert any("Gather" in line for line, in plan)
            db.execute(made)
            assert heard == []
            db.execute("SELECT lock_keys(%s, session => true)", [name])
            assert names_of(db, name) == ["-".join(name)]
        assert "not recorded" not in server.log()
    finally:
        server.remove()


@pytest.mark.skipif(MAJOR >= 17, reason="there names are recorded without preload")
def test_without_shared_memory_all_else_works():
    server = Server()
    try:
        with server.connect() as db:
            name = unique("order")
            db.execute("SELECT lock_keys(%s, session => true)", [name])
            assert names_of(db, name) == [None]
            assert db.execute("SHOW advisory_keys.max_names").fetchone() == ("10000",)
    finally:
        server.remove()


def test_the_size_of_the_record_cannot_be_changed_in_a_session(connect):
    with pytest.raises(psycopg.errors.CantChangeRuntimeParam):
        connect().execute("SELECT lock_keys('{a}'); SET advisory_keys.max_names = 5")
