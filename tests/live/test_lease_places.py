"""What docs/where-it-runs.md says of leases behind poolers and after failovers."""

import contextlib

import psycopg
import pytest

from leases import install_leases
from pooler import Pooler
from scene import Background, pid_of, scratch_database, wait_until
from server import Server

KEY = ["where", "it", "runs"]
TAKE = "SELECT advisory_leases.try_lease_key(%s, '1 min')"
RENEW = "SELECT advisory_leases.renew_lease_key(%s, %s, '1 min')"
HOLDS = "SELECT advisory_leases.holds_lease_key(%s, %s)"
RELEASE = "SELECT advisory_leases.release_lease_key(%s, %s)"
FENCE = "SELECT advisory_leases.fence_lease_key(%s, %s)"


def one(db, query, *arguments):
    return db.execute(query, arguments).fetchone()[0]


@pytest.mark.parametrize("pool_mode", ["transaction", "statement"])
def test_behind_a_pooler(pool_mode):
    """Clients that share a server connection, and one lease that goes from connection to connection."""
    with scratch_database("pooled", install=install_leases) as name, contextlib.ExitStack() as stack:
        pooler = Pooler(name, 2, pool_mode=pool_mode)
        stack.callback(pooler.end)
        first, second = (stack.enter_context(contextlib.closing(pooler.connect())) for _ in range(2))
        token = one(first, TAKE, KEY)
        for _ in range(10):
            assert one(second, TAKE, KEY) is None and one(first, RENEW, KEY, token) is True
        first.close()
        assert one(second, HOLDS, KEY, token) is True
        if pool_mode == "transaction":
            with second.transaction():
                second.execute(FENCE, [KEY, token])
                assert one(second, RELEASE, KEY, token) is True
        else:
            with pytest.raises(psycopg.Error), second.transaction():
                second.execute(FENCE, [KEY, token])
            second = stack.enter_context(contextlib.closing(pooler.connect()))
            assert one(second, RELEASE, KEY, token) is True
        assert one(second, TAKE, KEY) > token


@pytest.fixture
def primary():
    with Server(install=install_leases, max_wal_senders=5, wal_level="replica") as server:
        yield server


@pytest.mark.parametrize("synchronous_commit", ["off", "local", "on", "remote_apply"])
def test_failover_to_a_synchronous_standby(primary, synchronous_commit):
    """Whatever the session says, a grant waits for the standby; so it is there."""
    with primary.standby() as standby:
        with primary.connect() as db, primary.connect(options=f"-c synchronous_commit={synchronous_commit}") as client:
            db.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            db.execute("SELECT pg_reload_conf()")
            wait_until(lambda: one(db, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"), "it is synchronous")
            token = one(client, TAKE, KEY)
            standby.stop("fast")
            for call, arguments in ((TAKE, [["another"]]), (RENEW, [KEY, token])):
                with primary.connect(options=f"-c synchronous_commit={synchronous_commit}") as asker:
                    waiting = Background(asker, call, arguments)
                    wait_until(lambda: one(db, "SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE pid = %s", pid_of(asker)), "it waits")
                    one(db, "SELECT pg_terminate_backend(%s)", pid_of(asker))
                    with pytest.raises(psycopg.OperationalError):
                        waiting.result()
            primary.stop()
            standby.start()
            standby.promote()
            with standby.connect() as after:
                assert one(after, HOLDS, KEY, token) is True and one(after, TAKE, KEY) is None
                assert one(after, RELEASE, KEY, token) is True and one(after, TAKE, KEY) > token


def test_failover_to_an_asynchronous_standby_loses_leases_and_tokens_grow(primary):
    with primary.standby() as standby:
        with primary.connect() as db:
            with standby.connect() as reader:
                standby.wait_until_replayed(primary)
                reader.execute("ALTER SYSTEM SET primary_conninfo = ''")  # from here on it receives nothing
                reader.execute("SELECT pg_reload_conf()")
                wait_until(lambda: one(reader, "SELECT count(*) FROM pg_stat_wal_receiver") == 0, "the network is gone")
            token = one(db, TAKE, KEY)
            standby.promote()
            with standby.connect() as after:
                newer = one(after, TAKE, KEY)
                assert newer > token, "two hold it, and who is written to can tell which is the later"
                # The old one runs on beside it, and grants its own.
                assert one(db, RENEW, KEY, token) is True
                assert one(db, TAKE, ["another"]) < one(after, TAKE, ["another"])
