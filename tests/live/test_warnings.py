"""Warnings come when they are due, and only then."""

import pytest

from scene import Background, pid_of, wait_until_waiting

OLD_SNAPSHOT = "advisory lock was granted after waiting, but the transaction's snapshot is older"
SESSION_LEVEL = "session-level lock taken by name"


@pytest.fixture
def warned(connect):
    """A session, and the messages of the warnings that it got."""
    db, warnings = connect(), []
    db.add_notice_handler(lambda diag: warnings.append(diag.message_primary))
    return db, warnings


def after_waiting(connect, db, statement, parameters=None):
    """Runs a statement that waits for {warned}, with a holder that lets go then."""
    holder = connect()
    holder.execute("SELECT lock_keys('{warned}', session => true)")
    waiting = Background(db, statement, parameters)
    wait_until_waiting(holder, pid_of(db))
    holder.execute("SELECT unlock_keys('{warned}')")
    return waiting.result()


FUNCTIONS = {
    "PL/pgSQL": "LANGUAGE plpgsql AS $$ BEGIN PERFORM lock_keys('{warned}', session => true); RETURN 1; END $$",
    "SQL": "LANGUAGE sql AS $$ SELECT lock_keys('{warned}', session => true); SELECT 1 $$",
}


@pytest.mark.parametrize("language", FUNCTIONS)
@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_a_function_that_locks_at_session_level_reads_with_an_old_snapshot(connect, warned, language, isolation):
    db, warnings = warned
    db.execute(f"CREATE FUNCTION pg_temp.locks() RETURNS int {FUNCTIONS[language]}")
    db.execute(f"SET default_transaction_isolation = '{isolation}'")
    assert after_waiting(connect, db, "SELECT pg_temp.locks()") == 1
    assert warnings == [OLD_SNAPSHOT]


@pytest.mark.parametrize("parameters", [None, ["{warned}"]])
def test_a_statement_that_locks_at_session_level_and_does_no_more_has_none(connect, warned, parameters):
    """Also when Postgres adds the parameters to the context of errors."""
    db, warnings = warned
    db.execute("SET log_parameter_max_length_on_error = -1")
    db.execute("SET default_transaction_isolation = 'repeatable read'")
    key = "%s" if parameters else "'{warned}'"
    after_waiting(connect, db, f"SELECT lock_keys({key}, session => true)", parameters)
    assert warnings == []


@pytest.mark.parametrize("isolation, expected", [("read committed", []), ("repeatable read", [OLD_SNAPSHOT])])
def test_a_procedure_is_warned_of_where_it_keeps_an_old_snapshot(connect, warned, isolation, expected):
    db, warnings = warned
    db.execute(f"BEGIN ISOLATION LEVEL {isolation}")
    after_waiting(connect, db, "CALL acquire_keys('{warned}')")
    assert warnings == expected


def test_a_procedure_that_locks_at_session_level_and_does_no_more_has_none(connect, warned):
    db, warnings = warned
    db.execute("SET default_transaction_isolation = 'repeatable read'")
    after_waiting(connect, db, "CALL acquire_keys('{warned}', session => true)")
    assert warnings == []


@pytest.mark.parametrize("timeout", ["'0'", "'20ms'"])
def test_session_locks_warns_of_what_is_granted(connect, warned, timeout):
    db, warnings = warned
    db.execute("SET advisory_keys.session_locks = warn")
    call = f"SELECT try_lock_keys('{{warned}}', timeout => {timeout}, session => true)"
    holder = connect()
    holder.execute("SELECT lock_keys('{warned}', session => true)")
    assert db.execute(call).fetchone() == (False,)
    assert warnings == []
    holder.execute("SELECT unlock_keys('{warned}')")
    assert db.execute(call).fetchone() == (True,)
    assert warnings == [SESSION_LEVEL]
