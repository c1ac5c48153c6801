"""Several statements in one message: statement_timeout counts for each of them."""

import time

import psycopg
import pytest

from scene import Background, held_keys, name_key, pid_of, wait_until_waiting
from test_races import stopped

NAME = ["message", "1"]


@pytest.fixture
def waiter(connect):
    """A session with a statement_timeout that waits for NAME in vain."""
    holder, waiter = connect(), connect()
    holder.execute("SELECT lock_keys(%s, session => true)", [NAME])
    waiter.execute("SET statement_timeout = '500ms'")
    return waiter


@pytest.mark.parametrize("session", ["false", "true"])
def test_what_went_before_in_the_message_does_not_count(waiter, session):
    """Of the three, none takes as long as the timeout."""
    result = waiter.execute(
        f"SELECT pg_sleep(0.3); SELECT pg_sleep(0.3); SELECT try_lock_keys('{{message,1}}', timeout => '50ms', session => {session})")
    while result.nextset():
        pass
    assert result.fetchone() == (False,)


@pytest.mark.parametrize("message", ["SELECT {};", "SELECT pg_sleep(0.01); SELECT {}"])
def test_the_statement_itself_counts(waiter, message):
    with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
        waiter.execute(message.format("pg_sleep(0.2), try_lock_keys('{message,1}', timeout => '10s')"))
    assert held_keys(waiter, pid_of(waiter)) == []


def test_what_the_statement_did_before_the_call_counts(connect, waiter):
    """Both timers fire while the backend is stopped, and core serves only one of them: counted from the call, the
    statement would have time left."""
    waiter.execute("SET statement_timeout = '700ms'")
    call = Background(waiter, "SELECT pg_sleep(0.5), try_lock_keys('{message,1}', timeout => '100ms')")
    wait_until_waiting(connect(), pid_of(waiter))
    with stopped(pid_of(waiter)):
        time.sleep(0.3)
    with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
        call.result()


def test_the_locks_of_a_message_end_with_it(waiter):
    result = waiter.execute("SELECT lock_keys('{message,2}'); SELECT holds_keys('{message,2}')")
    result.nextset()
    assert result.fetchone() == (True,)
    assert (name_key("message", "2"), "ExclusiveLock") not in held_keys(waiter, pid_of(waiter))
