"""The warning about a transaction-level lock that ends with its statement: when it comes, and when not."""

import psycopg
import pytest

from scene import name_key, native_only

pytestmark = native_only("SQL cannot tell whether there is a transaction block, or a longer statement")

CALLS = [
    "SELECT try_lock_keys('{short}')", "SELECT lock_keys('{short}')",
    "SELECT try_lock_keys('{{short},{other}}', timeout => '1s', shared => true) AS locked",
    "SELECT lock_keys(ARRAY[current_database()::text, 'short'], timeout => '0')",
    "CALL acquire_keys(ARRAY[current_database()::text, 'short'])",
    "SELECT claim_keys('{{short},{other}}')",
    "SELECT try_lock_slot('{short}', 1)", "SELECT lock_slot('{short}', 1)",
]


@pytest.fixture
def session(connect):
    """A connection that collects the SQLSTATEs of its notices in `notices`."""
    connection = connect()
    connection.notices = []
    connection.add_notice_handler(lambda notice: connection.notices.append(notice.sqlstate))
    return connection


@pytest.mark.parametrize("call", CALLS)
def test_a_call_by_itself_outside_a_block_is_warned_of_once(session, call):
    session.execute(call)
    assert session.notices == ["25P01"]
    for again in CALLS:
        session.execute(again)
    assert session.notices == ["25P01"]


def test_the_warning_says_what_to_do(session):
    told = []
    session.add_notice_handler(
        lambda n: told.append((n.severity, n.message_primary, n.message_detail, n.message_hint)))
    session.execute(CALLS[0])
    assert told == [(
        "WARNING",
        "advisory lock is released already, as it was taken outside a transaction block",
        "A transaction-level lock ends with its transaction, here with the statement that took it.",
        "Lock between BEGIN and COMMIT, or pass session => true.",
    )]


def test_the_extended_protocol_is_warned_of_too(session):
    """psycopg sends parameters as Parse, Bind, Execute and Sync, each message with a time of its own."""
    assert session.execute("SELECT try_lock_keys(%s, timeout => %s)", [["short"], "1s"]).fetchone() == (True,)
    assert session.notices == ["25P01"]


def test_call_with_parameters_is_warned_of_too(session):
    session.execute("CALL acquire_keys(%s, timeout => %s)", [["short"], "1s"])
    assert session.notices == ["25P01"]


@pytest.mark.parametrize("statement", ["SELECT try_lock_keys(%s)", "CALL acquire_keys(%s)"])
def test_a_prepared_statement_is_warned_of_too(session, statement):
    for _ in range(8):
        session.execute(statement, [["short"]], prepare=True)
    assert session.notices == ["25P01"]


@pytest.mark.parametrize("statement", [
    "BEGIN; SELECT lock_keys('{short}'); COMMIT",
    "SELECT lock_keys('{short}'); SELECT 1",
    "DO $$ BEGIN PERFORM lock_keys('{short}'); PERFORM pg_sleep(0); END $$",
    "SELECT lock_keys('{short}', session => true)",
    "SELECT lock_keys('{short}'), now()",
    "SELECT count(*) FROM (SELECT try_lock_keys('{short}') OFFSET 0) AS s",
    "SELECT try_lock_keys('{short}') FROM generate_series(1, 2)",
    "SELECT try_lock_keys('{short}') AND holds_keys('{short}')",
    "SELECT count(*) FROM pg_class WHERE relname = 'pg_class' AND try_lock_keys('{short}')",
    "DO $$ DECLARE r record; BEGIN FOR r IN SELECT try_lock_keys('{short}') LOOP PERFORM pg_sleep(0); END LOOP; END $$",
    "BEGIN; CALL acquire_keys('{short}'); COMMIT",
    "CALL acquire_keys('{short}'); SELECT 1",
    "DO $$ BEGIN CALL acquire_keys('{short}'); END $$",
    "CALL acquire_keys('{short}', session => true)",
    "DO $$ DECLARE c CURSOR FOR SELECT lock_keys('{short}'); r record; BEGIN OPEN c; FETCH c INTO r; END $$",
])
def test_a_lock_that_serves_something_is_not_warned_of(session, statement):
    session.execute(statement)
    assert session.notices == []


