"""What the tests of slots do with sessions."""

from scene import Background, pid_of, wait_until

HELPERS = "SELECT objsubid, mode, granted, pid FROM pg_locks WHERE locktype = 'advisory' AND objsubid > 2"
"""The locks that stand behind a wait for a slot."""


def hold(session, name, slots, level="transaction"):
    """Takes a slot that must be free; in a transaction block that stays open, unless it is one of the session."""
    if level == "transaction":
        session.execute("BEGIN")
    statement = f"SELECT try_lock_slot(%s, %s, session => {level == 'session'})"
    assert session.execute(statement, [name, slots]).fetchone() == (True,)


def wait_until_queued(observer, pid):
    """Until the view shows that the backend waits."""
    wait_until(
        lambda: observer.execute(
            "SELECT EXISTS (SELECT FROM advisory_locks WHERE pid = %s AND NOT granted)", [pid]).fetchone()[0],
        f"backend {pid} waits for a slot")


def waiting(observer, session, name, slots, options="", block=True):
    """A call of lock_slot that has begun to wait."""
    if block:
        session.execute("BEGIN")
    call = Background(session, f"SELECT lock_slot(%s, %s{options})", [name, slots])
    wait_until_queued(observer, pid_of(session))
    return call


def assert_nothing_left(observer, *sessions):
    """No lock of these sessions, and nothing that stands behind slots."""
    wait_until(lambda: observer.execute(HELPERS).fetchall() == [], "the locks behind slots are gone")
    held = observer.execute(
        "SELECT pid, mode FROM pg_locks WHERE locktype = 'advisory' AND pid = ANY(%s)", [[pid_of(s) for s in sessions]])
    assert held.fetchall() == []
