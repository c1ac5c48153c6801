"""Deadlocks, and the names that stand in reports about a wait: to the client and in the server log."""

import psycopg
import pytest

from scene import (
    PORTABLE, Background, held_keys, name_key, native_only, own_context, pid_of, statement_of, unique, wait_until_waiting,
)
from server_log import server_log  # noqa: F401, a fixture

levels = pytest.mark.parametrize("level", ["transaction", "session"])
functions = pytest.mark.parametrize("function", ["try_lock_keys", "lock_keys", "acquire_keys"])
timeouts = pytest.mark.parametrize("timeout", ["NULL", "'60s'"])
names_in_context = native_only("PL/pgSQL adds no context to an error that it did not raise")


@pytest.fixture
def name():
    """A name that no other test writes to the log."""
    return unique("log")


def context_line(name):
    return f'while locking advisory key "{"-".join(name)}" ({name_key(*name)})'


def deadlock(connect, function, level, timeout, first, second):
    """Two sessions hold one name each and wait for the other's. The victim is certain: only it looks
    for deadlocks soon. Returns (the victim, its call, the other session, its call)."""
    victim, other = connect(), connect()
    victim.execute("SET deadlock_timeout = '10ms'")
    other.execute("SET deadlock_timeout = '1h'")
    for session, name in ((victim, first), (other, second)):
        session.execute("BEGIN")
        session.execute(f"SELECT lock_keys(%s, session => {level == 'session'})", [name])
    statement = statement_of(function, f"%s, timeout => {timeout}, session => {level == 'session'}")
    others_call = Background(other, f"{statement} /* the other */", [first])
    wait_until_waiting(connect(), pid_of(other))
    victims_call = Background(victim, f"{statement} /* the victim */", [second])
    return victim, victims_call, other, others_call


@levels
@functions
@timeouts
def test_the_victim_gets_an_error_and_the_other_the_lock(connect, level, function, timeout):
    names = [["deadlock", "1"], ["deadlock", "2"]]
    victim, victims_call, other, others_call = deadlock(connect, function, level, timeout, *names)
    with pytest.raises(psycopg.errors.DeadlockDetected) as error:
        victims_call.result()
    if not PORTABLE:
        assert own_context(error.value.diag.context).startswith(context_line(names[1]))

    victim.execute("ROLLBACK")
    if level == "session":
        # What was held before the call that failed is still held, and only that.
        assert victim.execute("SELECT unlock_keys(%s)", [names[0]]).fetchone() == (True,)
    assert others_call.result() == (True if function == "try_lock_keys" else "")
    assert held_keys(victim, pid_of(victim)) == []
    assert held_keys(victim, pid_of(other)) == sorted((name_key(*name), "ExclusiveLock") for name in names)


@names_in_context
@functions
@timeouts
def test_the_log_keeps_both_queries_of_a_deadlock_and_names_the_key(connect, server_log, name, function, timeout):
    victim, victims_call, other, others_call = deadlock(
        connect, function, "transaction", timeout, ["deadlock", "1"], name
    )
    with pytest.raises(psycopg.errors.DeadlockDetected):
        victims_call.result()
    report = server_log.report("ERROR:  deadlock detected")
    facts, _, context = report.partition("CONTEXT:")
    verb = statement_of(function, "").removesuffix("()")
    assert f"Process {pid_of(victim)}: {verb}" in facts and "/* the victim */" in facts
    assert f"Process {pid_of(other)}: {verb}" in facts and "/* the other */" in facts
    assert context_line(name) in context
    victim.execute("ROLLBACK")
    others_call.result()


def wait_in_vain(connect, name, prepare_waiter, statement, end_wait=None):
    """Makes a session wait for a name that is held all the time; returns its error."""
    observer, holder, waiter = connect(), connect(), connect()
    holder.execute("SELECT lock_keys(%s, session => true)", [name])
    for setting in prepare_waiter:
        waiter.execute(f"SET {setting}")
    call = Background(waiter, statement, [name])
    if end_wait:
        wait_until_waiting(observer, pid_of(waiter))
        observer.execute(end_wait, [pid_of(waiter)])
    with pytest.raises(psycopg.Error) as error:
        call.result()
    return error.value


@names_in_context
@functions
@timeouts
def test_a_logged_wait_names_the_key(connect, server_log, name, function, timeout):
    settings = ["log_lock_waits = on", "deadlock_timeout = '10ms'", "statement_timeout = '500ms'"]
    wait_in_vain(connect, name, settings, statement_of(function, f"%s, timeout => {timeout}"))
    report = server_log.report("still waiting for ExclusiveLock on advisory lock")
    assert f"CONTEXT:  {context_line(name)}" in report


