"""Leases against plain statements on the same table, each a transaction of its own whose commit waits for the disk."""

import itertools
import re
import statistics
import time

import psycopg

from figures import row, seconds

CALLS = 100
"""Statements in each round of a figure."""
MANY = 100_000
HOUR = 6_000
"""New names in an hour, for the steady state."""

KEY = "('x' || encode(substr(sha256(convert_to('bench-' || $1, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint"
"""As the lease functions compute it, in the plain statements."""

STATEMENTS = {
    "take": "SELECT advisory_leases.try_lease_key(ARRAY['bench', $1], '1 hour', 'holder')",
    "renew": "SELECT advisory_leases.renew_lease_key(ARRAY['bench', $1], $2, '1 hour')",
    "release": "SELECT advisory_leases.release_lease_key(ARRAY['bench', $1], $2)",
    "holds": "SELECT advisory_leases.holds_lease_key(ARRAY['bench', $1], $2)",
    "fence": "SELECT advisory_leases.fence_lease_key(ARRAY['bench', $1], $2)",
    "update": f"""UPDATE advisory_leases.lease SET renewed_at = clock_timestamp(), expires_at = clock_timestamp() + '1 hour'
        WHERE key = {KEY} AND token = $2::bigint""",
    "upsert": f"""INSERT INTO bench_plain
        VALUES ({KEY}, 'bench-' || $1, 1, 'holder', 'postgres'::regrole, clock_timestamp(), clock_timestamp(),
          clock_timestamp() + '1 hour')
        ON CONFLICT (key) DO UPDATE SET token = 1, holder = 'holder', role = excluded.role, taken_at = excluded.taken_at,
          renewed_at = excluded.renewed_at, expires_at = excluded.expires_at""",
}

PLAIN = {
    "renew": ("update", "<= 1.5"), "release": ("updates", "<= 1.5"), "take a new name": ("upsert", "<= 2"), "take over": ("upsert again", "<= 2"),
    "refused": ("update", None), "holds": ("update", None), "fence": ("update", None),
}
"""Beside which statement, and how much slower it may be."""


