"""Locking by name, beside core's functions: one lock, many, with others held, and refused."""

import os
import tempfile
import threading
import time

import psycopg

from figures import medians, row, seconds, tps

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
                name: (lambda script=script, environment=environment: tps(
                    os.path.join(folder, script), seconds_per_run, clients=clients, environment=environment))
                for name, (script, environment) in candidates.items()})
            for first, second, target in (("without names", "core", ">= 0.97"), ("try_lock_keys", "without names", ">= 0.93")):
                rows.append(row(f"{LABELS[first]} / {LABELS[second]}, {clients} client(s)", figures[first],
                                figures[second], "tps", figures[first] / figures[second], target))
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
                return tps(os.path.join(folder, "unrelated"), duration)
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