@names_in_context
@functions
@timeouts
def test_a_cancel_names_the_key(connect, server_log, name, function, timeout):
    error = wait_in_vain(
        connect, name, [], statement_of(function, f"%s, timeout => {timeout}"), "SELECT pg_cancel_backend(%s)"
    )
    assert error.sqlstate == "57014"
    assert own_context(error.diag.context).startswith(context_line(name))
    assert context_line(name) in server_log.report("canceling statement due to user request")


@names_in_context
@functions
@timeouts
def test_statement_timeout_names_the_key(connect, server_log, name, function, timeout):
    error = wait_in_vain(
        connect, name, ["statement_timeout = '100ms'"], statement_of(function, f"%s, timeout => {timeout}")
    )
    assert error.sqlstate == "57014"
    assert own_context(error.diag.context).startswith(context_line(name))
    assert context_line(name) in server_log.report("canceling statement due to statement timeout")


@names_in_context
def test_termination_names_the_key_in_the_log(connect, server_log, name):
    wait_in_vain(connect, name, [], "SELECT lock_keys(%s)", "SELECT pg_terminate_backend(%s)")
    assert context_line(name) in server_log.report("terminating connection due to administrator command")


@names_in_context
def test_the_failing_key_of_several_is_named_and_the_callers_of_the_function_too(connect, name):
    free = ["free", name[1]]
    waiter, holder = connect(), connect()
    holder.execute("SELECT lock_keys(%s, session => true)", [name])
    waiter.execute("SET statement_timeout = '100ms'")
    waiter.execute(f"SET test.names = '{{{{free,{name[1]}}},{{log,{name[1]}}}}}'")
    with pytest.raises(psycopg.errors.QueryCanceled) as error:
        waiter.execute("DO $$ BEGIN PERFORM lock_keys(current_setting('test.names')::text[]); END $$")
    lines = own_context(error.value.diag.context).splitlines()
    assert lines[0] == context_line(name)
    assert any(line.startswith("PL/pgSQL function inline_code_block") for line in lines)
    assert "-".join(free) not in error.value.diag.context


@names_in_context
@pytest.mark.parametrize("ended_by", ["statement_timeout", "cancel", "timeout"])
def test_without_show_keys_only_the_integer_is_shown(connect, server_log, name, ended_by):
    settings = ["advisory_keys.show_keys = off", "log_lock_waits = on", "deadlock_timeout = '10ms'"]
    end_wait, timeout = None, "NULL"
    if ended_by == "statement_timeout":
        settings.append("statement_timeout = '200ms'")
    elif ended_by == "cancel":
        end_wait = "SELECT pg_cancel_backend(%s)"
    else:
        timeout = "'200ms'"
    error = wait_in_vain(connect, name, settings, f"SELECT lock_keys(%s, timeout => {timeout})", end_wait)
    # A short wait need not be logged before it is cancelled.
    if ended_by != "cancel":
        report = server_log.report("still waiting for ExclusiveLock on advisory lock")
        assert f"CONTEXT:  while locking advisory key {name_key(*name)}\n" in report
    if ended_by == "timeout":
        assert error.diag.message_detail.startswith(f"Key {name_key(*name)} is held by")
    else:
        assert own_context(error.diag.context).splitlines()[0] == f"while locking advisory key {name_key(*name)}"
    assert name[1] not in str(error) + str(error.diag.context) + str(error.diag.message_detail)
    assert name[1] not in server_log.text()


@levels
def test_many_keys_in_any_order_never_deadlock(connect, level):
    """Both sessions begin at once, and loop in the server to meet as often as they can."""
    session = level == "session"
    gate, forward, backward = connect(), connect(), connect()
    gate.execute("""
        CREATE OR REPLACE PROCEDURE lock_often(names text[], session boolean, INOUT times int)
        LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM lock_keys('{gate}', shared => true);
            COMMIT;
            FOR i IN 1 .. times LOOP
                PERFORM lock_keys(names, session => session);
                IF session THEN
                    PERFORM unlock_keys(names);
                END IF;
                COMMIT;
            END LOOP;
        END $$""")
    gate.execute("SELECT lock_keys('{gate}', session => true)")
    calls = []
    for connection, names in ((forward, [["a"], ["b"]]), (backward, [["b"], ["a"]])):
        connection.execute("SET deadlock_timeout = '1ms'")
        calls.append(Background(connection, "CALL lock_often(%s, %s, 1000)", [names, session]))
        wait_until_waiting(gate, pid_of(connection))
    gate.execute("SELECT unlock_keys('{gate}')")
    assert [call.result() for call in calls] == [1000, 1000]
    assert held_keys(gate, pid_of(forward)) == held_keys(gate, pid_of(backward)) == []
