"""The SQL of docs/job-queues.md, taken from that page, with many workers."""

import functools
import pathlib
import re
import threading

import pytest

from load import run_all
from scene import held_keys, name_key, pid_of, scratch_database

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "job-queues.md").read_text(encoding="utf-8")
BLOCKS = {title: sql for title, sql in re.findall(r"^##+ ([^\n]+)\n(?:(?!^##).)*?```sql\n(.+?)```", PAGE, re.DOTALL | re.MULTILINE)}


@pytest.fixture
def connect(connect):
    """Connections to a database with the tables of the page."""
    with scratch_database("jobs") as database:
        def to_the_jobs(**options):
            return connect(dbname=database, **options)

        db = to_the_jobs()
        db.execute("CREATE TABLE job (id int PRIMARY KEY, payload text, done_at timestamptz)")
        db.execute(BLOCKS["Names"])
        yield to_the_jobs


def statements(title):
    """The statements of a block, without those that begin and end the transaction."""
    sql = re.sub(r"--.*", "", BLOCKS[title])
    return [statement.strip() for statement in sql.split(";") if statement.strip() not in ("", "BEGIN", "COMMIT")]


def for_tenant(title, tenant, last=None):
    (statement,) = statements(title)
    assert "'acme'" in statement
    statement = statement.replace("'acme'", "%(tenant)s")
    if last is not None:
        assert "id <= 3" in statement
        statement = statement.replace("id <= 3", "id <= %(last)s")
    return statement, {"tenant": tenant, "last": last}


def claim(db):
    (statement,) = statements("Claim one")
    return [tenant for tenant, in db.execute(statement)]


def test_the_page_has_its_blocks():
    assert list(BLOCKS) == ["Rows", "Names", "Claim one", "Read it again", "Do it", "A claim that outlives a transaction"]


def run_workers(connect, work, count=8):
    run_all([functools.partial(work, connect()) for _ in range(count)], patience=60)


def test_each_message_is_sent_once_and_those_of_a_tenant_in_order(connect):
    db, sent, busy = connect(), [], set()
    db.execute("INSERT INTO outbox (tenant, message) SELECT 'tenant-' || i % 20, i FROM generate_series(1, 400) AS i")

    def work(session):
        while True:
            with session.transaction():
                tenants = claim(session)
                if not tenants:
                    if session.execute("SELECT count(*) FROM outbox WHERE sent_at IS NULL").fetchone() == (0,):
                        return
                    continue
                (tenant,) = tenants
                assert tenant not in busy
                busy.add(tenant)
                messages = session.execute(*for_tenant("Read it again", tenant)).fetchall()[:3]
                sent.extend((tenant, id) for id, _ in messages)
                if messages:
                    session.execute(*for_tenant("Do it", tenant, last=messages[-1][0]))
                busy.remove(tenant)

    run_workers(connect, work)
    assert len(sent) == len(set(sent)) == 400
    for number in range(20):
        ids = [id for tenant, id in sent if tenant == f"tenant-{number}"]
        assert len(ids) == 20 and ids == sorted(ids)


def test_the_oldest_that_is_free_and_none_when_all_are_busy_or_there_is_nothing(connect):
    first, second, third, db = (connect() for _ in range(4))
    with first.transaction():
        assert claim(first) == []
    db.execute("INSERT INTO outbox (tenant, message) VALUES ('b', 1), ('a', 2), ('b', 3)")
    with first.transaction(), second.transaction(), third.transaction():
        assert (claim(first), claim(second), claim(third)) == (["b"], ["a"], [])
        assert held_keys(db, pid_of(second)) == [(name_key("outbox", "a"), "ExclusiveLock")]


def test_why_to_read_again(connect):
    """The work is done between the look at the table and the lock: here, the look waits in the middle of the statement."""
    db, other, witness = connect(), connect(), connect()
    db.execute("INSERT INTO outbox (tenant, message) VALUES ('acme', 'hello')")
    (statement,) = statements("Claim one")
    other.execute("SELECT lock_keys('{gate}', session => true)")
    waiting = statement.replace("unnest(claim_keys(names))", "lock_keys('{gate}') AS gate, unnest(claim_keys(names))")
    assert waiting != statement
    claimed = []
    with db.transaction():
        thread = threading.Thread(target=lambda: claimed.extend(db.execute(waiting).fetchall()))
        thread.start()
        while not witness.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE pid = %s AND NOT granted)", [pid_of(db)]).fetchone()[0]:
            pass
        with other.transaction():
            assert claim(other) == ["acme"]
            other.execute(*for_tenant("Do it", "acme", last=1))
        other.execute("SELECT unlock_keys('{gate}')")
        thread.join(20)
        assert claimed == [("acme",)]
        assert db.execute(*for_tenant("Read it again", "acme")).fetchall() == []


def test_rows_need_no_names(connect):
    db, done = connect(), []
    db.execute("INSERT INTO job SELECT i, 'do ' || i FROM generate_series(1, 100) AS i")
    take, finish = statements("Rows")
    assert "id = 1" in finish

    def work(session):
        while True:
            with session.transaction():
                row = session.execute(take).fetchone()
                if row is None:
                    return
                session.execute(finish.replace("id = 1", "id = %s"), [row[0]])
            done.append(row[0])

    run_workers(connect, work)
    assert sorted(done) == list(range(1, 101))


def test_a_claim_of_the_session_outlives_transactions_and_is_not_given_twice(connect):
    first, second = connect(), connect()
    claim_shards, unlock = statements("A claim that outlives a transaction")
    assert first.execute(claim_shards).fetchone() == ([1, 2],)
    assert second.execute(claim_shards).fetchone() == ([3],)
    assert first.execute(claim_shards).fetchone() == ([],)
    assert first.execute(unlock).fetchone() == (True,)
    assert second.execute(claim_shards).fetchone() == ([1, 2],)
    second.close()
    assert connect().execute("SELECT try_lock_keys('{shard,3}', timeout => '10s')").fetchone() == (True,)
