"""Leases among sessions: who has one, who gets one next, and what a fence keeps away."""

import time

import psycopg
import pytest

from leases import connect, database, fence, holds, name, release, renew, take, wait_until_expired  # noqa: F401
from scene import Background, pid_of, wait_until_waiting

STRICTER = ["REPEATABLE READ", "SERIALIZABLE"]

NO_WAIT = 2
"""Seconds, on a busy machine, for what waits for 10 ms at the most."""


@pytest.fixture
def held(connect, name):
    """A session, and the token of a lease that it has just taken."""
    holder = connect()
    return holder, take(holder, name)


def test_it_outlives_its_connection(connect, name):
    holder = connect()
    token = take(holder, name, holder="host 1, run 7")
    holder.close()
    db = connect()
    assert take(db, name) is None
    # Who lost the answer finds the token by what it said about itself.
    assert db.execute("SELECT token FROM advisory_leases.leases WHERE holder = 'host 1, run 7'").fetchall() == [(token,)]
    assert renew(db, name, token) and release(db, name, token)
    assert take(db, name) > token


def test_it_is_taken_over_once_it_has_expired(connect, name):
    holder, other = connect(), connect()
    token = take(holder, name, "300 ms")
    assert take(other, name) is None
    wait_until_expired(other, name, token)
    # To its holder it is lost before anybody takes it.
    assert not renew(holder, name, token) and not release(holder, name, token)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="the lease is lost"):
        fence(holder, name, token)
    successor = take(other, name)
    assert successor > token
    assert not renew(holder, name, token) and not release(holder, name, token) and not holds(holder, name, token)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="the lease is lost"):
        fence(holder, name, token)
    assert holds(other, name, successor)


def test_what_is_renewed_in_time_is_not_taken_over(connect, held, name):
    holder, token = held
    other = connect()
    assert renew(holder, name, token, "100 ms") and renew(holder, name, token, "1 hour")
    time.sleep(0.15)
    assert take(other, name) is None and holds(holder, name, token)


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_a_new_name_is_refused_while_its_taker_is_open(connect, name, end):
    taker, other = connect(), connect()
    taker.execute("BEGIN")
    token = take(taker, name)
    begun = time.monotonic()
    assert take(other, name) is None
    assert time.monotonic() - begun < NO_WAIT
    assert not holds(other, name, token)
    taker.execute(end)
    assert holds(other, name, token) == (end == "COMMIT")
    assert (take(other, name) is None) == (end == "COMMIT")


def test_a_known_name_is_refused_while_its_taker_is_open(connect, name):
    taker, other = connect(), connect()
    wait_until_expired(other, name, take(taker, name, "1 ms"))
    taker.execute("BEGIN")
    take(taker, name)
    begun = time.monotonic()
    assert take(other, name) is None
    assert time.monotonic() - begun < NO_WAIT
    taker.execute("ROLLBACK")
    assert take(other, name)


def test_two_who_take_what_the_other_has_just_taken_do_not_wait_for_each_other(connect, name):
    one, two = connect(), connect()
    for db, own in ((one, "one"), (two, "two")):
        db.execute("BEGIN")
        assert take(db, [*name, own])
    answers = [Background(one, "SELECT advisory_leases.try_lease_key(%s, '1 hour')", [[*name, "two"]]),
               Background(two, "SELECT advisory_leases.try_lease_key(%s, '1 hour')", [[*name, "one"]])]
    assert [answer.result() for answer in answers] == [None, None]


def test_a_release_counts_from_its_commit(connect, held, name):
    holder, token = held
    other = connect()
    holder.execute("BEGIN")
    assert release(holder, name, token)
    assert take(other, name) is None and holds(other, name, token)
    holder.execute("COMMIT")
    assert take(other, name) > token


@pytest.mark.parametrize("change", [renew, release])
@pytest.mark.parametrize("attempt", [renew, release])
def test_an_uncommitted_change_by_another_session_is_an_error_and_soon(connect, held, name, change, attempt):
    holder, token = held
    other = connect()
    holder.execute("BEGIN")
    assert change(holder, name, token)
    begun = time.monotonic()
    with pytest.raises(psycopg.errors.LockNotAvailable) as error:
        attempt(other, name, token)
    assert time.monotonic() - begun < NO_WAIT
    assert error.value.diag.message_primary == f"could not {attempt.__name__} the lease"
    assert error.value.diag.message_detail and error.value.diag.message_hint
    holder.execute("ROLLBACK")
    assert attempt(other, name, token)


def test_who_waited_in_vain_keeps_no_lock_on_the_lease_of_another(connect, held, name):
    """The change that is waited for leaves a version of the row that the waiter locks before it sees that it is not its own any more."""
    holder, token = held
    late, other = connect(), connect()
    late.execute("BEGIN")
    for _ in range(100):
        holder.execute("BEGIN")
        assert release(holder, name, token)
        renewal = Background(late, "SELECT advisory_leases.renew_lease_key(%s, %s, '1 hour')", [name, token])
        try:
            wait_until_waiting(other, pid_of(late))
            holder.execute("COMMIT")
            assert renewal.result() is False
            break
        except (AssertionError, psycopg.errors.LockNotAvailable):
            # The wait of 10 ms was over, or not seen.
            with pytest.raises((psycopg.Error, AssertionError)):
                assert renewal.result() is False
            late.execute("ROLLBACK; BEGIN")
            holder.execute("COMMIT")
            token = take(holder, name)
    successor = take(other, name)
    assert successor > token
    assert renew(other, name, successor) and release(other, name, successor)