def leases(rounds):
    with psycopg.connect(autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS bench_leases")
        admin.execute("CREATE DATABASE bench_leases")
        try:
            with psycopg.connect(dbname="bench_leases", autocommit=True) as db:
                db.execute("CREATE EXTENSION advisory_leases")
                db.execute("CREATE TABLE bench_plain (LIKE advisory_leases.lease INCLUDING ALL) WITH (fillfactor = 50)")
                with_disk(admin, "on")
                statements = Statements(db)
                rows = [*beside_plain(statements.figures(rounds)), *hot(db)]
                with_disk(admin, "off")
                few = statements.figures(rounds)
                rows += from_empty(db, rounds)
            with psycopg.connect(dbname="bench_leases", autocommit=True) as db:
                rows += flat(few, Statements(db).figures(rounds))
                rows += steady_state(db)
        finally:
            with_disk(admin, "off")
            admin.execute("DROP DATABASE bench_leases WITH (FORCE)")
    return rows


def with_disk(admin, fsync):
    """Do commits wait for the disk? Nothing else that is measured commits anything, so the server does without."""
    admin.execute(f"ALTER SYSTEM SET fsync = {fsync}")
    admin.execute("SELECT pg_reload_conf()")
    while admin.execute("SHOW fsync").fetchone() != (fsync,):
        time.sleep(0.01)


class Statements:
    """Microseconds of each statement, on a session of its own."""

    names = itertools.count()  # never the same again

    def __init__(self, db):
        self._db = db
        for name, statement in STATEMENTS.items():
            prepared = db.pgconn.prepare(name.encode(), statement.encode(), [25, 20] if "$2" in statement else [25])
            assert prepared.status == psycopg.pq.ExecStatus.COMMAND_OK, prepared.error_message
        self._held = self._taken()
        self._upserted = self._new()

    def _call(self, name, arguments):
        result = self._db.pgconn.exec_prepared(name.encode(), [str(argument).encode() for argument in arguments])
        assert result.status in (psycopg.pq.ExecStatus.TUPLES_OK, psycopg.pq.ExecStatus.COMMAND_OK), result.error_message
        return result

    def _new(self):
        return [(next(self.names),) for _ in range(CALLS)]

    def _taken(self):
        """Leases of new names: (name, token)."""
        return [(name, int(self._call("take", [name]).get_value(0, 0))) for name, in self._new()]

    def _released(self):
        leases_before = self._taken()
        for lease in leases_before:
            self._call("release", lease)
        return [(name,) for name, _ in leases_before]

    def figures(self, rounds):
        """Medians of single calls. They take turns, since a disk that others use is never the same for long."""
        figures = {}
        for _ in range(rounds):
            calls = {
                "renew": ("renew", self._held[:1] * CALLS), "update": ("update", self._held[:1] * CALLS),
                "release": ("release", self._taken()), "updates": ("update", self._held),
                "take a new name": ("take", self._new()), "upsert": ("upsert", self._new()),
                "take over": ("take", self._released()), "upsert again": ("upsert", self._upserted),
                "refused": ("take", [(name,) for name, _ in self._held]),
                "holds": ("holds", self._held[:1] * CALLS), "fence": ("fence", self._held[:1] * CALLS),
            }
            order = list(calls)
            for number in range(CALLS):
                for name in order:
                    statement, arguments = calls[name]
                    begun = time.perf_counter()
                    self._call(statement, arguments[number])
                    figures.setdefault(name, []).append((time.perf_counter() - begun) * 1e6)
                order.reverse()
        return {name: statistics.median(times) for name, times in figures.items()}


def beside_plain(figures):
    return [row(f"leases: {name} / plain {plain}", figures[name], figures[plain], "us", figures[name] / figures[plain], target)
            for name, (plain, target) in PLAIN.items()]


def flat(few, many):
    """The server's work alone, since the disk would hide it; beside the plain statements, as the machine may have changed in between."""
    rows = []
    for name, (plain, target) in PLAIN.items():
        rows.append(row(f"leases: {name} / plain {plain}, without the disk", few[name], few[plain], "us", few[name] / few[plain]))
        if target:
            rows.append(row(f"  the same with {MANY:,} leases", many[name], many[plain], "us", many[name] / many[plain],
                            f"<= {1.2 * few[name] / few[plain]:.2f}"))
    return rows


def hot(db):
    """Updates that touched no index, of those so far."""
    db.execute("SELECT pg_stat_force_next_flush()")
    updates, of_these = db.execute(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'advisory_leases.lease'::regclass").fetchone()
    return [row("  HOT updates / all updates", of_these, updates, "rows", of_these / updates, "1")]


def from_empty(db, rounds):
    """New names in one session, from an empty table on, beside as many upserts in a table that grows as fast; in a session whose plans
    are made while it is empty. Microseconds of each, in the last tenth and in the first."""
    tenth = MANY // 10
    take = "SELECT count(advisory_leases.try_lease_key(ARRAY['many', i::text], '1 day')) FROM generate_series({} + 1, {}) AS i"
    upsert = re.sub(r"VALUES \((.+?)\)\s+ON CONFLICT", r"SELECT \1 FROM generate_series({} + 1, {}) AS i ON CONFLICT",
                    STATEMENTS["upsert"].replace("$1", "i"), flags=re.DOTALL)
    times = {"take": [], "upsert": []}
    for _ in range(max(1, rounds // 3)):
        db.execute("TRUNCATE advisory_leases.lease, bench_plain")
        with psycopg.connect(dbname="bench_leases", autocommit=True) as fresh:
            for name in times:
                times[name].append([])
            for first in range(0, MANY, tenth):
                for name, statement in (("take", take), ("upsert", upsert)):
                    times[name][-1].append(seconds(fresh, statement.format(first, first + tenth)) / tenth * 1e6)
    taken, upserted = ([statistics.median(tenths[i] for tenths in times[name]) for i in range(10)] for name in times)
    first, last = taken[0] / upserted[0], taken[-1] / upserted[-1]
    return [
        row(f"leases: {MANY:,} new names from none / plain upserts", sum(taken) / 10, sum(upserted) / 10, "us", sum(taken) / sum(upserted)),
        row("  the last tenth / the first, beside the upserts", last, first, "", last / first, "<= 1.2"),
    ]


def steady_state(db):
    """Rows in the table, some hours after new names began to come that nobody takes again."""
    db.execute("TRUNCATE advisory_leases.lease")
    minute = HOUR // 60
    take = "SELECT count(advisory_leases.try_lease_key(ARRAY['hour', i::text], '1 s')) FROM generate_series(%s::int, %s::int) AS i"
    # As if a minute had gone by.
    pass_by = "UPDATE advisory_leases.lease SET token = token - 60000, expires_at = expires_at - interval '1 min'"
    for number in range(4 * 60):
        db.execute(take, [number * minute + 1, (number + 1) * minute])
        db.execute(pass_by)
        db.execute("VACUUM advisory_leases.lease")
    rows = db.execute("SELECT count(*) FROM advisory_leases.lease").fetchone()[0]
    return [row("leases: rows, in the fifth hour / names in an hour", rows, HOUR, "rows", rows / HOUR, "<= 1.5")]
