"""`held_since` and `level` of `advisory_locks`: since when a session holds by name, and how."""


import pytest

from parallel import create_in_leader, make_rows, use_workers
from scene import MAJOR, Background, name_key, native_only, pid_of, unique, wait_until_waiting
from server import MODES, connect, server_fixture  # noqa: F401, a fixture

pytestmark = native_only("it needs shared memory")


server = server_fixture(MODES, max_prepared_transactions=5)


@pytest.fixture
def name():
    return unique("order")


def seen(observer, *name):
    """Of each holder: since when, as long as it is known, and the level."""
    rows = observer.execute(
        "SELECT held_since, level FROM advisory_locks WHERE key = %s AND granted ORDER BY mode, pid", [name_key(*name)])
    return rows.fetchall()


def levels(observer, *name):
    rows = seen(observer, *name)
    assert all((since is None) == (level is None) for since, level in rows)
    return [level for _, level in rows]


def clock(db):
    return db.execute("SELECT clock_timestamp()").fetchone()[0]


CALLS = {
    "lock_keys": "SELECT lock_keys(%s{})",
    "try_lock_keys": "SELECT try_lock_keys(%s{}, timeout => '1h')",
    "acquire_keys": "CALL acquire_keys(%s{})",
    "lock_slot": "SELECT lock_slot(%s, 1{})",
    "claim_keys": "SELECT claim_keys(%s{})",
}


@pytest.mark.parametrize("function", CALLS)
def test_what_is_had_at_once_is_held_since_the_statement_began(connect, name, function):
    db, observer = connect(), connect()
    with db.transaction():
        db.execute("SELECT 1")
        before = clock(observer)
        db.execute(CALLS[function].format(""), [name])
        ((since, level),) = seen(observer, *name)
        assert (before < since < clock(observer), level) == (True, "transaction")
    assert seen(observer, *name) == []
    db.execute(CALLS[function].format(", session => true"), [name])
    assert levels(observer, *name) == ["session"]


@pytest.mark.parametrize("function", [function for function in CALLS if function != "claim_keys"])
def test_what_was_waited_for_is_held_since_then(connect, name, function):
    holder, waiter, observer = connect(), connect(), connect()
    holder.execute("BEGIN")
    holder.execute("SELECT lock_keys(%s)", [name])
    call = Background(waiter, CALLS[function].format(", session => true"), [name])
    wait_until_waiting(observer, pid_of(waiter))
    before = clock(observer)
    holder.execute("COMMIT")
    call.result()
    ((since, level),) = seen(observer, *name)
    assert (before < since < clock(observer), level) == (True, "session")


def test_a_waiter_holds_nothing(connect, name):
    holder, waiter, observer = connect(), connect(), connect()
    holder.execute("SELECT lock_keys(%s, session => true)", [name])
    call = Background(waiter, "SELECT try_lock_keys(%s, timeout => '1h', session => true)", [name])
    wait_until_waiting(observer, pid_of(waiter))
    waits = "SELECT held_since, level FROM advisory_locks WHERE key = %s AND NOT granted"
    assert observer.execute(waits, [name_key(*name)]).fetchall() == [(None, None)]
    holder.execute("SELECT unlock_keys(%s)", [name])
    call.result()


def test_locking_again_does_not_change_since_when(connect, name):
    db, observer = connect(), connect()
    db.execute("BEGIN")
    db.execute("SELECT lock_keys(%s)", [name])
    first = seen(observer, *name)
    db.execute("SELECT lock_keys(%s)", [name])
    assert seen(observer, *name) == first
    db.execute("SELECT lock_keys(%s, session => true)", [name])
    assert seen(observer, *name) == [(first[0][0], "both")]
    db.execute("SELECT lock_keys(%s, session => true)", [name])
    db.execute("SELECT unlock_keys(%s)", [name])
    assert levels(observer, *name) == ["both"]
    db.execute("COMMIT")
    assert seen(observer, *name) == [(first[0][0], "session")]
    db.execute("SELECT unlock_keys(%s)", [name])
    assert seen(observer, *name) == []


