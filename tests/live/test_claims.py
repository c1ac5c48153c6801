"""`claim_keys`: many workers, the same candidates; each gets its own, and locks nothing else."""

import functools
import random
import threading

import psycopg
import pytest

from load import run_all
from scene import (
    PATIENCE, PORTABLE, Background, connections, held_keys, name_key, native_only, pid_of, scratch_database, wait_until,
)
from server import Server, connect, server_fixture  # noqa: F401, a fixture

CANDIDATES = 2000 if PORTABLE else 5000
WORKERS = 32


# One with room for many locks, which has seen who took names.
server = server_fixture(max_locks_per_transaction=1024, shared_preload_libraries="" if PORTABLE else "advisory_keys")


class Board:
    """Who has which candidate, as the workers were told."""

    def __init__(self):
        self.owners = {}
        self._mutex = threading.Lock()

    def take(self, worker, rows):
        with self._mutex:
            twice = [row for row in rows if row in self.owners]
            self.owners.update((row, worker) for row in rows)
        assert twice == [], f"claimed twice: {twice}"

    def give_back(self, rows):
        with self._mutex:
            for row in rows:
                del self.owners[row]


def work(worker, db, board, keys):
    """Claims until nothing is left, now and then gives back what it has; after each call it holds what it was told."""
    rng, mine, rounds = random.Random(worker), set(), 0
    claim = "SELECT claim_keys(names, %s, shared => false, session => %s) FROM candidate_list"
    while True:
        wanted = rng.choice([1, 1, 3, 20])
        rows = db.execute(claim, [wanted, True]).fetchone()[0]
        board.take(worker, rows)
        mine.update(rows)
        assert len(rows) <= wanted and rows == sorted(rows)
        assert held_keys(db, pid_of(db)) == sorted((keys[row - 1], "ExclusiveLock") for row in mine)
        rounds += 1
        if rounds < 10 and rng.random() < 0.5:
            back = rng.sample(sorted(mine), len(mine) // 2)
            board.give_back(back)
            mine.difference_update(back)
            db.execute("SELECT count(release_keys(names[row:row])) FROM candidate_list, unnest(%s::int[]) AS row", [back])
        elif rows == []:
            return


def test_32_workers_never_claim_one_twice_and_lock_what_they_return(connect):
    names = [["job", str(i)] for i in range(CANDIDATES)]
    keys = [name_key(*name) for name in names]
    db, board = connect(), Board()
    db.execute("CREATE TABLE candidate_list (names text[])")
    db.execute("INSERT INTO candidate_list VALUES (%s)", [names])
    run_all([functools.partial(work, worker, connect(), board, keys) for worker in range(WORKERS)], patience=20 * PATIENCE)
    # What others held when they looked was given back to somebody, or is free now: nothing is lost.
    left = db.execute("SELECT claim_keys(names, 1000, session => true) FROM candidate_list").fetchone()[0]
    board.take("who looks at last", left)
    assert sorted(board.owners) == list(range(1, CANDIDATES + 1))


def first_free(names, busy, own, wanted):
    """The rows that a call has to return."""
    rows, seen = [], set(own)
    for row, name in enumerate(names, 1):
        key = name_key(*name)
        if key not in seen and key not in busy:
            seen.add(key)
            rows.append(row)
        if len(rows) == wanted:
            break
    return rows


def test_it_is_always_the_first_free_ones_in_the_order_of_the_rows(connect):
    """Against the definition: names that come twice, names of others and own ones in both modes, at both levels."""
    db, other, rng = connect(autocommit=False), connect(autocommit=False), random.Random(11)
    universe = [["first", str(i)] for i in range(30)] + [["first-1"], ["first-2"]]
    for _ in range(200):
        held, own = {}, set()
        for name in rng.sample(universe, rng.randrange(12)):
            shared = rng.random() < 0.5
            other.execute("SELECT lock_keys(%s, shared => %s)", [name, shared])
            held.setdefault(name_key(*name), set()).add(shared)
        for name in rng.sample(universe, rng.randrange(5)):
            if name_key(*name) not in held:
                db.execute("SELECT lock_keys(%s, shared => %s, session => %s)", [name, rng.random() < 0.5, rng.random() < 0.3])
                own.add(name_key(*name))
        width = rng.choice([1, 2])
        names = [[*name] for name in rng.choices(universe, k=40) if len(name) == width] or [["first-1"], ["first-2"]]
        shared, session, wanted = rng.random() < 0.4, rng.random() < 0.4, rng.choice([1, 2, 5, 100])
        before = held_keys(other, pid_of(db))
        rows = db.execute(
            "SELECT claim_keys(%s, %s, shared => %s, session => %s)", [names, wanted, shared, session]).fetchone()[0]
        busy = {key for key, modes in held.items() if False in modes or not shared}
        assert rows == first_free(names, busy, own, wanted)
        taken = {(name_key(*names[row - 1]), "ShareLock" if shared else "ExclusiveLock") for row in rows}
        assert held_keys(other, pid_of(db)) == sorted(before + sorted(taken))
        db.execute("SELECT pg_advisory_unlock_all()")
        db.rollback()
        other.rollback()


@pytest.mark.parametrize("session", [False, True])
def test_a_cancel_on_the_way_leaves_nothing(connect, session):
    """A free candidate first, then many that are not: they are its own name again."""
    observer, db = connect(), connect()
    db.execute("CREATE TEMP TABLE walk AS SELECT array_agg(ARRAY[CASE WHEN i < 4 THEN i ELSE 3 END::text]) AS names"
               " FROM generate_series(1, %s) AS i", [400_000 if PORTABLE else 8_000_000])
    db.execute("SELECT lock_keys('{before}', session => true)")
    before = held_keys(observer, pid_of(db))
    db.execute("CREATE TEMP SEQUENCE walked")
    call = Background(db, f"SELECT claim_keys(names, 10, session => {session}), nextval('walked') FROM walk")
    wait_until(lambda: len(held_keys(observer, pid_of(db))) == 4, "three of them are claimed")
    observer.execute("SELECT pg_cancel_backend(%s)", [pid_of(db)])
    with pytest.raises(psycopg.errors.QueryCanceled):
        call.result()
    assert db.execute("SELECT is_called FROM walked").fetchone() == (False,), "it walked to the end"
    assert held_keys(observer, pid_of(db)) == before
    assert db.execute("SELECT claim_keys('{{1},{2},{3}}', 3)").fetchone() == ([1, 2, 3],)


@pytest.mark.parametrize("session", [False, True])
def test_a_full_lock_table_leaves_nothing(session):
    with Server(max_locks_per_transaction=10, max_connections=10) as server:
        with connections(server.connect) as connect:
            observer, db = connect(), connect()
            observer.execute("SELECT count(*) FROM pg_locks")
            if not PORTABLE:
                db.execute("SET advisory_keys.max_keys_per_session = 0")
            db.execute("SET advisory_keys.max_keys_per_call = 1000000")
            db.execute("SELECT lock_keys('{before}', session => true)")
            before = held_keys(observer, pid_of(db))
            with pytest.raises(psycopg.errors.OutOfMemory) as error:
                db.execute(
                    "SELECT claim_keys(array_agg(ARRAY['full', i::text]), 1000000, session => %s)"
                    " FROM generate_series(1, 1000000) AS i", [session])
            assert error.value.sqlstate == "53200"
            assert held_keys(observer, pid_of(db)) == before
            assert db.execute("SELECT claim_keys('{{a},{b}}', 2)").fetchone() == ([1, 2],)


@pytest.mark.parametrize("session", [False, True])
def test_an_error_in_a_later_row_leaves_nothing_and_behind_the_last_claim_there_is_none(session):
    """A row that is no UTF-8 is found when its turn comes."""
    ascii_only = "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    with scratch_database("ascii", ascii_only) as name, psycopg.connect(dbname=name, autocommit=True) as db:
        rows = r"ARRAY[['a'], ['b'], [E'\xff']]"
        assert db.execute(f"SELECT claim_keys({rows}, 2, session => %s)", [session]).fetchone() == ([1, 2],)
        db.execute("SELECT pg_advisory_unlock_all()")
        with pytest.raises(psycopg.errors.CharacterNotInRepertoire):
            db.execute(f"SELECT claim_keys({rows}, 3, session => %s)", [session])
        assert held_keys(db, pid_of(db)) == []


# The limit of the session, and the record of names.

limit_only = native_only("counting them in SQL would take a copy of the lock table for each call")


@limit_only
@pytest.mark.parametrize("session", [False, True])
def test_the_limit_of_the_session_counts_and_leaves_nothing(connect, session):
    observer, db = connect(), connect(autocommit=False)
    names = [["limit", str(i)] for i in range(12)]
    db.execute("SET advisory_keys.max_keys_per_session = 10")
    claim = f"SELECT claim_keys(%s, %s, session => {session})"
    assert db.execute(claim, [names, 4]).fetchone() == ([1, 2, 3, 4],)
    before = held_keys(observer, pid_of(db))
    db.execute("SAVEPOINT s")
    with pytest.raises(psycopg.errors.ProgramLimitExceeded) as error:
        db.execute(claim, [names, 7])
    assert error.value.diag.message_primary == "too many advisory locks in one session"
    db.execute("ROLLBACK TO s")
    assert held_keys(observer, pid_of(db)) == before
    # What it holds already is nothing new.
    assert db.execute(claim, [names, 6]).fetchone() == ([5, 6, 7, 8, 9, 10],)
    assert db.execute(claim, [names[:10], 1]).fetchone() == ([],)
    db.execute("SAVEPOINT s")
    with pytest.raises(psycopg.errors.ProgramLimitExceeded):
        db.execute("SELECT lock_keys('{one,more}')")
    db.execute("ROLLBACK TO s")


@native_only("names need shared memory")
def test_only_names_that_were_claimed_are_recorded(connect):
    db, other = connect(), connect()
    other.execute("SELECT pg_advisory_lock(%s)", [name_key("record", "busy")])
    names = [["record", name] for name in ("busy", "claimed", "left")]
    assert db.execute("SELECT claim_keys(%s, session => true)", [names]).fetchone() == ([2],)
    known = [db.execute("SELECT advisory_key_name(advisory_key(%s))", [name]).fetchone()[0] for name in names]
    assert known == [None, "record-claimed", None]
