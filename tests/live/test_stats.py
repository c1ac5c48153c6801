"""`advisory_lock_stats`: what is counted, for how long, and who sees it."""

import psycopg
import pytest

from scene import MAJOR, answer, connections, native_only, scratch_database
from server import MODES, Server, connect, server_fixture  # noqa: F401, a fixture
from stats import counts, kind  # noqa: F401, a fixture

pytestmark = native_only("statistics need shared memory")

server = server_fixture(MODES)


@pytest.mark.parametrize("options", ["", ", session => true", ", shared => true", ", timeout => '5s'"])
@pytest.mark.parametrize("function", ["lock_keys", "try_lock_keys", "acquire_keys"])
def test_each_lock_that_is_granted_counts(connect, kind, function, options):
    db = connect()
    assert counts(db, kind) is None
    call = f"{'CALL' if function == 'acquire_keys' else 'SELECT'} {function}(%s{options})"
    for names in ([kind, "1"], [kind, "1"], [[kind, "1"], [kind, "2"], [kind, "2"], [f"{kind} too", "3"]]):
        db.execute(call, [names])
    assert counts(db, kind) == {"locks": 4}
    assert counts(db, f"{kind} too") == {"locks": 1}


def test_slots_and_claims_count(connect, kind):
    db, other = connect(), connect()
    db.execute("SELECT lock_slot(%s, 1, session => true)", [[kind, "slot"]])
    assert other.execute("SELECT try_lock_slot(%s, 1)", [[kind, "slot"]]).fetchone() == (False,)
    assert counts(db, kind) == {"locks": 1, "refused": 1}
    claim = "SELECT claim_keys(%s, wanted => 2, session => true)"
    jobs = [[kind, "1"], [kind, "2"], [kind, "3"]]
    assert db.execute(claim, [jobs]).fetchone() == ([1, 2],)
    assert other.execute(claim, [jobs]).fetchone() == ([3],)
    assert other.execute(claim, [jobs]).fetchone() == ([],)
    assert counts(db, kind) == {"locks": 4, "refused": 2}


def test_a_claim_that_fails_does_not_count(connect, kind):
    db = connect()
    db.execute("SET advisory_keys.max_keys_per_session = 2")
    with pytest.raises(psycopg.errors.ProgramLimitExceeded):
        db.execute("SELECT claim_keys(%s, wanted => 3)", [[[kind, "1"], [kind, "2"], [kind, "3"]]])
    assert counts(db, kind) is None


def test_what_was_given_back_does_not_count_as_granted(connect, kind):
    db, other = connect(), connect()
    other.execute("SELECT lock_keys(%s, session => true)", [[f"{kind} b", "x"]])
    names = [[f"{kind} a", "x"], [f"{kind} b", "x"], [f"{kind} c", "x"]]
    assert db.execute("SELECT try_lock_keys(%s)", [names]).fetchone() == (False,)
    assert counts(db, f"{kind} a") is None and counts(db, f"{kind} c") is None
    assert counts(db, f"{kind} b") == {"locks": 1, "refused": 1}


def test_first_parts_are_told_apart(connect, kind):
    db = connect()
    long = [kind + "x" * 300 + end for end in ("a", "b")]
    for first in ("", "Ä" * 90, *long, *long):
        db.execute("SELECT lock_keys(%s)", [[first, kind]])
    shown = "SELECT locks FROM advisory_lock_stats WHERE first_part LIKE %s"
    assert db.execute(shown, ["ÄÄ%Ä..."]).fetchall() == [(1,)]
    assert db.execute(shown, [f"{kind}xx%x..."]).fetchall() == [(2,), (2,)]
    assert db.execute(shown, [""]).fetchone()[0] >= 1


def test_nothing_is_counted_when_switched_off(connect, kind):
    db, other = connect(), connect()
    db.execute("SET advisory_keys.track_stats = off")
    db.execute("SELECT lock_keys(%s, session => true)", [[kind]])
    other.execute("SET advisory_keys.track_stats = off")
    assert other.execute("SELECT try_lock_keys(%s)", [[kind]]).fetchone() == (False,)
    assert other.execute("SELECT try_lock_keys(%s, timeout => '10ms')", [[kind]]).fetchone() == (False,)
    assert counts(db, kind) is None


