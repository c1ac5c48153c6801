"""What there is to look at: the view of locks and that of statistics, and what it costs to keep the latter."""

import os
import tempfile
import time

from figures import medians, pgbench, row, seconds


def the_view(db, rounds):
    """The view while 10,000 locks are held, in milliseconds; beside it, pg_locks itself."""
    db.execute("SELECT lock_keys((SELECT array_agg(ARRAY['held', i::text]) FROM"
               " generate_series(1, 10000) AS i), session => true)")
    named = db.execute("SELECT count(name) FROM advisory_locks").fetchone()[0]
    figures = medians(rounds, {
        "view": lambda: seconds(db, "SELECT count(name) FROM advisory_locks") * 1e3,
        "pg_locks": lambda: seconds(db, "SELECT count(objid) FROM pg_locks") * 1e3,
    })
    db.execute("SELECT pg_advisory_unlock_all()")
    return [row(f"advisory_locks with 10,000 locks ({named} named) / pg_locks", figures["view"], figures["pg_locks"],
                "ms", figures["view"] / figures["pg_locks"], "first < 50")]


def the_statistics(db, rounds):
    """The view with 1,000 rows, in milliseconds; beside it, pg_stat_database."""
    db.execute("SELECT advisory_lock_stats_reset()")
    db.execute("SELECT count(try_lock_keys(ARRAY['kind ' || i])) FROM generate_series(1, 1000) AS i")
    rows = db.execute("SELECT count(*) FROM advisory_lock_stats").fetchone()[0]
    figures = medians(rounds, {
        "view": lambda: seconds(db, "SELECT count(first_part), sum(wait_time) FROM advisory_lock_stats") * 1e3,
        "database": lambda: seconds(db, "SELECT count(datname), sum(blks_hit) FROM pg_stat_database") * 1e3,
    })
    return [row(f"advisory_lock_stats with {rows} rows / pg_stat_database", figures["view"], figures["database"],
                "ms", figures["view"] / figures["database"], "first < 10")]


def counting(db, rounds):
    """try_lock_keys with and without statistics (and held_since), all on one first part, and so on one row of them:
    microseconds of the server's processors for each transaction with one, and for each call where there is little else."""
    with open(os.path.join(db.execute("SHOW data_directory").fetchone()[0], "postmaster.pid"), encoding="utf-8") as file:
        postmaster = int(file.readline())
    calls = 1000
    scripts = {  # with how many calls in each, and how often it is run in all
        "one in a transaction": ("\\set i random(1, 1000000)\nBEGIN;\nSELECT try_lock_keys(ARRAY['SIGNUP-EMAIL', :i::text]);\nCOMMIT;\n",
                                 1, 48_000),
        "many in a statement": ("SELECT count(try_lock_keys(ARRAY['SIGNUP-EMAIL', (i % 10)::text], shared => true))"
                                f" FROM generate_series(1, {calls}) AS i;\n", calls, 3_200),
    }

    def processor_time():
        """Of the sessions that have ended, in seconds."""
        others = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'"
        while db.execute(others).fetchone() != (0,):
            time.sleep(0.01)
        time.sleep(0.2)  # until the postmaster has noticed
        with open(f"/proc/{postmaster}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for what, (script, in_each, runs) in scripts.items():
            path = os.path.join(folder, "script")
            with open(path, "w", encoding="utf-8") as file:
                file.write(script)
            for clients in (1, 2, 8):
                def cost(stats, clients=clients):
                    begun = processor_time()
                    pgbench(path, "-t", str(runs // clients), clients=clients, environment={"PGOPTIONS": f"-c advisory_keys.track_stats={stats}"})
                    return (processor_time() - begun) / runs / in_each * 1e6
                figures = medians(rounds, {"on": lambda: cost("on"), "off": lambda: cost("off")})
                rows.append(row(f"try_lock_keys without statistics / with, {what}, {clients} client(s)", figures["off"],
                                figures["on"], "us cpu", figures["off"] / figures["on"],
                                ">= 0.97" if in_each == 1 else None))
    return rows
