"""Slots against what they are made of, and against the loops that people write without them."""

import pathlib
import statistics
import tempfile
import time

import psycopg

from figures import medians, row, seconds, tps

SLOTS = 4
WORK = 0.01
"""Seconds that whoever got a slot works."""

POLLING = """
    CREATE OR REPLACE FUNCTION poll_for_slot(slots int) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
      LOOP
        FOR i IN 1..slots LOOP
          IF pg_try_advisory_xact_lock(4242, i) THEN RETURN; END IF;
        END LOOP;
        PERFORM pg_sleep(0.01);
      END LOOP;
    END $$"""


def slots(db, rounds, seconds_per_run):
    db.execute(POLLING)
    with tempfile.TemporaryDirectory() as folder:
        scripts = Scripts(pathlib.Path(folder), seconds_per_run)
        return [
            *statements(scripts, rounds),
            *loops(db, rounds),
            *hot_name(scripts, rounds),
            *hand_over(rounds),
            *limited_work(scripts, rounds),
        ]


class Scripts:
    """Runs scripts of pgbench."""

    def __init__(self, folder, duration):
        self._folder, self._duration = folder, duration

    def tps(self, clients, *lines):
        return tps(self._written(lines), self._duration, clients=clients)

    def transactions(self, clients, *lines):
        """The client and the microseconds of each transaction, and how many there were in a second."""
        for log in self._folder.glob("log*"):
            log.unlink()
        per_second = tps(self._written(lines), self._duration, "-l", f"--log-prefix={self._folder}/log", clients=clients)
        logged = [line.split() for log in self._folder.glob("log*") for line in log.read_text(encoding="ascii").splitlines()]
        return [(int(line[0]), int(line[2])) for line in logged], per_second

    def _written(self, lines):
        script = self._folder / "script"
        script.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return str(script)


def statements(scripts, rounds):
    """A free name, one statement in a transaction block; microseconds of the transaction."""
    def transaction(call):
        return lambda: 1e6 / scripts.tps(
            1, "\\set i random(1, 1000000)", "BEGIN;", f"SELECT {call.format('ARRAY[$$order$$, :i::text]')};", "COMMIT;")

    figures = medians(rounds, {"slot": transaction("try_lock_slot({}, 4)"), "keys": transaction("try_lock_keys({})")})
    return [row("try_lock_slot / try_lock_keys, a statement", figures["slot"], figures["keys"], "us",
                figures["slot"] / figures["keys"], "<= 1.1")]


def loops(db, rounds):
    """Take and release in a loop on the server, in nanoseconds, and how that grows."""
    count = 50_000

    def pairs(take, release, name="alone"):
        statement = f"""DO $$ DECLARE a text[] := ARRAY['order', '{name}']; BEGIN FOR i IN 1..{count} LOOP
            PERFORM {take}; PERFORM {release}; END LOOP; END $$"""
        return lambda: seconds(db, statement) / count * 1e9

    def slot(number, name="alone"):
        return pairs(f"try_lock_slot(a, {number}, session => true)", "unlock_slot(a)", name)

    # As many as there is room for, 400 at most.
    most = int(db.execute("SHOW max_connections").fetchone()[0])
    others = [psycopg.connect(autocommit=True) for _ in range(min(400, most - 20))]
    try:
        for other in others:
            other.execute("SELECT lock_slot(ARRAY['order', 'crowd'], 1000, session => true)")
        figures = medians(rounds, {
            "nothing": pairs("pg_backend_pid()", "pg_backend_pid()"),
            "keys": pairs("try_lock_keys(a, session => true)", "unlock_keys(a)"),
            "1 slot": slot(1), "1000 slots": slot(1000), "crowd": slot(1000, "crowd"),
        })
    finally:
        for other in others:
            other.close()
    # Net of the loop itself.
    figures = {name: figure - figures["nothing"] for name, figure in figures.items()}
    return [
        row("try_lock_slot + unlock / try_lock_keys + unlock, in a loop", figures["1 slot"], figures["keys"], "ns",
            figures["1 slot"] / figures["keys"], "<= 4"),
        row("  of 1,000 slots / of 1 slot", figures["1000 slots"], figures["1 slot"], "ns",
            figures["1000 slots"] / figures["1 slot"], "flat"),
        row(f"  beside {len(others)} holders / alone", figures["crowd"], figures["1000 slots"], "ns",
            figures["crowd"] / figures["1000 slots"], "flat"),
    ]


