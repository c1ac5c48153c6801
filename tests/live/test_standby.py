"""A standby has locks of its own, which exclude nobody on the primary: taking one there is an error, unless allowed."""

import psycopg
import pytest

from scene import PORTABLE, Background, connections, pid_of, statement_of, wait_until, wait_until_waiting
from server import Server

CALLS = [
    statement_of(function, f"'{{on,standby}}', session => {session}{timeout}")
    for function in ("lock_keys", "try_lock_keys", "acquire_keys") for session in ("true", "false") for timeout in ("", ", timeout => '1s'")
] + [
    "SELECT lock_slot('{on,standby}', 1)", "SELECT try_lock_slot('{on,standby}', 1, session => true)",
    "SELECT claim_keys('{on,standby}')",
]


@pytest.fixture(scope="module")
def standby():
    with Server(max_wal_senders=5, wal_level="replica") as primary:
        # What the primary has cleaned up is cleaned up here at once, whoever still needs it.
        with primary.standby(max_standby_streaming_delay="0") as standby:
            standby.primary = primary
            yield standby


@pytest.fixture
def connect(standby):
    with connections(standby.connect) as connect:
        yield connect


@pytest.mark.parametrize("call", CALLS)
def test_locking_is_an_error_that_says_why(connect, call):
    db = connect()
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as error:
        db.execute(call)
    assert error.value.sqlstate == "55000"
    assert error.value.diag.message_primary == "advisory locks taken on a standby exclude nobody on the primary"
    assert error.value.diag.message_detail == 'The server is in recovery, "advisory_keys.standby_locks" is "off".'
    assert "standby_locks" in error.value.diag.message_hint
    assert db.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)


def test_looking_and_releasing_are_allowed(connect):
    db = connect()
    db.execute("SELECT pg_advisory_lock(advisory_key('{on,standby}'))")
    assert db.execute("SELECT holds_keys('{on,standby}'), keys_available('{other}')").fetchone() == (True, True)
    assert db.execute("SELECT count(*) FROM advisory_locks").fetchone() == (1,)
    assert db.execute("SELECT advisory_key_name(1)").fetchone() == (None,)
    assert db.execute("SELECT slots_held('{on,standby}'), unlock_slot('{on,standby}')").fetchone() == (0, False)
    assert db.execute("SELECT unlock_keys('{on,standby}'), release_keys('{on,standby}')").fetchone() == (True, 0)


def test_with_the_setting_it_excludes_others_on_the_standby(connect):
    db, other = connect(), connect()
    db.execute("SET advisory_keys.standby_locks = on")
    other.execute("SET advisory_keys.standby_locks = on")
    db.execute("SELECT lock_keys('{on,standby}', session => true)")
    assert other.execute("SELECT try_lock_keys('{on,standby}', timeout => '20ms')").fetchone() == (False,)
    assert db.execute("SELECT release_keys('{on,standby}')").fetchone() == (1,)
    assert other.execute("SELECT try_lock_keys('{on,standby}', timeout => '20ms')").fetchone() == (True,)


@pytest.mark.parametrize("statement", ["SELECT lock_keys('{on,standby}')", "CALL acquire_keys('{on,standby}')"])
def test_who_waits_without_a_snapshot_is_in_nobodys_way(standby, connect, statement):
    db, holder = connect(), connect()
    for session in (db, holder):
        session.execute("SET advisory_keys.standby_locks = on")
    with standby.primary.connect() as primary:
        primary.execute("DROP TABLE IF EXISTS litter; CREATE TABLE litter AS SELECT 1 AS n")
        standby.wait_until_replayed(standby.primary)
        holder.execute("SELECT lock_keys('{on,standby}', session => true)")
        call = Background(db, statement)
        wait_until_waiting(holder, pid_of(db))
        primary.execute("DELETE FROM litter")
        primary.execute("VACUUM litter")
        standby.wait_until_replayed(standby.primary)
    if statement.startswith("CALL") and not PORTABLE:
        wait_until_waiting(holder, pid_of(db))
        holder.execute("SELECT release_keys('{on,standby}')")
        call.result()
    else:
        with pytest.raises(psycopg.errors.SerializationFailure, match="conflict with recovery"):
            call.result()


def test_with_the_setting_a_slot_is_waited_for_and_handed_on(connect):
    db, other = connect(), connect()
    db.execute("SET advisory_keys.standby_locks = on")
    other.execute("SET advisory_keys.standby_locks = on")
    db.execute("SELECT lock_slot('{on,standby}', 1, session => true)")
    call = Background(other, "SELECT try_lock_slot('{on,standby}', 1, timeout => '10s')")
    wait_until(lambda: db.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone()[0] > 1, "it waits")
    db.execute("SELECT unlock_slot('{on,standby}')")
    assert call.result() is True


def test_after_a_promotion_it_locks_like_any_server(standby, connect):
    """Also in a session that was there before. The last test of this module: there is no way back."""
    db = connect()
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        db.execute(CALLS[0])
    standby.promote()
    db.execute("SELECT lock_keys('{on,standby}', session => true)")
    assert db.execute("SELECT holds_keys('{on,standby}')").fetchone() == (True,)