def test_each_database_has_its_own(server, connect, kind):
    db = connect()
    db.execute("SELECT lock_keys(%s)", [[kind]])
    with scratch_database("stats", admin=db) as name, connections(server.connect) as connect_there:
        other = connect_there(dbname=name)
        assert other.execute("SELECT count(*) FROM advisory_lock_stats").fetchone() == (0,)
        other.execute("SELECT lock_keys(%s)", [[[kind, "1"], [kind, "2"]]])
        assert (counts(db, kind), counts(other, kind)) == ({"locks": 1}, {"locks": 2})
        other.execute("SELECT advisory_lock_stats_reset()")
        assert (counts(db, kind), counts(other, kind)) == ({"locks": 1}, None)


def test_a_reset_begins_anew(connect, kind):
    db, since = connect(), "SELECT stats_reset FROM advisory_lock_stats WHERE first_part = %s"
    db.execute("SELECT lock_keys(%s)", [[kind]])
    (before,) = db.execute(since, [kind]).fetchone()
    (now,) = db.execute("SELECT clock_timestamp() FROM advisory_lock_stats_reset()").fetchone()
    assert before < now and counts(db, kind) is None
    db.execute("SELECT lock_keys(%s)", [[kind]])
    assert counts(db, kind) == {"locks": 1}
    assert db.execute(since, [kind]).fetchone()[0] >= now


def test_who_sees_it_and_who_may_reset_it(connect, kind):
    db = connect()
    db.execute("SELECT lock_keys(%s)", [[kind]])
    for role in ("regress_nobody", "regress_monitor", "regress_keeper"):
        db.execute(f"CREATE ROLE {role}")
    db.execute("GRANT pg_read_all_stats TO regress_monitor")
    db.execute("GRANT EXECUTE ON FUNCTION advisory_lock_stats_reset TO regress_keeper")
    try:
        seen = {}
        for role in ("regress_nobody", "regress_monitor", "regress_keeper"):
            db.execute(f"SET ROLE {role}")
            seen[role] = counts(db, kind)
            if role != "regress_keeper":
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    db.execute("SELECT advisory_lock_stats_reset()")
            (evictions,) = db.execute("SELECT advisory_lock_stats_evictions()").fetchone()
            assert (evictions is not None) == (role == "regress_monitor")
            db.execute("RESET ROLE")
        assert seen == {"regress_nobody": None, "regress_monitor": {"locks": 1}, "regress_keeper": None}
        db.execute("SET advisory_keys.show_keys = off")
        assert db.execute("SELECT count(*), count(first_part) FROM advisory_lock_stats WHERE locks > 0").fetchone()[1] == 0
        db.execute("SET ROLE regress_keeper")
        db.execute("SELECT advisory_lock_stats_reset()")
        db.execute("RESET ROLE")
        db.execute("RESET advisory_keys.show_keys")
        assert counts(db, kind) is None
    finally:
        db.execute("DROP OWNED BY regress_keeper")
        for role in ("regress_nobody", "regress_monitor", "regress_keeper"):
            db.execute(f"DROP ROLE {role}")


def test_a_restart_begins_anew(server, kind):
    with server.connect() as db:
        db.execute("SELECT lock_keys(%s)", [[kind]])
        assert counts(db, kind) == {"locks": 1}
    server.stop("fast")
    server.start()
    with server.connect() as db:
        assert db.execute("SELECT count(*) FROM advisory_lock_stats").fetchone() == (0,)
        assert db.execute("SELECT advisory_lock_stats_evictions()").fetchone() == (0,)


@pytest.mark.skipif(MAJOR >= 17, reason="there is shared memory without preload")
def test_without_shared_memory_there_are_none(kind):
    with Server() as server:
        with server.connect() as db:
            db.execute("SELECT lock_keys(%s)", [[kind]])
            assert db.execute("SELECT count(*) FROM advisory_lock_stats").fetchone() == (0,)
            assert answer(db.execute("SELECT advisory_lock_stats_evictions()")) is None
            heard = []
            db.add_notice_handler(lambda notice: heard.append(notice.message_primary))
            db.execute("SELECT advisory_lock_stats_reset()")
            assert heard == ["this session has no statistics of advisory locks to reset"]
            assert db.execute("SHOW advisory_keys.max_stats").fetchone() == ("1000",)


def test_the_size_cannot_be_changed_in_a_session(connect):
    with pytest.raises(psycopg.errors.CantChangeRuntimeParam):
        connect().execute("SELECT lock_keys('{a}'); SET advisory_keys.max_stats = 5")