def test_a_fence_keeps_the_name_until_its_transaction_ends(connect, name):
    holder, other = connect(), connect()
    token = take(holder, name, "300 ms")
    holder.execute("BEGIN")
    fence(holder, name, token)
    wait_until_expired(other, name, token)
    begun = time.monotonic()
    assert take(other, name) is None
    assert time.monotonic() - begun < NO_WAIT
    holder.execute("COMMIT")
    assert take(other, name) > token


def test_nor_is_the_name_free_after_a_release_while_a_fence_is_open(connect, held, name):
    holder, token = held
    second, other = connect(), connect()
    for db in (holder, second):
        db.execute("BEGIN")
        fence(db, name, token)
    assert release(other, name, token)
    assert take(other, name) is None
    holder.execute("ROLLBACK")
    assert take(other, name) is None
    second.execute("COMMIT")
    assert take(other, name) > token


def test_a_fence_hinders_neither_renewal_nor_another_fence(connect, held, name):
    holder, token = held
    other = connect()
    holder.execute("BEGIN")
    fence(holder, name, token)
    assert renew(other, name, token)
    other.execute("BEGIN")
    fence(other, name, token)
    assert renew(other, name, token)
    # Not even an uncommitted renewal hinders it.
    fence(holder, name, token)


def test_a_prepared_transaction_fences_and_takes(connect, held, name):
    holder, token = held
    other, taken = connect(), [*name, "taken"]
    preparing = connect()
    # What the functions do must not make it one of the transactions that cannot be prepared.
    preparing.execute("LISTEN something")
    preparing.execute("BEGIN")
    fence(preparing, name, token)
    new = take(preparing, taken)
    preparing.execute(f"PREPARE TRANSACTION '{name[1]}'")
    assert release(holder, name, token)
    assert take(other, name) is None and take(other, taken) is None
    other.execute(f"COMMIT PREPARED '{name[1]}'")
    assert take(other, name) > token and holds(other, taken, new)


def test_a_rolled_back_savepoint_takes_its_fence_and_its_lease_along(connect, held, name):
    holder, token = held
    other, taken = connect(), [*name, "taken"]
    holder.execute("BEGIN; SAVEPOINT s")
    fence(holder, name, token)
    assert take(holder, taken)
    holder.execute("ROLLBACK TO s")
    assert release(other, name, token)
    assert take(other, name) > token and take(other, taken)


@pytest.mark.parametrize("isolation", STRICTER)
def test_in_stricter_isolation_what_changed_since_the_snapshot_is_an_error(connect, held, name, isolation):
    holder, token = held
    other = connect()

    def in_snapshot(between, call):
        with pytest.raises(psycopg.errors.SerializationFailure):
            with other.transaction():
                other.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
                other.execute("SELECT count(*) FROM advisory_leases.leases")
                between()
                call()

    in_snapshot(lambda: renew(holder, name, token), lambda: renew(other, name, token))
    in_snapshot(lambda: renew(holder, name, token), lambda: release(other, name, token))
    new = [*name, "new"]
    in_snapshot(lambda: take(holder, new), lambda: take(other, new))

    token = take(holder, [*name, "over"], "1 ms")
    wait_until_expired(holder, [*name, "over"], token)
    in_snapshot(lambda: take(holder, [*name, "over"]), lambda: take(other, [*name, "over"]))


@pytest.mark.parametrize("isolation", STRICTER)
def test_in_stricter_isolation_a_fence_sees_the_snapshot_and_keeps_the_name_or_is_an_error(connect, held, name, isolation):
    holder, token = held
    other, third = connect(), connect()

    def begin():
        other.execute(f"BEGIN ISOLATION LEVEL {isolation}")
        other.execute("SELECT count(*) FROM advisory_leases.leases")

    begin()
    assert renew(holder, name, token)
    fence(other, name, token)
    # The release after the snapshot is not seen, and takes nothing from the fence.
    assert release(holder, name, token)
    assert take(third, name) is None
    other.execute("ROLLBACK")
    token = take(holder, name)
    begin()
    assert release(holder, name, token)
    fence(other, name, token)
    assert take(third, name) is None
    other.execute("ROLLBACK")
    # With nobody in between, and with a release: what was taken over is lost.
    token = take(holder, name)
    begin()
    assert release(holder, name, token) and take(third, name) > token
    with pytest.raises(psycopg.errors.SerializationFailure):
        fence(other, name, token)
    other.execute("ROLLBACK")


@pytest.mark.parametrize("isolation", STRICTER)
def test_in_stricter_isolation_all_works_and_holds_is_as_of_the_snapshot(connect, held, name, isolation):
    holder, token = held
    other, own = connect(), [*name, "own"]
    other.execute(f"BEGIN ISOLATION LEVEL {isolation}")
    new = take(other, own)
    assert take(other, name) is None and holds(other, own, new) and renew(other, own, new)
    fence(other, own, new)
    assert release(holder, name, token)
    assert holds(other, name, token)
    other.execute("COMMIT")
    assert not holds(other, name, token) and holds(holder, own, new)