def test_a_function_that_locks_and_works_is_not_warned_of(session):
    session.execute("""
        CREATE OR REPLACE FUNCTION pg_temp.works() RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN PERFORM lock_keys('{short}'); RETURN holds_keys('{short}'); END $$""")
    assert session.execute("SELECT pg_temp.works()").fetchone() == (True,)
    assert session.notices == []


@pytest.mark.parametrize("language, body", [
    ("sql", "CALL acquire_keys('{short}'); SELECT 1"), ("plpgsql", "BEGIN CALL acquire_keys('{short}'); END"),
])
def test_a_procedure_that_locks_and_works_is_not_warned_of(session, language, body):
    session.execute(f"CREATE PROCEDURE pg_temp.works(keys text[]) LANGUAGE {language} AS $${body}$$")
    session.execute("CALL pg_temp.works('{short}')")
    assert session.notices == []


def test_a_lock_that_the_session_holds_besides_is_not_warned_of(session):
    session.execute("SELECT lock_keys('{short}', session => true)")
    session.execute(CALLS[0])
    assert session.notices == []
    session.execute(CALLS[2])  # one of the two is released
    assert session.notices == ["25P01"]


def test_execute_is_warned_of_too(session):
    session.execute("PREPARE short AS SELECT try_lock_keys('{short}')")
    session.execute("EXECUTE short")
    assert session.notices == ["25P01"]


def test_a_lock_that_was_refused_is_not_warned_of(connect, session):
    holder = connect()
    holder.execute("SELECT pg_advisory_lock(%s)", [name_key("short")])
    assert session.execute(CALLS[0]).fetchone() == (False,)
    with pytest.raises(psycopg.errors.LockNotAvailable):
        session.execute("SELECT lock_keys('{short}', timeout => '1ms')")
    assert session.notices == []
    holder.execute("SELECT pg_advisory_unlock_all()")
    session.execute(CALLS[0])
    assert session.notices == ["25P01"]


@pytest.mark.parametrize("statement", ["SELECT lock_keys(%s)", "CALL acquire_keys(%s)"])
def test_the_first_statement_of_a_pipeline_is_not_warned_of(session, statement):
    """There is no transaction block in it, yet the transaction goes on with the next statement."""
    with session.pipeline():
        session.execute(statement, [["short"]])
        held = session.execute("SELECT holds_keys(%s)", [["short"]])
    assert held.fetchone() == (True,)
    assert session.notices == []


def test_the_next_transaction_is_not_taken_for_the_one_that_locked(session):
    """What a pipeline has noted is forgotten when it ends."""
    with session.pipeline():
        session.execute("SELECT lock_keys(%s)", [["short"]])
        session.execute("SELECT 1")
    session.execute("SELECT 1")
    assert session.notices == []


def test_an_error_after_the_lock_leaves_nothing_noted(session):
    with pytest.raises(psycopg.errors.DivisionByZero):
        session.execute("SELECT try_lock_keys('{short}') AND 1 / (SELECT count(*) FROM pg_class WHERE false) = 1")
    session.execute("SELECT 1")
    assert session.notices == []


def test_it_can_be_switched_off_by_anybody(session, connect):
    connect().execute("DROP ROLE IF EXISTS regress_ak_quiet; CREATE ROLE regress_ak_quiet")
    session.execute("SET ROLE regress_ak_quiet")
    session.execute("SET advisory_keys.warn_short_locks = off")
    session.execute(CALLS[0])
    assert session.notices == []
    session.execute("RESET advisory_keys.warn_short_locks")
    session.execute(CALLS[0])
    assert session.notices == ["25P01"]
    session.execute("RESET ROLE")
    session.execute("DROP ROLE regress_ak_quiet")
