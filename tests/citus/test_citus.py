"""docs/citus.md as it stands there, on a cluster of its own: a coordinator and two workers, clients connected to each."""

import itertools
import os
import pathlib
import re
import signal
import threading

import psycopg
import pytest

from scene import Background, connections, install, wait_until
from server import Server

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "citus.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sql\n(.+?)^```", PAGE, re.DOTALL | re.MULTILINE)
NAME = ["order", "42"]


def block_with(text):
    """The one block of the page that has it."""
    (block,) = (block for block in BLOCKS if text in block)
    return block


def statement_with(text):
    """The one statement of the page that has it."""
    (statement,) = (statement for block in BLOCKS for statement in re.sub(r"--.*", "", block).split(";") if text in statement)
    return statement


LOCK = statement_with("try_lock_cluster(ARRAY").replace("5s", "100ms")
LOCK_ALL = "SELECT try_lock_cluster_all(%s::text[], '100ms')"
BESIDE = statement_with("WITH pin AS (DELETE FROM account").replace("5s", "100ms")


@pytest.fixture(scope="module")
def cluster():
    """A factory of connections to a node: 0 is the coordinator."""
    servers = [
        Server(install=lambda db: db.execute("CREATE EXTENSION citus"), shared_preload_libraries="citus, advisory_keys",
               wal_level="logical", max_prepared_transactions=50, **{"citus.enable_statistics_collection": "off"})
        for _ in range(3)
    ]
    try:
        hosts = []
        for server in servers:
            with server.connect() as db:
                hosts.append(db.info.host)
                # For what a node asks itself; it listens on its socket only.
                db.execute(f"ALTER SYSTEM SET citus.local_hostname = '{db.info.host}'")
                db.execute("SELECT pg_reload_conf()")
        with servers[0].connect() as db:
            db.execute("SELECT citus_set_coordinator_host(%s, 5432)", hosts[:1])
            for host in hosts[1:]:
                db.execute("SELECT citus_add_node(%s, 5432)", [host])
            install(db)
            for text in ("CREATE TABLE lock_nodes", "CREATE FUNCTION try_lock_cluster_all", "CREATE VIEW"):
                db.execute(block_with(text))
            db.execute("CREATE TABLE account (id int PRIMARY KEY, balance int)")
            db.execute("SELECT create_distributed_table('account', 'id')")
            db.execute("INSERT INTO account SELECT i, 0 FROM generate_series(1, 8) AS i")
        yield lambda node=0, **options: servers[node].connect(**options)
    finally:
        for server in servers:
            server.remove()


@pytest.fixture
def connect(cluster):
    with connections(cluster) as connect:
        yield connect


def ask(db, statement, *parameters):
    return db.execute(statement, parameters or None).fetchone()[0]


def node_of(db, key):
    """Its name, which is the folder of its socket: the port is the same for all."""
    return ask(db, "SELECT nodename FROM pg_dist_shard_placement WHERE shardid = get_shard_id_for_distribution_column('lock_nodes', %s)", key)


def names_of_two_nodes(db):
    """Two names of different nodes, in the order of their keys."""
    names = sorted((["name", str(i)] for i in range(20)), key=lambda name: ask(db, "SELECT advisory_key(%s)", name))
    nodes = [node_of(db, ask(db, "SELECT advisory_key(%s)", name)) for name in names]
    other = next(i for i, node in enumerate(nodes) if node != nodes[0])
    return names[0], names[other]


def free(db, *names):
    """Whether each is, by locking it."""
    with db.transaction(force_rollback=True):
        return [ask(db, "SELECT try_lock_cluster(%s)", name) for name in names]


PAIRS = list(itertools.product(range(3), repeat=2))


@pytest.mark.parametrize(("holder", "other"), PAIRS)
def test_the_trap(connect, holder, other):
    first, second = connect(holder), connect(other)
    first.execute("BEGIN")
    second.execute("BEGIN")
    statement = "SELECT try_lock_keys(ARRAY['order', '42'])"
    assert PAGE.count(statement) == 2
    assert ask(first, statement)
    assert ask(second, statement) is (holder != other)


@pytest.mark.parametrize(("holder", "other"), PAIRS)
def test_the_recipe_excludes_all_nodes(connect, holder, other):
    first, second = connect(holder), connect(other)
    for end in ("COMMIT", "ROLLBACK"):
        with second.transaction():
            first.execute("BEGIN")
            assert ask(first, LOCK) and ask(first, LOCK)
            assert not ask(second, LOCK)
            first.execute(end)
            assert ask(second, LOCK)
    assert free(first, NAME) == [True]


def test_a_wait_ends_with_the_holder(connect):
    holder, waiter = connect(1), connect(2)
    holder.execute("BEGIN")
    assert ask(holder, LOCK)
    waiter.execute("BEGIN")
    call = Background(waiter, "SELECT try_lock_cluster(ARRAY['order', '42'], '1h')")
    observer = connect(0)
    wait_until(lambda: ask(observer, "SELECT count(*) FROM cluster_locks WHERE NOT granted") == 1, "it waits")
    holder.close()
    assert call.result() is True


def test_a_savepoint_releases_it(connect):
    holder, other = connect(1), connect(0)
    with holder.transaction():
        with holder.transaction(force_rollback=True):
            assert ask(holder, LOCK)
            assert free(other, NAME) == [False]
        assert free(other, NAME) == [True]


