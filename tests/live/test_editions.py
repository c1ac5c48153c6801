"""The native and the portable edition in two databases of one server: the same keys, the same locks."""

import pytest

from scene import held_keys, install_portable, native_only, pid_of, scratch_database

pytestmark = native_only("this compares both, once")

RANDOM_KEYS = """
    WITH characters AS (
        SELECT i, CASE WHEN c >= 55296 THEN chr(c + 2048) ELSE chr(c) END AS c
        FROM (SELECT i, (1 + abs(hashint8extended(i, %(seed)s) %% 1112063))::int AS c
              FROM generate_series(1, 1000000) AS i) AS codes)
    SELECT md5(string_agg(advisory_key(CASE i %% 5
        WHEN 0 THEN ARRAY[c]
        WHEN 1 THEN ARRAY['order', i::text]
        WHEN 2 THEN ARRAY[c || md5(i::text), repeat(c, (i %% 40)::int)]
        WHEN 3 THEN ARRAY['', c, '-', repeat('x', (i %% 200)::int)]
        ELSE ARRAY[repeat(c, (i %% 70)::int), md5(c), c, c]
    END)::text, ',' ORDER BY i)) FROM characters
"""


@pytest.fixture(scope="module")
def portable():
    """A database with the portable edition."""
    with scratch_database("portable", install=install_portable) as name:
        yield name


def test_a_million_random_names_have_the_same_keys(connect, portable):
    native, other = (
        connect(dbname=dbname).execute(RANDOM_KEYS, {"seed": 42}).fetchone()[0] for dbname in (None, portable))
    assert native == other


def test_the_same_call_takes_the_same_locks(connect, portable):
    names = [["order", str(i)] for i in range(50)] + [["ä 日本", ""]]
    held = []
    for dbname in (None, portable):
        db = connect(dbname=dbname, autocommit=False)
        db.execute("SELECT lock_keys(%s), lock_keys(%s, shared => true)", [names, names[:5]])
        held.append(held_keys(db, pid_of(db)))
    assert held[0] == held[1]
    assert len(held[0]) == 56
