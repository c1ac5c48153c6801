"""Parts that were cut because they are of type `name`: an error where it can be seen, instead of another key."""

import psycopg
import pytest

from scene import name_key, native_only

pytestmark = native_only("a function in PL/pgSQL does not see the expression that it is called with")

LONG = "x" * 70
CUT = "x" * 63
FUNCTIONS = ["advisory_key", "try_lock_keys", "lock_keys", "unlock_keys", "release_keys", "holds_keys", "keys_available"]


@pytest.fixture
def db(connect):
    connection = connect()
    connection.execute(f"CREATE TEMP TABLE long_names AS SELECT '{LONG}' AS r, '{CUT}'::name AS n, 'short'::name AS s")
    connection.execute("BEGIN")
    return connection


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("parts", [
    "ARRAY[current_user, r]", "ARRAY[current_schema(), r]", "ARRAY[[current_user, r], [current_user, 'b']]",
    "ARRAY[n, 'x']", "ARRAY[n] || s", "(ARRAY[n] || s)::text[]",
])
def test_a_cut_part_is_an_error(db, function, parts):
    if function == "advisory_key" and "[[" in parts:
        pytest.skip("takes one name")
    with pytest.raises(psycopg.errors.DatatypeMismatch) as error:
        db.execute(f"SELECT {function}({parts}) FROM long_names")
    assert error.value.sqlstate == "42804"
    assert error.value.diag.message_primary == "a part of a key may have been cut"
    assert error.value.diag.message_detail == "The parts are of type name, which keeps 63 bytes at most; one has 63."
    assert "current_user::text" in error.value.diag.message_hint


def test_a_cut_part_is_an_error_in_call_too(db):
    with pytest.raises(psycopg.errors.DatatypeMismatch):
        db.execute(f"CALL acquire_keys(ARRAY[current_user, '{LONG}'])")


@pytest.mark.parametrize("parts", [
    "ARRAY[current_user::text, r]", "ARRAY[n::text, 'x']", "ARRAY[n, r]::text[]", "ARRAY[s, 'x']", "ARRAY[current_user, 'x']",
    f"ARRAY['{CUT}', 'x']", f"ARRAY['{CUT}']::varchar[]", "(SELECT array_agg(r) FROM long_names)",
])
def test_what_cannot_have_been_cut_is_taken(db, parts):
    db.execute(f"SELECT advisory_key({parts}), try_lock_keys({parts}) FROM long_names")


def test_a_parameter_is_taken_whatever_its_length(db):
    for length in range(58, 66):
        part = "ä" * (length // 2) + "x" * (length % 2)
        assert db.execute("SELECT advisory_key(%s)", [["a", part]]).fetchone() == (name_key("a", part),)


@pytest.mark.parametrize("characters, bytes_left", [("ä" * 40, 62), ("日" * 30, 63), ("😀" * 20, 60)])
def test_a_part_cut_between_characters_is_an_error(db, characters, bytes_left):
    assert db.execute("SELECT octet_length(%s::name::text)", [characters]).fetchone() == (bytes_left,)
    with pytest.raises(psycopg.errors.DatatypeMismatch):
        db.execute(f"SELECT advisory_key(ARRAY[current_user, '{characters}' || r]) FROM long_names")


def test_an_index_over_catalog_names_stays_possible(db):
    db.execute("CREATE TEMP TABLE relations (space name, relation name)")
    db.execute("CREATE INDEX ON relations (advisory_key(ARRAY[space, relation]))")
    db.execute("INSERT INTO relations VALUES ('public', 'orders')")
    with pytest.raises(psycopg.errors.DatatypeMismatch):
        db.execute("INSERT INTO relations VALUES ('public', %s)", [LONG])


def test_a_call_by_an_operator_is_seen_too(connect, db):
    db.execute("CREATE OPERATOR pg_temp.!!! (FUNCTION = advisory_key, RIGHTARG = text[])")
    assert db.execute("SELECT OPERATOR(pg_temp.!!!) ARRAY['order', '42']").fetchone() == (name_key("order", "42"),)
    with pytest.raises(psycopg.errors.DatatypeMismatch):
        db.execute("SELECT OPERATOR(pg_temp.!!!) ARRAY[current_user, r] FROM long_names")


def test_a_call_inside_a_function_is_seen_too(db):
    db.execute("""
        CREATE FUNCTION pg_temp.locks(r text) RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN RETURN try_lock_keys(ARRAY[current_user, r]); END $$""")
    assert db.execute("SELECT pg_temp.locks('short')").fetchone() == (True,)
    with pytest.raises(psycopg.errors.DatatypeMismatch):
        db.execute("SELECT pg_temp.locks(%s)", [LONG])
