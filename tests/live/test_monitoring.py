"""The queries of docs/monitoring.md, and what else the page says that can be tried without its programs."""

import pathlib
import re
import textwrap

import psycopg
import pytest

from scene import Background, connections, native_only, pid_of, wait_until, wait_until_waiting
from server import Server

pytestmark = native_only("statistics need shared memory")

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8")
PROMETHEUS, ALERTS, PGWATCH = re.findall(r"```yaml\n(.+?)```", PAGE, re.DOTALL)
SETTINGS = dict(re.findall(r"^(\w+) = (\S+)", re.search(r"```ini\n(.+?)```", PAGE, re.DOTALL)[1], re.MULTILINE))

ORDER = ["order", "42"]


def block(text, key):
    """The text of `key: |`."""
    indent, body = re.search(rf"^( *){key}: \|\n((?:\1 +.*\n)+)", text, re.MULTILINE).groups()
    return textwrap.dedent(body)


EXPORTED = dict(re.findall(r"^(\w+):\n(.+?)(?=^\w|\Z)", PROMETHEUS, re.DOTALL | re.MULTILINE))
"""What the exporter gets: by the beginning of the metrics' names."""


def metrics(text):
    """The metrics, with their kinds."""
    return dict(re.findall(r"- (\w+): \{usage: (\w+),", text))


@pytest.fixture(scope="module")
def server():
    # Warnings about names and holders come after a short time.
    settings = SETTINGS | {"deadlock_timeout": "50ms", "advisory_keys.max_stats": "1"}
    with Server(shared_preload_libraries="advisory_keys", **settings) as server:
        with server.connect() as db:
            db.execute("CREATE ROLE exporter LOGIN IN ROLE pg_monitor")
            db.execute("CREATE ROLE stranger LOGIN")
        yield server


@pytest.fixture
def scene(server):
    """Somebody holds, somebody waits; two connections more have been refused and have timed out."""
    with connections(server.connect) as connect:
        holder, waiter, other = connect(), connect(), connect()
        holder.execute("BEGIN")
        holder.execute("SELECT advisory_lock_stats_reset()")
        holder.execute("SELECT lock_keys(%s)", [ORDER])
        other.execute("SELECT try_lock_keys(%s)", [ORDER])
        other.execute("SELECT try_lock_keys(%s, timeout => '120ms')", [ORDER])
        call = Background(waiter, "SELECT lock_keys(%s)", [ORDER])
        wait_until_waiting(other, pid_of(waiter))
        yield server
        holder.execute("COMMIT")
        call.result()


def ask(server, query, user="exporter"):
    """The rows, as dictionaries."""
    with server.connect(user=user) as db:
        cursor = db.execute(query)
        return [dict(zip([column.name for column in cursor.description], row)) for row in cursor]


def evictions(server):
    with server.connect() as db:
        return db.execute("SELECT advisory_lock_stats_evictions()").fetchone()[0]


def test_what_the_exporter_gets(scene):
    assert list(EXPORTED) == ["advisory_lock", "advisory_lock_now"]
    for text in EXPORTED.values():
        (row,) = ask(scene, block(text, "query"))
        kinds = metrics(text)
        assert list(row) == list(kinds)
        for name, value in row.items():
            assert isinstance(value, str if kinds[name] == "LABEL" else float), name
            assert kinds[name] == "LABEL" or name.endswith("_total") == (kinds[name] == "COUNTER")
    (counted,) = ask(scene, block(EXPORTED["advisory_lock"], "query"))
    assert 0.1 < counted.pop("wait_seconds_total") < 20
    assert counted == {
        "datname": "postgres", "first_part": "order", "locks_total": 1, "refused_total": 1, "waits_total": 2,
        "timeouts_total": 1, "deadlocks_total": 0, "cancels_total": 0,
    }
    (now,) = ask(scene, block(EXPORTED["advisory_lock_now"], "query"))
    assert now["evictions_total"] == evictions(scene)
    assert now["waiting"] == 1 and 0 < now["longest_wait_seconds"] < now["oldest_seconds"]


def test_nobody_waits_and_nothing_was_locked(server):
    with server.connect() as db:
        db.execute("SELECT try_lock_keys(ARRAY['kind ' || i]) FROM generate_series(1, 50) AS i")
        db.execute("SELECT advisory_lock_stats_reset()")
    assert evictions(server) > 0
    assert ask(server, block(EXPORTED["advisory_lock"], "query")) == []
    (now,) = ask(server, block(EXPORTED["advisory_lock_now"], "query"))
    assert now["evictions_total"] == evictions(server)
    assert (now["waiting"], now["longest_wait_seconds"], now["oldest_seconds"]) == (0, 0, 0)


def test_alerts_use_what_is_exported():
    exported = {f"{prefix}_{name}" for prefix, text in EXPORTED.items() for name in metrics(text)}
    used = set(re.findall(r"\b(advisory_lock_\w+)", re.sub(r"#.*|- name:.*", "", ALERTS)))
    assert used and used <= exported
    # Of what only rises, a rule takes the increase.
    for metric, before in re.findall(r"(?=(advisory_lock_\w+_total))(?<=(.{9}))", ALERTS):
        assert before.endswith(("increase(", "rate(")), metric


def test_pgwatch(scene):
    (row,) = ask(scene, block(PGWATCH, "15"))
    assert row.pop("epoch_ns") > 1.7e18
    assert row["wait_time"] == row["max_wait_time"] > 100
    assert (row["tag_first_part"], row["locks"], row["refused"], row["waits"], row["timeouts"]) == ("order", 1, 1, 2, 1)


def test_with_names_switched_off(scene):
    with scene.connect() as db:
        db.execute("ALTER ROLE exporter SET advisory_keys.show_keys = off")
    try:
        for query in (block(EXPORTED["advisory_lock"], "query"), block(PGWATCH, "15")):
            (row,) = ask(scene, query)
            assert "" in row.values()
    finally:
        with scene.connect() as db:
            db.execute("ALTER ROLE exporter RESET ALL")


def test_a_stranger_gets_no_counts(scene):
    assert ask(scene, block(EXPORTED["advisory_lock"], "query"), "stranger") == []


def test_the_log_says_which_name_is_waited_for(scene):
    wait_until(lambda: "STATEMENT:" in scene.log().rpartition("still waiting")[2], "the line in the log")
    report = scene.log().rpartition("still waiting")[2].partition("STATEMENT:")[0]
    assert 'while locking advisory key "order-42" (4321398832972926703)' in report


def test_a_deadlock_in_the_log_too(server):
    with connections(server.connect) as connect:
        one, two, observer = connect(), connect(), connect()
        for session, part in ((one, "a"), (two, "b")):
            session.execute("BEGIN")
            session.execute("SELECT lock_keys(ARRAY['pair', %s])", [part])
        call = Background(one, "SELECT lock_keys(ARRAY['pair', 'b'])")
        wait_until_waiting(observer, pid_of(one))
        with pytest.raises(psycopg.errors.DeadlockDetected):
            try:
                two.execute("SELECT lock_keys(ARRAY['pair', 'a'])")
            finally:
                two.execute("ROLLBACK")
                call.result()
        (row,) = [row for row in ask(server, block(EXPORTED["advisory_lock"], "query")) if row["first_part"] == "pair"]
        assert row["deadlocks_total"] == 1
