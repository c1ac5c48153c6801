"""Measures the extension against what people use without it, side by side on one server.

Every figure is the median of several rounds; within a round the candidates follow each other, so
that what disturbs the machine disturbs all of them. Only the ratios mean anything.
With --only, some groups of figures: `bench.py --only view --only statistics`.
"""

import argparse
import json

import psycopg

from claims import claims
from keys import keys_of_a_table
from leases import leases
from locks import acquire, many_held, many_keys, refused, session_pairs, throughput
from portable import portable
from slots import slots
from views import counting, the_statistics, the_view

GROUPS = {
    "keys": lambda db, rounds, _: keys_of_a_table(db, rounds),
    "throughput": lambda _, rounds, seconds: throughput(rounds, seconds),
    "counting": lambda db, rounds, _: counting(db, rounds),
    "acquire": lambda db, rounds, _: acquire(db, rounds),
    "session": lambda db, rounds, _: session_pairs(db, rounds),
    "many": lambda db, rounds, _: many_keys(db, rounds),
    "held": lambda db, rounds, _: many_held(db, rounds),
    "claims": lambda db, rounds, _: claims(db, rounds),
    "slots": slots,
    "refused": lambda _, rounds, seconds: refused(rounds, seconds),
    "view": lambda db, rounds, _: the_view(db, rounds),
    "statistics": lambda db, rounds, _: the_statistics(db, rounds),
    "portable": lambda db, rounds, _: portable(db, rounds),
    "leases": lambda db, rounds, _: leases(rounds),
}
"""What is measured, in this order."""


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--seconds", type=int, default=4,
                           help="of each pgbench run; in short ones, loading the library into each session counts")
    arguments.add_argument("--only", action="append", choices=GROUPS, help="measures this group; may be given several times")
    arguments.add_argument("--output", help="file for the figures, as JSON; with --only, for these alone")
    options = arguments.parse_args()

    with psycopg.connect(autocommit=True) as db:
        db.execute("CREATE EXTENSION IF NOT EXISTS advisory_keys")
        db.execute("SET jit = off")
        db.execute("SET max_parallel_workers_per_gather = 0")
        db.execute("SET advisory_keys.max_keys_per_call = 20000")
        db.execute("SET advisory_keys.max_keys_per_session = 0")
        db.execute("SET advisory_keys.warn_short_locks = off")
        version = db.execute("SHOW server_version").fetchone()[0]
        rows = []
        for name, measure in GROUPS.items():
            if name in (options.only or GROUPS):
                rows += measure(db, options.rounds, options.seconds)
    print_table(version, rows)
    if options.output:
        with open(options.output, "w", encoding="utf-8") as file:
            json.dump({"server_version": version, "rounds": options.rounds, "rows": rows}, file, indent=1)


def print_table(version, rows):
    print(f"Postgres {version}, medians\n")
    print(f"{'':62} {'first':>10} {'second':>10} {'unit':7} {'ratio':>7}  target")
    for r in rows:
        print(f"{r['what']:62} {r['value']:10.1f} {r['reference']:10.1f} {r['unit']:7} {r['ratio']:7.2f}  {r['target'] or ''}")


if __name__ == "__main__":
    main()
