"""Leases where a server ends: crashes, a standby, its promotion, and a commit that no standby has confirmed."""

import psycopg
import pytest

from leases import CALLS, fence, holds, install_both, release, renew, take
from scene import Background, connections, pid_of, wait_until
from server import Server

HELD, SHORT = ["held"], ["short"]


@pytest.fixture
def primary():
    with Server(install=install_both, max_wal_senders=5, wal_level="replica") as server:
        yield server


@pytest.fixture
def standby(primary):
    with primary.standby() as standby:
        yield standby


def test_what_was_granted_survives_a_crash_whatever_the_session_prefers(primary):
    granted = []
    with primary.connect() as db:
        # Nothing else writes the WAL out in time.
        db.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        db.execute("SELECT pg_reload_conf()")
    with primary.connect() as db:
        db.execute("SET synchronous_commit = off")
        granted = [take(db, ["crash", str(i)]) for i in range(10)]
        assert renew(db, ["crash", "9"], granted[9], "10 hours")
        primary.crash_by_killing(pid_of(db))
    with primary.connect() as db:
        assert all(holds(db, ["crash", str(i)], token) for i, token in enumerate(granted))
        lasts = "SELECT expires_at - clock_timestamp() > '9 hours' FROM advisory_leases.leases WHERE name = 'crash-9'"
        assert db.execute(lasts).fetchone() == (True,)
        assert release(db, ["crash", "0"], granted[0]) and take(db, ["crash", "0"]) > max(granted)


def test_a_standby_shows_leases_and_changes_none_and_its_promotion_begins_an_epoch(primary, standby):
    with primary.connect() as db:
        token, short = take(db, HELD), take(db, SHORT, "1 ms")
    standby.wait_until_replayed(primary)
    with standby.connect() as db:
        assert holds(db, HELD, token) and not holds(db, SHORT, short)
        assert db.execute("SELECT token, expired FROM advisory_leases.leases ORDER BY name").fetchall() == [(token, False), (short, True)]
        for function in (take, *(call for call in CALLS if call is not holds)):
            arguments = [SHORT] if function is take else [HELD, token]
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction) as error:
                function(db, *arguments)
            assert error.value.diag.message_detail == "The server is a standby."
    standby.promote()
    with standby.connect() as db:
        assert take(db, HELD) is None and renew(db, HELD, token)
        fence(db, HELD, token)
        successor = take(db, SHORT)
        assert (short >> 44, successor >> 44) == (1, 2) and successor > short
        assert take(db, ["new"]) >> 44 == 2
        assert db.execute("SELECT epoch, timeline FROM advisory_leases.epoch ORDER BY epoch").fetchall() == [(1, 1), (2, 2)]


def test_tokens_grow_over_a_chain_of_failovers(primary):
    """Also of names whose rows the standby has never seen."""
    tokens, server = [], primary
    with connections(lambda server: server.connect()) as connect:
        for _ in range(3):
            follower = server.standby()
            tokens.append(take(connect(server), SHORT, "1 ms"))
            follower.stop("fast")
            server.stop("immediate")
            follower.start()
            follower.promote()
            if server is not primary:
                server.remove()
            server = follower
        tokens.append(take(connect(server), SHORT))
        server.remove()
    assert [token >> 44 for token in tokens] == [1, 2, 3, 4]


@pytest.fixture
def alone():
    """A server that waits for a standby that does not come, unless a session says that it need not: as all do here."""
    with Server(install=install_both, synchronous_standby_names="nobody", synchronous_commit="local") as server:
        yield server


def test_a_wait_for_a_standby_that_is_cancelled_is_a_warning_with_the_token(alone):
    """Then the lease is there on this server alone: it counts as not granted."""
    with alone.connect() as db, alone.connect() as other:
        warnings = []
        db.add_notice_handler(lambda notice: warnings.append((notice.severity, notice.message_primary)))
        taking = Background(db, "SELECT advisory_leases.try_lease_key(%s, '1 hour')", [HELD])
        waits = "SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE pid = %s"
        wait_until(lambda: other.execute(waits, [pid_of(db)]).fetchone()[0], "the commit waits")
        other.execute("SELECT pg_cancel_backend(%s)", [pid_of(db)])
        assert taking.result()
        assert warnings == [("WARNING", "canceling wait for synchronous replication due to user request")]
