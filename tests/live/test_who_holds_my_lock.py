"""The queries of docs/who-holds-my-lock.md, taken from that page, against sessions that hold and wait."""

import pathlib
import re

import pytest

from scene import Background, name_key, native_only, pid_of, wait_until_waiting
from server import Server

pytestmark = native_only("names need shared memory")

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "who-holds-my-lock.md"
QUERIES = dict(re.findall(r"### (.+?)\n.*?```sql\n(.+?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))

ORDER = ["order", "42"]
"""The name that the page asks for."""


@pytest.fixture(scope="module")
def server():
    server = Server(shared_preload_libraries="advisory_keys")
    yield server
    server.remove()


class Scene:
    """A clerk holds the order in an open transaction, a worker waits for it, a job holds a lock at
    session level, and an on-call person looks."""

    def __init__(self, server):
        self.clerk = server.connect(application_name="clerk")
        self.worker = server.connect(application_name="worker")
        self.job = server.connect(application_name="job")
        self.on_call = server.connect(application_name="on-call")
        self.job.execute("SELECT lock_keys(ARRAY['job', 'nightly'], session => true)")
        self.clerk.execute("BEGIN")
        self.clerk.execute("SELECT lock_keys(%s)", [ORDER])
        self.waiting = Background(self.worker, "SELECT try_lock_keys(%s, timeout => '1h')", [ORDER])
        wait_until_waiting(self.on_call, pid_of(self.worker))

    def ask(self, title):
        """The rows of a query of the page, as dictionaries."""
        cursor = self.on_call.execute(QUERIES[title])
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


def test_the_page_has_its_five_queries():
    assert list(QUERIES) == [
        "Who holds this name?", "Who waits, since when, and for whom?", "Which locks are held longest?",
        "Who holds locks and does nothing?", "End a holder",
    ]


def test_who_holds_this_name(scene):
    (row,) = scene.ask("Who holds this name?")
    assert (row["pid"], row["mode"]) == (pid_of(scene.clerk), "exclusive")
    assert (row["application_name"], row["state"]) == ("clerk", "idle in transaction")
    assert "lock_keys" in row["query"]


def test_who_waits_and_for_whom(scene):
    (row,) = scene.ask("Who waits, since when, and for whom?")
    assert (row["name"], row["key"], row["pid"]) == ("order-42", name_key(*ORDER), pid_of(scene.worker))
    assert row["blocked_by"] == [pid_of(scene.clerk)]
    assert row["application_name"] == "clerk"
    assert row["waiting_for"].total_seconds() >= 0


def test_which_locks_are_held_longest(scene):
    rows = scene.ask("Which locks are held longest?")
    assert [row["name"] for row in rows] == ["job-nightly", "order-42"]
    assert rows[0]["at_most_for"] >= rows[1]["at_most_for"]


def test_who_holds_locks_and_does_nothing(scene):
    (row,) = scene.ask("Who holds locks and does nothing?")
    assert (row["name"], row["pid"], row["application_name"]) == ("order-42", pid_of(scene.clerk), "clerk")


def test_end_a_holder(scene):
    (row,) = scene.ask("End a holder")
    assert (row["pid"], row["pg_terminate_backend"]) == (pid_of(scene.clerk), True)
    assert scene.waiting.result() is True
