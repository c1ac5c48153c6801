"""The queries of docs/who-holds-my-lock.md, taken from that page, against sessions that hold and wait."""

import pathlib
import re

import psycopg
import pytest

from scene import Background, name_key, native_only, pid_of, wait_until, wait_until_waiting
from server import Server

pytestmark = native_only("names need shared memory")

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "who-holds-my-lock.md"
QUERIES = dict(re.findall(r"### (.+?)\n.*?```sql\n(.+?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))

ORDER = ["order", "42"]
"""The name that the page asks for."""


@pytest.fixture(scope="module")
def server():
    with Server(shared_preload_libraries="advisory_keys", deadlock_timeout="20ms") as server:
        with server.connect() as db:
            for role, rest in {"clerk": "", "guard": "IN ROLE pg_signal_backend", "visitor": ""}.items():
                db.execute(f"CREATE ROLE {role} LOGIN {rest}")
        yield server


class Scene:
    """A clerk holds the order in an open transaction, a worker waits for it, a job holds a lock at
    session level, and an on-call person looks."""

    def __init__(self, server):
        self.clerk = server.connect(application_name="clerk", user="clerk")
        self.worker = server.connect(application_name="worker")
        self.job = server.connect(application_name="job")
        self.on_call = server.connect(application_name="on-call")
        self.job.execute("SELECT lock_keys(ARRAY['job', 'nightly'], session => true)")
        self.clerk.execute("BEGIN")
        self.clerk.execute("SELECT lock_keys(%s)", [ORDER])
        self.waiting = Background(self.worker, "SELECT try_lock_keys(%s, timeout => '1h')", [ORDER])
        wait_until_waiting(self.on_call, pid_of(self.worker))

    def ask(self, title, db=None):
        """The rows of a query of the page, as dictionaries; asked by the person on call unless somebody else does."""
        cursor = (db or self.on_call).execute(QUERIES[title])
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row)) for row in cursor]

    def close(self):
        # With the clerk the lock is free. A connection must not be closed while a thread waits on it.
        self.clerk.close()
        self.waiting.result()
        for connection in (self.worker, self.job, self.on_call):
            connection.close()


@pytest.fixture
def scene(server):
    scene = Scene(server)
    yield scene
    scene.close()


def test_the_page_has_its_seven_queries():
    assert list(QUERIES) == [
        "Who holds this name?", "Who waits, since when, and for whom?", "Which locks are held longest?",
        "Which locks are fought over?", "Who holds locks and does nothing?", "End a holder", "Which name is that in the log?",
    ]


def test_who_holds_this_name(scene):
    (row,) = scene.ask("Who holds this name?")
    assert (row["pid"], row["mode"]) == (pid_of(scene.clerk), "exclusive")
    assert (row["application_name"], row["state"]) == ("clerk", "idle in transaction")
    assert "lock_keys" in row["query"]


def test_who_waits_and_for_whom(scene):
    (row,) = scene.ask("Who waits, since when, and for whom?")
    assert (row["name"], row["key"], row["pid"]) == ("order-42", name_key(*ORDER), pid_of(scene.worker))
    assert (row["held_by"], row["application_name"], row["state"]) == (pid_of(scene.clerk), "clerk", "idle in transaction")
    assert row["waiting_for"].total_seconds() >= 0


def test_a_queue_of_waiters_has_a_row_for_each(scene, server):
    waiters = [server.connect(application_name="worker") for _ in range(29)]
    waiting = [Background(waiter, "SELECT try_lock_keys(%s, timeout => '1h')", [ORDER]) for waiter in waiters]
    for waiter in waiters:
        wait_until_waiting(scene.on_call, pid_of(waiter))

    rows = scene.ask("Who waits, since when, and for whom?")
    assert sorted(row["pid"] for row in rows) == sorted(pid_of(waiter) for waiter in [scene.worker, *waiters])
    assert {row["held_by"] for row in rows} == {pid_of(scene.clerk)}

    scene.clerk.execute("ROLLBACK")
    assert all(call.result() for call in waiting)
    for waiter in waiters:
        waiter.close()


