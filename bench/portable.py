"""The portable edition beside the extension, in a database of its own."""

import pathlib
import time

import psycopg

from claims import candidates_held
from figures import medians, row, seconds
from keys import SQL_KEY, table_of_names

PORTABLE = pathlib.Path(__file__).parents[1] / "sql" / "portable.sql"


def portable(db, rounds):
    """The portable edition, in a database of its own: its key, over a table and in statements with one
    each, and locking in a loop."""
    loops, statements = 20_000, 2_000
    db.execute("DROP DATABASE IF EXISTS bench_portable")
    db.execute("CREATE DATABASE bench_portable")
    loop = """DO $$ DECLARE a text[]; BEGIN FOR i IN 1..%d LOOP
        a := ARRAY['order', (i %% 100)::text]; PERFORM %s; END LOOP; END $$"""

    def locking(connection, call):
        return lambda: seconds(connection, loop % (loops, call)) / loops * 1e9

    with psycopg.connect(dbname="bench_portable", autocommit=True) as other, \
            psycopg.connect(dbname="bench_portable", autocommit=True) as holder, psycopg.connect(autocommit=True) as native_holder:
        other.execute("SET jit = off")
        other.execute("SET max_parallel_workers_per_gather = 0")
        other.execute(PORTABLE.read_text(encoding="utf-8"))
        scan = table_of_names(other, 100_000)

        def one_by_one(expression):
            def run():
                begun = time.perf_counter()
                for i in range(statements):
                    other.execute(f"SELECT {expression} FROM (SELECT ARRAY['order', '{i}'] AS k OFFSET 0) AS name",
                                  prepare=False)
                return (time.perf_counter() - begun) / statements * 1e6
            return run

        figures = medians(rounds, {
            "scan": scan("k"), "key": scan("advisory_key(k)"), "sql": scan(SQL_KEY),
            "one key": one_by_one("advisory_key(k)"), "one sql": one_by_one(SQL_KEY),
            "try": locking(other, "try_lock_keys(a)"), "native try": locking(db, "try_lock_keys(a)"),
            "wait": locking(other, "try_lock_keys(a, timeout => '1s', session => true), unlock_keys(a)"),
            "native wait": locking(db, "try_lock_keys(a, timeout => '1s', session => true), unlock_keys(a)"),
            "slot": locking(other, "try_lock_slot(a, 2, session => true), unlock_slot(a)"),
            "shared": locking(other, "try_lock_keys(a, shared => true, session => true), unlock_keys(a, shared => true)"),
        })
        # By themselves, since what the others hold is looked through by slots.
        figures |= medians(rounds, {
            "claim": candidates_held(holder, other, 1000), "native claim": candidates_held(native_holder, db, 1000),
        })
    db.execute("DROP DATABASE bench_portable")
    key, expression = figures["key"] - figures["scan"], figures["sql"] - figures["scan"]
    return [
        row("portable advisory_key / the SQL expression, over a table", key, expression, "ns", key / expression, "<= 1.5"),
        row("portable advisory_key / the SQL expression, a statement each", figures["one key"], figures["one sql"], "us",
            figures["one key"] / figures["one sql"], "<= 1.5"),
        row("portable try_lock_keys / native, in a loop", figures["try"], figures["native try"], "ns",
            figures["try"] / figures["native try"]),
        row("portable session lock + unlock with timeout / native", figures["wait"], figures["native wait"], "ns",
            figures["wait"] / figures["native wait"]),
        row("portable claim_keys, a busy candidate / native", figures["claim"], figures["native claim"], "ns",
            figures["claim"] / figures["native claim"]),
        row("portable slot and unlock / shared lock and unlock", figures["slot"], figures["shared"], "ns",
            figures["slot"] / figures["shared"]),
    ]