def hot_name(scripts, rounds):
    """16 clients that all hold one name, in transactions per second."""
    def together(call):
        return lambda: scripts.tps(16, "BEGIN;", f"SELECT {call};", "COMMIT;")

    figures = medians(rounds, {
        "slots": together("try_lock_slot('{hot}', 100)"), "core": together("pg_try_advisory_xact_lock_shared(4242)")})
    return [row("one name, 16 clients: slots / core's shared lock", figures["slots"], figures["core"], "tps",
                figures["slots"] / figures["core"], ">= 0.9")]


def hand_over(rounds):
    """From the release to the grant of the one that waits, by the clock of the server, in microseconds."""
    calls = {
        "slot": ("lock_slot('{hand,over}', 1, session => true)", "unlock_slot('{hand,over}')"),
        "core": ("pg_advisory_lock(4242)", "pg_advisory_unlock(4242)"),
    }
    with psycopg.connect(autocommit=True) as holder, psycopg.connect(autocommit=True) as waiter:
        def microseconds(take, release):
            holder.execute(f"SELECT {take}")
            waiter.pgconn.send_query(f"SELECT {take}, extract(epoch FROM clock_timestamp())".encode())
            time.sleep(0.003)
            released = holder.execute(f"SELECT extract(epoch FROM clock_timestamp()), {release}").fetchone()[0]
            granted = waiter.pgconn.get_result().get_value(0, 1)
            waiter.pgconn.get_result()
            waiter.execute(f"SELECT {release}")
            return (float(granted) - float(released)) * 1e6

        figures = medians(rounds * 30, {
            name: (lambda take=take, release=release: microseconds(take, release)) for name, (take, release) in calls.items()})
    return [row("hand-over to the one that waits: a slot / core's lock", figures["slot"], figures["core"], "us",
                figures["slot"] / figures["core"], "<= 1.5")]


def limited_work(scripts, rounds):
    """16 clients of whom 4 work at a time: throughput, the wait of the unluckiest in a hundred, and fairness."""
    work = f"SELECT pg_sleep({WORK});"

    def run(call):
        transactions, tps = scripts.transactions(16, "BEGIN;", f"SELECT {call};", work, "COMMIT;")
        waits = sorted(microseconds for _, microseconds in transactions)
        served = [sum(1 for number, _ in transactions if number == client) for client in range(16)]
        return tps, waits[len(waits) * 99 // 100] / 1000 - WORK * 1000, max(served) / max(1, min(served))

    runs = {"slots": [], "polling": []}
    ideal = []
    for _ in range(max(3, rounds // 2)):
        ideal.append(scripts.tps(SLOTS, "BEGIN;", "SELECT 1;", work, "COMMIT;"))
        runs["slots"].append(run(f"lock_slot('{{work}}', {SLOTS})"))
        runs["polling"].append(run(f"poll_for_slot({SLOTS})"))
    (tps, wait, fairness), (other_tps, other_wait, other_fairness) = (
        [statistics.median(column) for column in zip(*figures)] for figures in runs.values())
    return [
        row("16 clients on 4 slots, 10 ms of work / 4 clients alone", tps, statistics.median(ideal), "tps",
            tps / statistics.median(ideal), ">= 0.9"),
        row("  slots / polling every 10 ms", tps, other_tps, "tps", tps / other_tps),
        row("  the wait of 1 in 100: slots / polling", wait, other_wait, "ms", wait / other_wait),
        row("  the most served to the least served: slots / polling", fairness, other_fairness, "", fairness / other_fairness),
    ]
