"""Slots of the portable edition under load: never too many, and nobody is lost."""

import random
import threading
import time
from contextlib import contextmanager

import psycopg
import pytest

from load import run_all
from scene import PATIENCE, PORTABLE, pid_of, unique

pytestmark = pytest.mark.skipif(not PORTABLE, reason="the extension has a queue of its own")


class Room:
    """Who is in, by what they were told; never too many, and nobody beside who wants to be alone."""

    def __init__(self, slots):
        self._mutex, self._slots, self._inside, self.most = threading.Lock(), slots, [], 0

    @contextmanager
    def inside(self, who):
        with self._mutex:
            self._inside.append(who)
            assert len(self._inside) <= (1 if "alone" in self._inside else self._slots), self._inside
            self.most = max(self.most, len(self._inside))
        try:
            yield
        finally:
            with self._mutex:
                self._inside.remove(who)


@pytest.mark.parametrize("slots", [1, 2, 3, 8])
def test_never_more_than_that_and_nobody_is_lost(connect, slots):
    name, room, sessions = unique("slots"), Room(slots), [connect() for _ in range(24)]
    canceller, ended = connect(), threading.Event()

    def work(session, seed):
        rng = random.Random(seed)

        def go():
            for _ in range(15):
                how = rng.random()
                try:
                    if how < 0.1:  # everybody out
                        with session.transaction():
                            session.execute("SELECT lock_keys(%s)", [name])
                            with room.inside("alone"):
                                time.sleep(0.001)
                        continue
                    held = rng.random() < 0.5
                    timeout = rng.choice(["0", "5ms", "60s", "60s"])
                    with session.transaction():
                        if session.execute(
                                "SELECT try_lock_slot(%s, %s, timeout => %s, session => %s)", [name, slots, timeout, held]).fetchone()[0]:
                            with room.inside("with others"):
                                time.sleep(rng.random() * 0.01)
                            if held:
                                assert session.execute("SELECT unlock_slot(%s)", [name]).fetchone() == (True,)
                except psycopg.errors.QueryCanceled:
                    release(session)
        return go

    def release(session):
        """After a cancel that came when the call was done, or was ROLLBACK's; until none comes in the way."""
        try:
            session.rollback()
            session.execute("SELECT release_keys(%s, shared => true)", [name])
        except psycopg.errors.QueryCanceled:
            release(session)

    def cancel():
        rng = random.Random(slots)
        while not ended.wait(0.02):
            canceller.execute("SELECT pg_cancel_backend(%s)", [pid_of(rng.choice(sessions))])

    cancelling = threading.Thread(target=cancel)
    cancelling.start()
    try:
        run_all([work(session, seed) for seed, session in enumerate(sessions)], patience=6 * PATIENCE)
    finally:
        ended.set()
        cancelling.join(PATIENCE)
    assert room.most >= min(slots, 3)
    left = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = ANY (%s)"
    assert canceller.execute(left, [[pid_of(session) for session in sessions]]).fetchone() == (0,)
    for session in sessions[:slots]:
        assert session.execute("SELECT try_lock_slot(%s, %s, session => true)", [name, slots]).fetchone() == (True,)
    assert sessions[slots].execute("SELECT try_lock_slot(%s, %s)", [name, slots]).fetchone() == (False,)


@pytest.mark.parametrize("sessions, slots", [(2, 2), (2, 1), (4, 3), (6, 2)])
def test_those_who_try_at_once_get_in_as_long_as_there_is_room(connect, sessions, slots):
    dbs, barrier, rounds = [connect() for _ in range(sessions)], threading.Barrier(sessions), 150
    answers = [[None] * sessions for _ in range(rounds)]

    def run(who):
        def go():
            for n in range(rounds):
                name = ["at-once", str(sessions), str(slots), str(n)]
                barrier.wait(PATIENCE)
                answers[n][who] = dbs[who].execute("SELECT try_lock_slot(%s, %s, session => true)", [name, slots]).fetchone()[0]
        return go

    run_all([run(who) for who in range(sessions)], patience=6 * PATIENCE)
    assert {sum(answer) for answer in answers} == {min(sessions, slots)}
