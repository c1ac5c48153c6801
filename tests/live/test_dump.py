"""A dump of a database with the edition that is tested, restored into databases of other encodings."""

import psycopg
import pytest

from programs import program
from scene import name_key, scratch_database

ENCODINGS = {"UTF8": "日本 ä", "EUC_JP": "日本", "EUC_KR": "한국", "LATIN1": "Müller", "SQL_ASCII": "日本 ä"}

UNASSIGNED = {"EUC_JP": b"\xa9\xa1", "EUC_KR": b"\xc9\xa1"}
"""Well-formed, but no character."""


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_keys_are_the_same_after_a_restore_into_another_encoding(connect, encoding):
    with scratch_database("source", "TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER libc LOCALE 'C'") as source:
        db = connect(dbname=source)
        db.execute("CREATE TABLE uses_key (id int, key bigint GENERATED ALWAYS AS (advisory_key(ARRAY['acct', id::text])) STORED)")
        db.execute("CREATE INDEX ON uses_key (advisory_key(ARRAY['acct', id::text]))")
        db.execute("INSERT INTO uses_key VALUES (1)")
        dump = program("pg_dump", "-d", source).stdout
    options = f"TEMPLATE template0 ENCODING '{encoding}' LOCALE_PROVIDER libc LOCALE 'C'"
    with scratch_database("restored", options, install=lambda db: None) as restored:
        program("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-d", restored, input=dump)
        db = connect(dbname=restored, client_encoding="UTF8")
        assert db.execute("SELECT key, advisory_key(ARRAY['acct', id::text]) FROM uses_key").fetchone() == (name_key("acct", "1"),) * 2
        text = ENCODINGS[encoding]
        for name in ([text], ["order", text], ["back\\slash", text, ""], ["a", "b", "c", text]):
            key = (name_key(*name),)
            assert db.execute("SELECT advisory_key(%s)", [name]).fetchone() == key
            assert db.execute("SELECT advisory_key(k) FROM (SELECT %s::text[] AS k OFFSET 0) AS names", [name]).fetchone() == key
            assert db.execute("SELECT try_lock_keys(%s), holds_keys(%s)", [name, name]).fetchone() == (True, True)
        if encoding in UNASSIGNED:
            with pytest.raises(psycopg.Error) as error:
                db.execute("SELECT advisory_key(ARRAY[convert_from(%s, %s)])", [UNASSIGNED[encoding], encoding])
            assert error.value.sqlstate in ("22021", "22P05")