def test_each_level_ends_by_itself(connect, name):
    db, observer = connect(), connect()
    db.execute("SELECT lock_keys(%s, session => true)", [name])
    db.execute("BEGIN")
    db.execute("SELECT lock_keys(%s)", [name])
    assert levels(observer, *name) == ["both"]
    db.execute("SELECT release_keys(%s)", [name])
    assert levels(observer, *name) == ["transaction"]
    db.execute("COMMIT")
    assert seen(observer, *name) == []


def test_each_mode_has_its_own(connect, name):
    db, observer = connect(), connect()
    db.execute("SELECT lock_keys(%s, session => true)", [name])
    db.execute("BEGIN")
    db.execute("SELECT lock_keys(%s, shared => true)", [name])
    assert levels(observer, *name) == ["session", "transaction"]
    db.execute("SELECT unlock_keys(%s)", [name])
    assert levels(observer, *name) == ["transaction"]
    db.execute("ROLLBACK")


def test_a_rolled_back_savepoint(connect, name):
    db, observer = connect(), connect()
    db.execute("BEGIN")
    db.execute("SELECT lock_keys(ARRAY['other', %s])", [name[1]])
    db.execute("SAVEPOINT s")
    db.execute("SELECT lock_keys(%s)", [name])
    db.execute("ROLLBACK TO s")
    # Core's function takes it anew: since when, nobody has noted.
    db.execute("SELECT pg_advisory_xact_lock(%s)", [name_key(*name)])
    assert seen(observer, *name) == [(None, None)]
    assert levels(observer, "other", name[1]) == ["transaction"]
    db.execute("ROLLBACK")


def test_what_was_given_back_leaves_nothing(connect, name):
    db, other, observer = connect(), connect(), connect()
    names = sorted(([name[0], name[1] + end] for end in "ab"), key=lambda name: name_key(*name))
    other.execute("SELECT lock_keys(%s, session => true)", [names[1]])
    db.execute("SELECT lock_keys(%s)", [["something else"]])
    db.execute("BEGIN")
    assert db.execute("SELECT try_lock_keys(%s)", [names]).fetchone() == (False,)
    db.execute("SELECT pg_advisory_xact_lock(%s)", [name_key(*names[0])])
    assert seen(observer, *names[0]) == [(None, None)]
    db.execute("ROLLBACK")


def test_what_core_released_is_forgotten_when_it_is_locked_again(connect, name):
    db, observer = connect(), connect()
    db.execute("SELECT lock_keys(%s, session => true)", [name])
    db.execute("DISCARD ALL")
    assert seen(observer, *name) == []
    db.execute("BEGIN")
    before = clock(observer)
    db.execute("SELECT lock_keys(%s)", [name])
    ((since, level),) = seen(observer, *name)
    assert (since > before, level) == (True, "transaction")
    db.execute("ROLLBACK")


def test_cores_own_locks_and_prepared_transactions_are_not_known(connect, name):
    db, observer = connect(), connect()
    db.execute("SELECT pg_advisory_lock(%s)", [name_key(*name)])
    assert seen(observer, *name) == [(None, None)]
    db.execute("SELECT pg_advisory_unlock(%s)", [name_key(*name)])
    db.execute("BEGIN")
    db.execute("SELECT lock_keys(%s)", [name])
    db.execute(f"PREPARE TRANSACTION '{name[1]}'")
    assert seen(observer, *name) == [(None, None)]
    db.execute(f"ROLLBACK PREPARED '{name[1]}'")


def test_more_locks_than_are_noted(connect, name):
    """Of the first it is known, of the rest not; and of the next transaction's again."""
    db, observer = connect(), connect()
    for _ in range(2):
        db.execute("BEGIN")
        db.execute("SELECT lock_keys(ARRAY[%s, i::text]) FROM generate_series(1, 100) AS i", [name[1]])
        known = observer.execute(
            "SELECT count(*), count(held_since), count(level) FROM advisory_locks WHERE pid = %s AND granted", [pid_of(db)])
        assert known.fetchone() == (100, 16, 16)
        db.execute("COMMIT")


@pytest.mark.parametrize("release", ["DISCARD ALL", "SELECT pg_advisory_unlock_all()"])
def test_what_core_released_makes_room_for_others(connect, name, release):
    db, observer = connect(), connect()
    db.execute("SELECT lock_keys(ARRAY[%s, i::text], session => true) FROM generate_series(1, 100) AS i", [name[1]])
    db.execute(release)
    for session in (False, True):
        db.execute("BEGIN")
        db.execute("SELECT lock_keys(%s, session => %s)", [name, session])
        assert levels(observer, *name) == ["session" if session else "transaction"]
        db.execute("COMMIT")


