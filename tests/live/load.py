"""Many clients at once, each in a thread."""

import contextlib
import threading

import psycopg

from scene import PATIENCE, pid_of, wait_until


def run_all(targets, patience=PATIENCE):
    """Runs them at the same time until all have ended, none with an error."""
    failures = []

    def run(target):
        try:
            target()
        except BaseException as failure:  # shown below
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(target,), daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience)
    assert failures == []
    assert not any(thread.is_alive() for thread in threads), "never ended"


def crash_under_load(server, clients, until):
    """Has each client work over and over, `client(db)`, until there was enough of it, `until(db)`; then kills one that locks."""
    stop = threading.Event()

    def run(client):
        with contextlib.suppress(psycopg.OperationalError):  # the crash
            with server.connect() as db:
                while not stop.is_set():
                    client(db)

    threads = [threading.Thread(target=run, args=(client,), daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    try:
        with server.connect() as db:
            wait_until(lambda: until(db), "there was enough")
            victim = db.execute(
                "SELECT pid FROM pg_stat_activity WHERE query LIKE '%%try_lock_keys%%' AND pid <> %s", [pid_of(db)]).fetchone()[0]
        server.crash_by_killing(victim)
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads), "never ended"