def test_which_locks_are_held_longest(scene):
    rows = scene.ask("Which locks are held longest?")
    assert [row["name"] for row in rows] == ["job-nightly", "order-42"]
    assert rows[0]["at_most_for"] >= rows[1]["at_most_for"]
    assert [row["level"] for row in rows] == ["session", "transaction"]
    assert all(row["held_for"] == row["at_most_for"] for row in rows)


def test_which_locks_are_held_longest_where_that_was_not_noted(scene, server):
    with server.connect() as db:
        db.execute("SELECT pg_advisory_lock(7)")
        rows = scene.ask("Which locks are held longest?")
        (row,) = [row for row in rows if row["key"] == 7]
    assert row["held_for"] is None and row["at_most_for"].total_seconds() >= 0


def test_which_locks_are_fought_over(scene, server):
    scene.on_call.execute("SELECT advisory_lock_stats_reset()")
    with server.connect() as other:
        assert other.execute("SELECT try_lock_keys(ARRAY['job', 'nightly'])").fetchone() == (False,)
        assert other.execute("SELECT try_lock_keys(%s, timeout => '20ms')", [ORDER]).fetchone() == (False,)
    scene.on_call.execute("SELECT lock_keys(ARRAY['peace', 'and quiet'])")
    order, job = scene.ask("Which locks are fought over?")
    assert (order["first_part"], order["waits"], order["timeouts"], order["percent_waited"]) == ("order", 1, 1, 100)
    assert order["average_ms"] == order["longest_ms"] > 0 and order["waiting"] > 0
    assert (job["first_part"], job["refused"], job["waits"], job["average_ms"]) == ("job", 1, 0, None)


def test_who_holds_locks_and_does_nothing(scene):
    (row,) = scene.ask("Who holds locks and does nothing?")
    assert (row["name"], row["pid"], row["application_name"]) == ("order-42", pid_of(scene.clerk), "clerk")


def test_end_a_holder(scene):
    (row,) = scene.ask("End a holder")
    assert (row["pid"], row["pg_terminate_backend"]) == (pid_of(scene.clerk), True)
    assert scene.waiting.result() is True


@pytest.mark.parametrize("user", ["clerk", "guard"])
def test_who_may_end_a_holder(scene, server, user):
    with server.connect(user=user) as db:
        (row,) = scene.ask("End a holder", db)
    assert row["pg_terminate_backend"] is True
    assert scene.waiting.result() is True


@pytest.mark.parametrize("user, holder", [("visitor", "clerk"), ("guard", "job")])
def test_who_may_not_end_a_holder(scene, server, user, holder):
    """A stranger nobody, and the role for it no superuser."""
    with server.connect(user=user) as db, pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.execute("SELECT pg_terminate_backend(%s)", [pid_of(getattr(scene, holder))])


def test_which_name_is_that_in_the_log(server, scene):
    """The victim waits for a row while it holds the name: nothing in the report says how that lock is called."""
    name = ["parcel", "7"]
    victim, other = server.connect(), server.connect()
    victim.execute("CREATE TABLE parcel AS SELECT 7 AS id")
    other.execute("SET deadlock_timeout = '1h'")
    for session in (victim, other):
        session.execute("BEGIN")
    victim.execute("SELECT lock_keys(%s)", [name])
    other.execute("UPDATE parcel SET id = id")
    call = Background(other, "SELECT lock_keys(%s)", [name])
    wait_until_waiting(scene.on_call, pid_of(other))
    with pytest.raises(psycopg.errors.DeadlockDetected):
        victim.execute("UPDATE parcel SET id = id")
    call.result()
    wait_until(lambda: "STATEMENT:" in server.log().partition("deadlock detected")[2], "the report in the log")
    report = server.log().partition("deadlock detected")[2].partition("STATEMENT:")[0]
    assert "parcel-7" not in report and str(name_key(*name)) not in report
    _, high, low = re.search(r"on advisory lock \[(\d+),(\d+),(\d+),1\]", report).groups()

    title = "Which name is that in the log?"
    (row,) = scene.ask(title)
    assert row["key"] == name_key(*ORDER), "the numbers of the page"
    shown = re.search(r"\[\d+,(\d+),(\d+),1\]", PAGE.read_text(encoding="utf-8")).groups()
    query = QUERIES[title].replace(shown[0], high).replace(shown[1], low)
    assert scene.on_call.execute(query).fetchone() == (name_key(*name), "parcel-7")
    for session in (victim, other):
        session.close()
