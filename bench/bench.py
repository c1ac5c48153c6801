"""Measures the extension against what people use without it, side by side on one server.

Every figure is the median of several rounds; within a round the candidates follow each other, so
that what disturbs the machine disturbs all of them. Only the ratios mean anything.
"""

import argparse
import json
import os
import pathlib
import subprocess
import tempfile
import threading
import time

import psycopg

from figures import medians, pgbench, row, seconds
from leases import leases
from slots import slots

PORTABLE = pathlib.Path(__file__).parents[1] / "sql" / "portable.sql"

SQL_KEY = (
    "('x' || encode(substr(sha256(convert_to(array_to_string(k, '-'), 'UTF8')), 1, 8), 'hex'))"
    "::bit(64)::bigint"
)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--seconds", type=int, default=4,
                           help="of each pgbench run; in short ones, loading the library into each session counts")
    arguments.add_argument("--output", help="file for the figures, as JSON")
    options = arguments.parse_args()

    with psycopg.connect(autocommit=True) as db:
        db.execute("CREATE EXTENSION IF NOT EXISTS advisory_keys")
        db.execute("SET jit = off")
        db.execute("SET max_parallel_workers_per_gather = 0")
        db.execute("SET advisory_keys.max_keys_per_call = 20000")
        db.execute("SET advisory_keys.max_keys_per_session = 0")
        db.execute("SET advisory_keys.warn_short_locks = off")
        version = db.execute("SHOW server_version").fetchone()[0]
        rows = [
            *keys_of_a_table(db, options.rounds),
            *throughput(options.rounds, options.seconds),
            *counting(db, options.rounds),
            *acquire(db, options.rounds),
            *session_pairs(db, options.rounds),
            *many_keys(db, options.rounds),
            *many_held(db, options.rounds),
            *claims(db, options.rounds),
            *slots(db, options.rounds, options.seconds),
            *refused(options.rounds, options.seconds),
            *the_view(db, options.rounds),
            *the_statistics(db, options.rounds),
            *portable(db, options.rounds),
            *leases(options.rounds),
        ]
    print_table(version, rows)
    if options.output:
        with open(options.output, "w", encoding="utf-8") as file:
            json.dump({"server_version": version, "rounds": options.rounds, "rows": rows}, file, indent=1)


def table_of_names(db, count):
    """Makes a table of names k; a function that measures an expression over it, in nanoseconds per row."""
    db.execute("DROP TABLE IF EXISTS bench_names")
    db.execute(
        "CREATE TABLE bench_names AS SELECT ARRAY['SIGNUP-EMAIL', 'user' || i || '@example.com'] AS k"
        " FROM generate_series(1, %s::int) AS i", [count])
    db.execute("VACUUM ANALYZE bench_names")
    return lambda expression: lambda: seconds(db, f"SELECT count({expression}) FROM bench_names") / count * 1e9


def keys_of_a_table(db, rounds):
    """advisory_key over a table, net of the scan, in nanoseconds per row."""
    scan = table_of_names(db, 300_000)
    figures = medians(rounds * 3, {
        "scan": scan("k"),
        "hashtextextended": scan("hashtextextended(array_to_string(k, '-'), 0)"),
        "advisory_key": scan("advisory_key(k)"),
        "sql": scan(SQL_KEY),
    })
    net = {name: figures[name] - figures["scan"] for name in figures}
    return [
        row("advisory_key / hashtextextended(array_to_string)", net["advisory_key"], net["hashtextextended"],
            "ns", net["advisory_key"] / net["hashtextextended"], "<= 0.75"),
        row("SQL expression / advisory_key", net["sql"], net["advisory_key"],
            "ns", net["sql"] / net["advisory_key"], ">= 8.5"),
    ]


LABELS = {
    "try_lock_keys": "try_lock_keys with names",
    "without names": "try_lock_keys without names",
    "core": "core's try",
}