def test_a_call_in_vain_does_not_change_since_when(connect, name):
    db, other, observer = connect(), connect(), connect()
    mine = [[*name, str(i)] for i in range(6)]
    others = [*name, "other"]
    db.execute("SELECT lock_keys(%s, session => true)", [mine])
    before = [seen(observer, *each) for each in mine]
    other.execute("SELECT lock_keys(%s, session => true)", [others])
    for session in (False, True):
        assert db.execute("SELECT try_lock_keys(%s, session => %s)", [[*mine, others], session]).fetchone() == (False,)
        assert [seen(observer, *each) for each in mine] == before
    db.execute("SELECT lock_keys(%s, session => true)", [mine])
    assert [seen(observer, *each) for each in mine] == before


def test_since_when_was_not_noted_stays_unknown(connect, name):
    """Locked as the 17th, and again when there is room."""
    db, observer = connect(), connect()
    db.execute("SELECT lock_keys(ARRAY[%s, i::text], session => true) FROM generate_series(1, 16) AS i", [name[1]])
    db.execute("SELECT lock_keys(%s, session => true)", [name])
    db.execute("SELECT unlock_keys(ARRAY[%s, '1'])", [name[1]])
    db.execute("SELECT lock_keys(%s, session => true)", [name])
    assert seen(observer, *name) == [(None, None)]


def test_a_transaction_that_a_procedure_began_later(connect, name):
    """It cannot hold since before it began."""
    db, observer = connect(), connect()
    db.execute("""
        CREATE PROCEDURE pg_temp.later(name text[]) LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_sleep(0.1);
            COMMIT;
            PERFORM lock_keys(name, session => true);
        END $$""")
    (begun,) = db.execute("SELECT clock_timestamp()").fetchone()
    db.execute("CALL pg_temp.later(%s)", [name])
    ((since, _),) = seen(observer, *name)
    assert (since - begun).total_seconds() >= 0.1


def test_nothing_is_noted_when_switched_off(connect, name):
    db, observer = connect(), connect()
    db.execute("SET advisory_keys.track_stats = off")
    db.execute("SELECT lock_keys(%s, session => true)", [name])
    assert seen(observer, *name) == [(None, None)]


def test_who_sees_it(connect, name):
    db = connect()
    db.execute("SELECT lock_keys(%s, session => true)", [name])
    db.execute("CREATE ROLE regress_nobody")
    db.execute("CREATE ROLE regress_monitor IN ROLE pg_read_all_stats")
    try:
        shown = {}
        for role in ("regress_nobody", "regress_monitor"):
            db.execute(f"SET ROLE {role}")
            shown[role] = levels(db, *name)
            db.execute("RESET ROLE")
        assert shown == {"regress_nobody": [None], "regress_monitor": ["session"]}
    finally:
        db.execute("DROP ROLE regress_nobody")
        db.execute("DROP ROLE regress_monitor")


def test_a_new_session_in_the_same_place(connect, server, name):
    observer = connect()
    for _ in range(20):
        with server.connect() as db:
            db.execute("SELECT lock_keys(%s, session => true)", [name])
        with server.connect() as db:
            db.execute("SELECT pg_advisory_lock(%s)", [name_key(*name)])
            assert seen(observer, *name) == [(None, None)]


@pytest.mark.skipif(MAJOR < 17, reason="there the memory is there from the start, or never")
def test_a_rolled_back_savepoint_before_the_memory_is_there(server):
    """The leader of a parallel query must not attach to it, nor may the clean-up of a subtransaction."""
    with server.connect() as db:
        make_rows(db)
    try:
        with server.connect(autocommit=False) as db:
            use_workers(db)
            db.execute("SAVEPOINT s")
            create_in_leader(db)
            db.execute("ROLLBACK TO s")
            db.execute("SELECT lock_keys(ARRAY['row', '1'])")
            assert levels(db, "row", "1") == ["transaction"]
    finally:
        with server.connect() as db:
            db.execute("DROP TABLE rows")
