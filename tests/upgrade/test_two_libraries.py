"""Sessions that have a released library and sessions that have the present one, on one server at the same time."""

import pytest

from installation import has_the_old_library
from scene import MAJOR, Background, name_key

# Where the library is preloaded, all have that of the postmaster.
pytestmark = pytest.mark.parametrize("preloaded", [False], indirect=True, ids=["on demand"])

SESSIONS = 3
"""Of each library."""

LOCKS = 200

WORK = """
    SELECT count(*) FROM generate_series(1, %(locks)s) AS i
    WHERE try_lock_keys(ARRAY['of', %(who)s, i::text], session => true)
        AND try_lock_keys(ARRAY['of all', (i %% 5)::text], timeout => '10s', session => true)
        AND unlock_keys(ARRAY['of all', (i %% 5)::text])
"""


@pytest.fixture
def sessions(connect, put_present):
    """By the words "old" and "new"."""
    old = [connect() for _ in range(SESSIONS)]
    for db in old:
        db.execute("SELECT advisory_key('{a}')")
    put_present()
    new = [connect() for _ in range(SESSIONS)]
    for db in new:
        db.execute("SELECT advisory_key('{a}')")
    assert all(map(has_the_old_library, old)) and not any(map(has_the_old_library, new))
    return {"old": old, "new": new}


@pytest.mark.parametrize("first", ["old", "new"])
def test_they_exclude_each_other_and_neither_sees_garbage_in_the_others_names(server, connect, sessions, first):
    # Who makes the shared memory.
    sessions[first][0].execute("SELECT lock_keys('{first}', session => true)")
    owners = {f"{library} {i}": db for library in sessions for i, db in enumerate(sessions[library])}
    working = [Background(db, WORK, {"locks": LOCKS, "who": who}) for who, db in owners.items()]
    assert [work.result() for work in working] == [LOCKS] * len(owners)
    names = {name_key("first"): (first, "first")}
    for who in owners:
        for i in range(1, LOCKS + 1):
            names[name_key("of", who, str(i))] = (who.split()[0], f"of-{who}-{i}")
    for library, readers in sessions.items():
        for reader in readers:
            seen = dict(reader.execute("SELECT key, name FROM advisory_locks"))
            assert seen.keys() == names.keys()
            for key, name in seen.items():
                recorded_by, right = names[key]
                # Where the names are depends on their layout, which the versions may or may not have in common.
                assert name == right or name is None and (recorded_by != library or MAJOR < 17)
    assert "terminated by signal" not in server.log()
    for library, other in (("old", "new"), ("new", "old")):
        assert sessions[other][0].execute("SELECT try_lock_keys(ARRAY['of', %s, '1'])", [f"{library} 0"]).fetchone() == (False,)


def test_a_worker_of_an_old_session_has_the_new_library(sessions):
    """Postgres hands it the settings of its leader."""
    for db in sessions["old"]:
        for name, value in db.execute("SELECT name, setting FROM pg_settings WHERE name LIKE 'advisory_keys.%' AND context = 'user'").fetchall():
            db.execute("SELECT set_config(%s, %s, false)", [name, value])
        db.execute(f"SET {'debug_parallel_query' if MAJOR >= 16 else 'force_parallel_mode'} = on")
        query = "SELECT advisory_key(ARRAY['order', i::text]) FROM generate_series(42, 42) AS i"
        assert "Workers Launched: 1" in str(db.execute("EXPLAIN (ANALYZE) " + query).fetchall())
        assert db.execute(query).fetchone() == (name_key("order", "42"),)