def throughput(rounds, seconds_per_run):
    """try_lock_keys, one in a transaction block, in transactions per second."""
    set_name = "\\set i random(1, 1000000)\n"
    scripts = {
        "try_lock_keys": "BEGIN;\nSELECT try_lock_keys(ARRAY['SIGNUP-EMAIL', :i::text]);\nCOMMIT;\n",
        "core": "BEGIN;\nSELECT pg_try_advisory_xact_lock(hashtextextended('SIGNUP-EMAIL-' || :i, 0));\nCOMMIT;\n",
    }
    without_names = {"PGOPTIONS": "-c advisory_keys.track_names=off"}
    candidates = {  # script and environment
        "try_lock_keys": ("try_lock_keys", {}),
        "without names": ("try_lock_keys", without_names),
        "core": ("core", without_names),
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, script in scripts.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(set_name + script)

        for clients in (1, 2, 8):
            figures = medians(rounds, {
                name: (lambda script=script, environment=environment: pgbench(
                    os.path.join(folder, script), seconds_per_run, clients, environment))
                for name, (script, environment) in candidates.items()})
            for first, second, target in (("without names", "core", ">= 0.97"), ("try_lock_keys", "without names", ">= 0.93")):
                rows.append(row(f"{LABELS[first]} / {LABELS[second]}, {clients} client(s)", figures[first],
                                figures[second], "tps", figures[first] / figures[second], target))
    return rows


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
                    subprocess.run(["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", "1", "-t", str(runs // clients), "-f", path],
                                   check=True, capture_output=True,
                                   env=os.environ | {"PGOPTIONS": f"-c advisory_keys.track_stats={stats}"})
                    return (processor_time() - begun) / runs / in_each * 1e6
                figures = medians(rounds, {"on": lambda: cost("on"), "off": lambda: cost("off")})
                rows.append(row(f"try_lock_keys without statistics / with, {what}, {clients} client(s)", figures["off"],
                                figures["on"], "us cpu", figures["off"] / figures["on"],
                                ">= 0.97" if in_each == 1 else None))
    return rows


def acquire(db, rounds):
    """CALL acquire_keys beside SELECT lock_keys, on a free name: microseconds of the backend's processor, for each
    statement in a transaction of its own."""
    calls = 10_000
    statements = {"call": b"CALL acquire_keys($1)", "select": b"SELECT lock_keys($1)"}

    def processor_time():
        with open(f"/proc/{db.info.backend_pid}/schedstat", encoding="ascii") as file:
            return int(file.read().split()[0]) / 1e3

    def statement(name, send):
        def run():
            begun = processor_time()
            for _ in range(calls):
                send(name)
            return (processor_time() - begun) / calls
        return run

    rows = []
    for name, text in statements.items():
        db.pgconn.prepare(name.encode(), text)
    for form, send in {
        "prepared": lambda name: db.pgconn.exec_prepared(name.encode(), [b"{bench,acquire}"]),
        "not prepared": lambda name: db.pgconn.exec_params(statements[name], [b"{bench,acquire}"]),
    }.items():
        figures = medians(rounds, {name: statement(name, send) for name in statements})
        rows.append(row(f"CALL acquire_keys / SELECT lock_keys, {form}", figures["call"], figures["select"], "us",
                        figures["call"] / figures["select"], "<= 1.1"))
    return rows


def session_pairs(db, rounds):
    """An uncontended session-level lock and unlock with a timeout, net of computing the key."""
    count = 100_000

    def loop(first, second):
        statement = f"""DO $$
            DECLARE a text[] := ARRAY['order', '42']; k bigint := advisory_key(a);
            BEGIN FOR i IN 1..{count} LOOP PERFORM {first}; PERFORM {second}; END LOOP; END $$"""
        return lambda: seconds(db, statement) / count * 1e9

    figures = medians(rounds, {
        "core": loop("pg_advisory_lock(k)", "pg_advisory_unlock(k)"),
        "named": loop("lock_keys(a, timeout => '5s', session => true)", "unlock_keys(a)"),
        "keys": loop("advisory_key(a)", "advisory_key(a)"),
        "nothing": loop("pg_backend_pid()", "pg_backend_pid()"),
    })
    net = figures["named"] - (figures["keys"] - figures["nothing"])
    return [row("session lock + unlock with timeout / core's", net, figures["core"], "ns",
                net / figures["core"], "<= 1.15")]


def many_keys(db, rounds):
    """100 keys: one call, 100 calls in one statement, 100 statements; microseconds per key."""
    count = 100

    def one_call():
        return seconds(db, "SELECT try_lock_keys((SELECT array_agg(ARRAY['acct', i::text]) FROM"
                           f" generate_series(1, {count}) AS i))") / count * 1e6

    def one_statement():
        return seconds(db, "SELECT count(try_lock_keys(ARRAY['acct', i::text])) FROM"
                           f" generate_series(1, {count}) AS i") / count * 1e6

    def statements():
        begun = time.perf_counter()
        with db.transaction():
            for i in range(count):
                db.execute("SELECT try_lock_keys(ARRAY['acct', %s])", [str(i)])
        return (time.perf_counter() - begun) / count * 1e6

    figures = medians(rounds * 3, {"call": one_call, "statement": one_statement, "statements": statements})
    return [
        row("100 keys: one call / 100 calls in one statement", figures["call"], figures["statement"], "us/key",
            figures["call"] / figures["statement"]),
        row("100 keys: one call / 100 statements", figures["call"], figures["statements"], "us/key",
            figures["call"] / figures["statements"]),
    ]


def many_held(db, rounds):
    """A lock and unlock while the session holds few or many other keys, in nanoseconds."""
    count = 50_000

    def hold(keys):
        db.execute("SELECT pg_advisory_unlock_all()")
        db.execute("SELECT lock_keys((SELECT array_agg(ARRAY['held', i::text]) FROM"
                   " generate_series(1, %s::int) AS i), session => true)", [keys])

    def pairs(keys):
        def measure():
            hold(keys)
            return seconds(db, f"""DO $$ DECLARE a text[]; BEGIN FOR i IN 1..{count} LOOP
                a := ARRAY['order', i::text];
                PERFORM lock_keys(a, session => true); PERFORM unlock_keys(a); END LOOP; END $$""") / count * 1e9
        return measure

    figures = medians(rounds, {"few": pairs(10), "many": pairs(10_000)})
    db.execute("SELECT pg_advisory_unlock_all()")
    return [row("lock + unlock with 10,000 keys held / with 10", figures["many"], figures["few"], "ns",
                figures["many"] / figures["few"], "<= 1.3")]


def candidates_held(holder, db, count):
    """Has somebody hold so many names, and makes a table of a row with their array; a function that measures a claim
    among them, in nanoseconds for each."""
    names = f"(SELECT array_agg(ARRAY['job', i::text]) FROM generate_series(1, {count}) AS i)"
    holder.execute("SET advisory_keys.max_keys_per_call = 20000")
    holder.execute("SET advisory_keys.max_keys_per_session = 0")
    holder.execute(f"SELECT lock_keys({names}, session => true)")
    table = f"bench_candidates_{count}"
    db.execute(f"DROP TABLE IF EXISTS {table}")
    db.execute(f"CREATE TABLE {table} AS SELECT {names} AS names")
    calls = max(1, 50_000 // count)
    loop = f"""DO $$ DECLARE a text[]; BEGIN SELECT names INTO a FROM {table};
        FOR i IN 1..{calls} LOOP PERFORM claim_keys(a); END LOOP; END $$"""
    return lambda: seconds(db, loop) / calls / count * 1e9


def claims(db, rounds):
    """A busy candidate of claim_keys, its key included; beside it, core's try on the key alone."""
    with psycopg.connect(autocommit=True) as holder:
        few, many = candidates_held(holder, db, 1000), candidates_held(holder, db, 10_000)
        db.execute("DROP TABLE IF EXISTS bench_keys")
        db.execute("CREATE TABLE bench_keys AS SELECT advisory_key(ARRAY['job', (1 + i % 1000)::text]) AS key"
                   " FROM generate_series(1, 50000) AS i")
        db.execute("VACUUM ANALYZE bench_keys")
        figures = medians(rounds, {
            "few": few, "many": many,
            "core": lambda: seconds(db, "SELECT count(*) FROM bench_keys WHERE pg_try_advisory_xact_lock(key)") / 50_000 * 1e9,
        })
    return [
        row("claim_keys, a busy candidate of 1,000 / core's try", figures["few"], figures["core"], "ns",
            figures["few"] / figures["core"], "first <= 600"),
        row("  a busy candidate of 10,000 / of 1,000", figures["many"], figures["few"], "ns", figures["many"] / figures["few"]),
    ]


def refused(rounds, duration):
    """A refused lock_keys, whose error names the holder, beside a refused try_lock_keys, while others hold
    50,000 locks; in microseconds, and in transactions per second of somebody who locks something else."""
    held, calls = 50_000, 500
    statements = {
        "try": "SELECT try_lock_keys('{held,1}')",
        "lock": "SELECT lock_keys('{held,1}', timeout => '0')",
    }

    def call(db, statement):
        def run():
            begun = time.perf_counter()
            for _ in range(calls):
                db.pgconn.exec_(statement.encode())  # an exception would cost more than the call
            return (time.perf_counter() - begun) / calls * 1e6
        return run

    def beside(name):
        """Somebody else's locking, while another session is refused in a loop."""
        loop = f"""DO $$ BEGIN FOR i IN 1..100 LOOP BEGIN PERFORM 1 FROM ({statements[name]}) AS s;
            EXCEPTION WHEN lock_not_available THEN END; END LOOP; END $$"""

        def run():
            stop = threading.Event()

            def refuse():
                with psycopg.connect(autocommit=True) as other:
                    while not stop.is_set():
                        other.execute(loop)

            thread = threading.Thread(target=refuse)
            thread.start()
            try:
                return pgbench(os.path.join(folder, "unrelated"), duration)
            finally:
                stop.set()
                thread.join()
        return run

    rows = []
    with tempfile.TemporaryDirectory() as folder, psycopg.connect(autocommit=True) as holder, \
            psycopg.connect(autocommit=True) as db:
        with open(os.path.join(folder, "unrelated"), "w", encoding="utf-8") as file:
            file.write("SELECT lock_keys('{unrelated}', session => true), unlock_keys('{unrelated}');\n")
        holder.execute("SET advisory_keys.max_keys_per_session = 0")
        holder.execute("SET advisory_keys.max_keys_per_call = 100000")
        for where in ("in a transaction", "idle, at session level"):
            if where == "in a transaction":
                holder.execute("BEGIN")
            holder.execute("SELECT lock_keys((SELECT array_agg(ARRAY['held', i::text]) FROM generate_series(1, %s::int)"
                           " AS i), session => %s)", [held, where != "in a transaction"])
            figures = medians(rounds, {
                **{name: call(db, statement) for name, statement in statements.items()},
                "beside try": beside("try"), "beside lock": beside("lock"),
            })
            holder.execute("ROLLBACK" if where == "in a transaction" else "SELECT pg_advisory_unlock_all()")
            rows += [
                row(f"refused lock_keys / refused try, holder {where}", figures["lock"], figures["try"], "us",
                    figures["lock"] / figures["try"], "<= 3"),
                row("  somebody else's locking beside the first / beside the second", figures["beside lock"],
                    figures["beside try"], "tps", figures["beside lock"] / figures["beside try"], ">= 0.8"),
            ]
    return rows


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


def print_table(version, rows):
    print(f"Postgres {version}, medians\n")
    print(f"{'':62} {'first':>10} {'second':>10} {'unit':7} {'ratio':>7}  target")
    for r in rows:
        print(f"{r['what']:62} {r['value']:10.1f} {r['reference']:10.1f} {r['unit']:7} {r['ratio']:7.2f}  {r['target'] or ''}")


if __name__ == "__main__":
    main()
