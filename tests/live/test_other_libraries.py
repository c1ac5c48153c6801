"""The queries of docs/from-another-library.md, taken from that page, against the integers that the libraries
compute: here in Python, and for one name each as it was published or printed elsewhere."""

import hashlib
import hmac
import pathlib
import re
import struct
import zlib

import pytest

from scene import native_only

pytestmark = native_only("these queries use neither edition")

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "from-another-library.md").read_text(encoding="utf-8")
SECTIONS = (section.partition("\n") for section in PAGE.split("\n## ")[1:])
BOTH_LOCKS = re.search(r"```sql\n(.+?)```", PAGE, re.DOTALL)[1]
QUERIES = {title: re.search(r"```sql\n(.+?)```", text, re.DOTALL)[1] for title, _, text in SECTIONS}
NAMES = [
    "my-lock", "", "x", "häuser 日本 🔒", "a much longer name, over one block of the hash functions, to be sure of them all",
    # BLAKE2b has blocks of 128 bytes: just one, one byte more, and several.
    "b" * 128, "b" * 129, "b" * 500,
]


def signed(value, bits):
    return value - (1 << bits) if value >= 1 << (bits - 1) else value


def fnv1_64(data):
    value = 14695981039346656037
    for byte in data:
        value = value * 1099511628211 % (1 << 64) ^ byte
    return signed(value, 64)


def hkdf_sha256(material, info):
    extracted = hmac.new(bytes(32), material, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


def little_endian(data, form):
    return struct.unpack_from(form, data)


COMPUTED = {
    "with_advisory_lock (Ruby)": lambda name, _: (zlib.crc32(name) & 0x7FFFFFFF, 0),
    "good_job (Ruby)": lambda name, _: struct.unpack(">q", hashlib.md5(name).digest()[:8]),
    "Rails migrations": lambda _, database: (2053462845 * zlib.crc32(database),),
    "django-pglock (Python)": lambda name, _: little_endian(hashlib.sha256(name).digest(), "<q"),
    "sqlalchemy-dlock (Python)": lambda name, _: little_endian(hashlib.blake2b(name, digest_size=8).digest(), "<q"),
    "sqlx (Rust), PgAdvisoryLock":
        lambda name, _: little_endian(hkdf_sha256(name, b"SQLx (Rust) Postgres advisory lock"), "<q"),
    "golang-migrate (Go)": lambda _, database: (
        zlib.crc32(b"\x00".join([database, b"public", b"schema_migrations"])) * 1486364155 % (1 << 32),),
    "river (Go)": lambda name, _: (fnv1_64(name),),
    "symfony/lock (PHP), PostgreSqlStore": lambda name, _: (zlib.crc32(name),),
    "advisory-lock (Node.js)": lambda name, _: (
        *little_endian(hashlib.sha256(name).digest(), "<i"), *little_endian(hashlib.sha256(name).digest()[4:], "<i")),
    "pg-boss (Node.js)": lambda _, database: struct.unpack(">q", hashlib.sha224(database + b".pgboss.pgboss").digest()[:8]),
}

# Integers that this file did not compute: what to put into the query, and what comes out.
PUBLISHED = {
    # From the documentation and the tests of the libraries.
    "sqlx (Rust), PgAdvisoryLock": ({"my-lock": "my first Postgres advisory lock!"}, (-5560419505042474287,)),
    "golang-migrate (Go)": (
        {"current_database()": "'database_name'", "'public'": "'schema_name_1'", " || '\\x00' || 'schema_migrations'": ""},
        (3244152297,)),
    "river (Go)": ({"my-lock": "some content for hashing purposes"}, (1854036014321452184,)),
    "advisory-lock (Node.js)": ({"my-lock": "test-lock"}, (-107789403, -1898803861)),
    # Printed by the library (1.8.0).
    "django-pglock (Python)": ({}, (6170642704201584368,)),
    # Printed by the library (0.9.0).
    "sqlalchemy-dlock (Python)": ({}, (-8841863937742578886,)),
    # From the expression that the library (10.4.2) sends, for which it waited when that key was locked.
    "pg-boss (Node.js)": ({"current_database()": "'database_name'"}, (-7577525253995181123,)),
    # Printed by the functions that the libraries call: Ruby's Zlib.crc32 and Digest::MD5, PHP's crc32.
    "with_advisory_lock (Ruby)": ({}, (1153040885, 0)),
    "good_job (Ruby)": ({"my-lock": "good_jobs-my-lock"}, (-3473632228379549256,)),
    "Rails migrations": ({"current_database()": "'database_name'"}, (1528542959536221090,)),
    "symfony/lock (PHP), PostgreSqlStore": ({}, (3300524533,)),
}


@pytest.fixture(scope="module")
def functions(database):
    return QUERIES["Functions that the queries use"]


@pytest.fixture
def db(connect, functions):
    db = connect(autocommit=False)
    db.execute(functions)
    return db


def test_old_and_new_code_exclude_each_other(connect):
    new, old = connect(), connect()
    for statement in re.sub(r"--.*", "", BOTH_LOCKS.replace("COMMIT;", "")).split(";"):
        if statement.strip():
            new.execute(statement)
    assert old.execute("SELECT pg_try_advisory_xact_lock(hashtext('report-daily'))").fetchone() == (False,)
    assert old.execute("SELECT try_lock_keys('{report,daily}')").fetchone() == (False,)


def test_every_query_of_the_page_is_tested():
    titles = set(QUERIES) - {"Functions that the queries use", "hashtext and hashtextextended"}
    assert titles == set(COMPUTED)


@pytest.mark.parametrize("library", COMPUTED)
def test_the_query_gives_what_the_library_locks(connect, db, library):
    database = db.info.dbname.encode()
    for name in NAMES:
        row = db.execute(QUERIES[library].replace("my-lock", name)).fetchone()
        assert row == COMPUTED[library](name.encode(), database), name
    # And that is what its lock is taken on.
    old = connect(autocommit=False)
    old.execute("SELECT pg_advisory_xact_lock(%s)" if len(row) == 1 else "SELECT pg_advisory_xact_lock(%s::int, %s::int)", row)
    arguments = ", ".join(f"({query})" for query in selected(QUERIES[library].replace("my-lock", name), len(row)))
    assert db.execute(f"SELECT pg_try_advisory_xact_lock({arguments})").fetchone() == (False,)


@pytest.mark.parametrize("library", COMPUTED)
def test_the_query_gives_what_was_published(db, library):
    query = QUERIES[library]
    replacements, published = PUBLISHED[library]
    for old, new in replacements.items():
        assert old in query
        query = query.replace(old, new)
    assert db.execute(query).fetchone() == published


def selected(query, columns):
    """The columns of a query, each as a query of its own, in the type that the lock functions take."""
    if columns == 1:
        return [f"SELECT key::bigint FROM ({query.rstrip().rstrip(';')}) AS old"]
    return [f"SELECT key{n}::int FROM ({query.rstrip().rstrip(';')}) AS old" for n in (1, 2)]


def test_known_values():
    """Check values of the functions themselves, from their specifications."""
    assert zlib.crc32(b"123456789") == 0xCBF43926
    assert fnv1_64(b"") == signed(0xCBF29CE484222325, 64) and fnv1_64(b"a") == signed(0xAF63BD4C8601B7BE, 64)


def test_hashtext_runs(db):
    key, extended = db.execute(QUERIES["hashtext and hashtextextended"]).fetchone()
    assert -(1 << 31) <= key < 1 << 31 and -(1 << 63) <= extended < 1 << 63
