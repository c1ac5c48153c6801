"""claim_keys among names that others hold."""

import psycopg

from figures import medians, row, seconds


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
