"""A worker's error that the leader of a parallel query sees between the grant of a lock and the end of the
call: it is the worker's, also if its SQLSTATE is that of a timeout.

Up to Postgres 17 a waiter that was granted the lock takes a latch of the lock table once more before it goes
on. So a look at the lock table that is stopped in its middle keeps it there, for as long as this takes.
"""

import time
from contextlib import ExitStack

import psycopg
import pytest

from parallel import leader, query  # noqa: F401, a fixture
from scene import MAJOR, Background, held_keys, name_key, native_only, pid_of, stopped, wait_until_waiting

pytestmark = [
    native_only("its functions are PARALLEL UNSAFE: no query that calls them has workers"),
    pytest.mark.skipif(MAJOR >= 18, reason="there nothing comes between the grant and the end of the wait"),
]

NAME = ["after", "grant"]
KEY = name_key(*NAME)


@pytest.fixture
def looking(connect):
    """A session that looks at a large lock table all the time; most of that time it keeps others out."""
    holder, looker = connect(), connect()
    holder.execute("SELECT pg_advisory_lock(i) FROM generate_series(1, 6000) AS i")
    look = Background(looker, "DO $$ BEGIN LOOP PERFORM pg_lock_status() LIMIT 1; END LOOP; END $$")
    yield looker
    holder.execute("SELECT pg_cancel_backend(%s)", [pid_of(looker)])
    with pytest.raises(psycopg.errors.QueryCanceled):
        look.result()


def test_an_error_after_the_grant_is_the_workers(connect, leader, looking):  # noqa: F811
    observer = connect()
    leader.execute("""
        CREATE OR REPLACE FUNCTION pg_temp.fails(n int) RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS $$
        BEGIN
            IF n = 180 THEN
                PERFORM pg_sleep(0.7);
                RAISE 'worker says no' USING ERRCODE = '55P03';
            END IF;
            RETURN repeat('x', 250);
        END $$""")
    # Whether the look was stopped in the right moment cannot be seen from outside; mostly it is.
    for _ in range(5):
        holder = connect(autocommit=False)
        holder.execute("SELECT pg_advisory_xact_lock(%s)", [KEY])
        begun = time.monotonic()
        answer = Background(leader, query("try_lock_keys(%s, timeout => '60s')"), [NAME])
        wait_until_waiting(observer, pid_of(leader))
        with ExitStack() as look:
            with stopped(pid_of(leader)):
                holder.rollback()
                look.enter_context(stopped(pid_of(looking)))
            time.sleep(max(0, begun + 1 - time.monotonic()))
        with pytest.raises(psycopg.Error) as error:
            answer.result()
        assert (error.value.sqlstate, error.value.diag.message_primary) == ("55P03", "worker says no")
        assert held_keys(observer, pid_of(leader)) == []
