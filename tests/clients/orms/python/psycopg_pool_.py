import logging

import psycopg
import psycopg_pool

from scene import PARTS, answer, check, error_of, is_free, wait_until

# It warns when it throws connections away.
logging.disable()


def open_pool(**options):
    return psycopg_pool.ConnectionPool(min_size=1, max_size=1, open=True, **options)


pool = open_pool()


def execute(statement, pool=pool):
    with pool.connection() as connection:
        return connection.execute(statement, [PARTS]).fetchone()[0], connection.info.backend_pid


facts = check(
    version=psycopg_pool.__version__,
    names={"pool": pool},
    refuse=lambda: execute("SELECT lock_keys(%s, timeout => '0')"),
    lock=lambda: execute("SELECT lock_keys(%s, session => true)"),
    unlock=lambda: execute("SELECT release_keys(%s)"),
)
pool.close()


def unlock_all(connection):
    connection.execute("SELECT pg_advisory_unlock_all()")
    connection.commit()


def discard_all(connection):
    connection.autocommit = True
    connection.execute("DISCARD ALL")
    connection.autocommit = False


def lock_often(reset):
    """On the one connection of a pool, which releases the lock on each return."""
    with open_pool(reset=reset) as pool:
        pids = set()
        for _ in range(20):
            pids.add(execute("SELECT lock_keys(%s, session => true)", pool)[1])
            wait_until(is_free)
        assert len(pids) == 1


lock_often(unlock_all)
# That takes away what the driver has prepared.
assert isinstance(error_of(lambda: lock_often(discard_all)), psycopg.errors.InvalidSqlStatementName)
answer(facts)