def test_several_names_are_all_or_none(connect):
    holder, other = connect(1), connect(2)
    names = list(names_of_two_nodes(holder))
    for taken in (0, 1):
        with holder.transaction(), other.transaction():
            assert ask(other, "SELECT try_lock_cluster(%s)", names[taken])
            assert not ask(holder, LOCK_ALL, names)
            assert free(connect(0), names[1 - taken]) == [True]
    with holder.transaction():
        assert ask(holder, LOCK_ALL, names)
        assert free(other, *names) == [False, False]
    assert free(other, *names) == [True, True]


def test_a_deadlock_across_nodes(connect):
    first, second = connect(1), connect(2)
    one, two = names_of_two_nodes(first)
    lock = "SELECT try_lock_cluster(%s, '1 min')"
    for session, name in ((first, one), (second, two)):
        session.execute("BEGIN")
        assert ask(session, lock, name)
    calls = [Background(first, lock, [two]), Background(second, lock, [one])]
    ends = []
    for session, call in zip((first, second), calls):
        try:
            ends.append(call.result())
            session.execute("ROLLBACK")
        except psycopg.errors.DeadlockDetected:
            ends.append("40P01")
            session.execute("ROLLBACK")
    assert sorted(map(str, ends)) == ["40P01", "True"]


def test_a_lost_lock_fails_the_commit(connect):
    holder, observer = connect(0), connect(1)
    holder.execute("CREATE TABLE IF NOT EXISTS kept (id int)")
    holder.execute("BEGIN")
    holder.execute("INSERT INTO kept VALUES (1)")
    assert ask(holder, LOCK)
    pid = ask(observer, "SELECT result::int FROM run_command_on_all_nodes('SELECT max(pid) FROM advisory_locks') WHERE result <> ''")
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: free(observer, NAME) == [True], "the lock is lost")
    with pytest.raises(psycopg.Error):
        holder.execute("COMMIT")
    assert connect(0).execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_moving_its_shard_waits_for_the_holder(connect):
    holder, mover, other = connect(1), connect(0), connect(2)
    source = node_of(mover, ask(mover, "SELECT advisory_key(%s)", NAME))
    (target,) = (name for name, in mover.execute("SELECT nodename FROM pg_dist_node WHERE shouldhaveshards") if name != source)
    shard = ask(mover, "SELECT get_shard_id_for_distribution_column('lock_nodes', advisory_key(%s))", NAME)
    holder.execute("BEGIN")
    assert ask(holder, LOCK)
    move = Background(mover, "SELECT citus_move_shard_placement(%s, %s, 5432, %s, 5432, 'block_writes')", [shard, source, target])
    wait_until(lambda: ask(other, "SELECT count(*) FROM citus_lock_waits") > 0, "the move waits")
    assert node_of(other, ask(other, "SELECT advisory_key(%s)", NAME)) == source
    holder.execute("COMMIT")
    move.result()
    assert node_of(other, ask(other, "SELECT advisory_key(%s)", NAME)) == target
    with holder.transaction():
        assert ask(holder, LOCK)
        assert free(other, NAME) == [False]


def test_beside_the_data_no_update_is_lost(connect):
    """The next holder, on whatever node, sees each increment."""
    failures, done = [], []

    def work(db):
        try:
            for _ in range(60):
                with db.transaction():
                    while not ask(db, BESIDE):
                        pass
                    balance = ask(db, "SELECT balance FROM account WHERE id = 1")
                    db.execute("UPDATE account SET balance = %s WHERE id = 1", [balance + 1])
                done.append(1)
        except BaseException as failure:  # shown below
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(connect(node),)) for node in (0, 1, 2, 0, 1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    assert ask(connect(0), "SELECT balance FROM account WHERE id = 1") == len(done) == 360


@pytest.mark.parametrize("node", range(3))
def test_the_view_names_the_client(connect, node):
    holder, observer = connect(1, application_name="the holder"), connect(node)
    holder.execute("BEGIN")
    assert ask(holder, LOCK)
    row = observer.execute("SELECT key, granted, application_name, global_pid FROM cluster_locks").fetchall()
    assert row == [(ask(observer, "SELECT advisory_key(%s)", NAME), True, "the holder", ask(holder, "SELECT citus_backend_gpid()"))]
    observer.execute("SELECT pg_terminate_backend(%s)", [row[0][3]])
    wait_until(lambda: free(observer, NAME) == [True], "its end")


def test_the_setting_reaches_the_workers(connect):
    db = connect(0)
    db.execute("CREATE ROLE app LOGIN")
    db.execute(block_with("ALTER ROLE"))
    settings = "SELECT rolconfig::text FROM pg_roles WHERE rolname = 'app'"
    assert [ask(connect(node), settings) for node in range(3)] == ["{advisory_keys.session_locks=off}"] * 3


def test_what_a_role_needs(connect):
    db = connect(0)
    db.execute("CREATE ROLE clerk LOGIN")
    clerk = connect(1, user="clerk")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        clerk.execute(LOCK)
    db.execute("GRANT SELECT, DELETE ON lock_nodes TO clerk")
    with clerk.transaction():
        assert ask(clerk, LOCK)
        assert free(db, NAME) == [False]


def test_read_only_transactions(connect):
    db = connect(0)
    db.execute("BEGIN READ ONLY")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        db.execute(LOCK)
