"""The key of a name, over a table, beside what people write in its place."""

from figures import medians, row, seconds

SQL_KEY = (
    "('x' || encode(substr(sha256(convert_to(array_to_string(k, '-'), 'UTF8')), 1, 8), 'hex'))"
    "::bit(64)::bigint"
)
"""The same key in SQL, of a name k."""


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
