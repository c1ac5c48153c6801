"""Installing advisory_leases: by whom, among whom, and into what; dumped and restored; its keys, in every encoding."""

import json
import pathlib

import psycopg
import pytest

from leases import (  # noqa: F401
    LEASES_SQL, connect, database, holds, install_both, install_by_script, install_leases, name, release, renew, take,
)
from programs import program
from scene import PORTABLE, name_key, native_only, roles, scratch_database

VECTORS = json.loads((pathlib.Path(__file__).parents[1] / "vectors.json").read_text(encoding="ascii"))
ENCODINGS = {"UTF8": "日本 ä", "EUC_JP": "日本", "EUC_KR": "한국", "LATIN1": "Müller", "SQL_ASCII": "日本 ä"}
REMOVE = "DROP SCHEMA advisory_leases CASCADE" if PORTABLE else "DROP EXTENSION advisory_leases"


@pytest.fixture
def empty():
    with scratch_database("empty", install=lambda db: None) as name:
        yield name


@pytest.fixture
def admin(empty, connect):
    return connect(dbname=empty)


def test_it_needs_no_edition_and_leaves_nothing_behind(admin):
    everything = "SELECT count(*), (SELECT count(*) FROM pg_namespace), (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_extension) FROM pg_proc"
    before = admin.execute(everything).fetchone()
    for _ in range(2):
        install_leases(admin)
        assert renew(admin, ["a"], take(admin, ["a"]))
        admin.execute(REMOVE)
        assert admin.execute(everything).fetchone() == before


def test_a_schema_that_is_there_already_is_not_taken_for_ours(admin):
    admin.execute("CREATE SCHEMA advisory_leases")
    with pytest.raises(psycopg.errors.DuplicateSchema):
        install_leases(admin)
    assert admin.execute("SELECT count(*) FROM pg_proc WHERE pronamespace = 'advisory_leases'::regnamespace").fetchone() == (0,)


def test_twice_is_an_error_that_says_so(admin):
    install_by_script(admin)
    token = take(admin, ["a"])
    for again in (install_by_script, install_leases):
        with pytest.raises(psycopg.errors.DuplicateSchema, match="advisory_leases is installed in this database already") as error:
            again(admin)
        assert "forgets their tokens" in error.value.diag.message_hint
    assert holds(admin, ["a"], token)


def test_default_privileges_open_nothing(admin, connect, empty):
    with roles(admin, reader="LOGIN") as names:
        for objects in ("TABLES", "FUNCTIONS", "SCHEMAS", "SEQUENCES", "TYPES"):
            admin.execute(f"ALTER DEFAULT PRIVILEGES GRANT ALL ON {objects} TO {names['reader']}, pg_monitor")
        install_leases(admin)
        reader = connect(dbname=empty, user=names["reader"])
        assert take(reader, ["own"])
        for statement in (
            "TABLE advisory_leases.lease", "INSERT INTO advisory_leases.epoch VALUES (9, 9, '')", "CREATE TABLE advisory_leases.planted ()",
            "DELETE FROM advisory_leases.limits", "SELECT advisory_leases._token()",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(statement)
        reader.close()


def test_who_owns_the_database_needs_no_superuser(admin, connect, empty):
    """By either way; who runs the script owns what it makes, and whoever calls the functions is not at the mercy of that."""
    with roles(admin, owner="LOGIN", stranger="LOGIN") as names:
        admin.execute(f"ALTER DATABASE {empty} OWNER TO {names['owner']}")
        owner, stranger = connect(dbname=empty, user=names["owner"]), connect(dbname=empty, user=names["stranger"])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            install_leases(stranger)
        install_leases(owner)
        token = take(stranger, ["a"])
        assert renew(stranger, ["a"], token) and not renew(owner, ["a"], token) and take(owner, ["a"]) is None
        assert renew(admin, ["a"], token) and release(owner, ["a"], token)
        # Dumped by its owner, too, and restored by the owner of the tables: nobody else makes leases of others.
        token = take(stranger, ["a"])
        restorer = names["owner"] if PORTABLE else "postgres"
        for table in ("lease", "epoch") if not PORTABLE else ():
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                owner.execute(f"INSERT INTO advisory_leases.{table} TABLE advisory_leases.{table}")
        dump = program("pg_dump", "-U", names["owner"], "-d", empty, "--no-owner").stdout
        restored = f"{empty}_restored"
        admin.execute(f"CREATE DATABASE {restored} OWNER {names['owner']}")
        try:
            program("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-U", restorer, "-d", restored, input=dump)
            with psycopg.connect(dbname=restored, user=names["stranger"], autocommit=True) as there:
                assert renew(there, ["a"], token) and release(there, ["a"], token) and take(there, ["a"]) > token
        finally:
            admin.execute(f"DROP DATABASE {restored} WITH (FORCE)")
        owner.execute(REMOVE)
        admin.execute(f"ALTER DATABASE {empty} OWNER TO postgres")
        owner.close()
        stranger.close()


@native_only("the script is one and the same")
@pytest.mark.parametrize("options", [["-1"], ["-1", "-v", "ON_ERROR_STOP=1"]])
def test_psql_runs_the_script_in_one_transaction(admin, empty, options):
    assert program("psql", "-Xq", "-d", empty, *options, "-f", LEASES_SQL).stderr == b""
    assert take(admin, ["a"])


@native_only("the script is one and the same")
def test_without_a_transaction_the_script_is_refused(admin, empty):
    result = program("psql", "-Xq", "-d", empty, "-v", "ON_ERROR_STOP=1", "-f", LEASES_SQL, check=False)
    assert result.returncode != 0 and b"advisory_leases must be installed in one transaction" in result.stderr
    assert admin.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'advisory_leases'").fetchone() == (0,)


@native_only("the script is one and the same")
def test_the_script_finds_nothing_that_was_planted_and_leaves_the_search_path(admin):
    admin.execute("""
        CREATE SCHEMA planted;
        CREATE FUNCTION planted.encode(bytea, text) RETURNS text LANGUAGE sql IMMUTABLE RETURN '00';
        CREATE FUNCTION planted.sha256(bytea) RETURNS bytea LANGUAGE sql IMMUTABLE RETURN $1;
        CREATE FUNCTION planted.same(timestamptz, timestamptz) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN true;
        CREATE OPERATOR planted.<= (FUNCTION = planted.same, LEFTARG = timestamptz, RIGHTARG = timestamptz);
        SET search_path = planted, pg_catalog;
        SET quote_all_identifiers = on;
    """)
    install_by_script(admin)
    assert admin.execute("SHOW search_path").fetchone() == ("planted, pg_catalog",)
    assert take(admin, ["order", "42"])
    assert admin.execute("SELECT key, expired FROM advisory_leases.leases").fetchone() == (name_key("order", "42"), False)


@pytest.mark.parametrize("form", ["plain", "custom"])
def test_a_dump_keeps_leases_limits_and_the_order_of_tokens(connect, admin, empty, form):
    install_both(admin)
    held, old, free = ["held"], ["old", "x" * 3000], ["free"]
    token, expired = take(admin, held, holder="someone"), take(admin, old, "1 microsecond")
    admin.execute("INSERT INTO advisory_leases.limits VALUES ('2 hours')")
    admin.execute("UPDATE advisory_leases.lease SET token = token + (5::bigint << 44) WHERE key = %s", [name_key(*old)])
    dump = program("pg_dump", f"--format={form}", "-d", empty).stdout
    with scratch_database("restored", "TEMPLATE template0", install=lambda db: None) as restored:
        if form == "plain":
            program("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-d", restored, input=dump)
        else:
            program("pg_restore", "--exit-on-error", "-d", restored, input=dump)
        db = connect(dbname=restored)
        columns = "SELECT * FROM advisory_leases.leases ORDER BY key"
        assert db.execute(columns).fetchall() == admin.execute(columns).fetchall()
        assert take(db, held) is None and renew(db, held, token)
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="ttl is too long"):
            take(db, free, "3 hours")
        # Another place: another epoch, and never an earlier token, even from a server whose clock or epoch was ahead.
        (epoch,) = admin.execute("SELECT max(epoch) FROM advisory_leases.epoch").fetchone()
        assert take(db, free) >> 44 == epoch + 1
        assert take(db, old) == expired + (5 << 44) + 1
        db.close()


def test_keys_are_the_golden_ones(connect):
    db = connect()
    names = [vector["parts"] for vector in VECTORS["vectors"]]
    keys = [int(vector["key"]) for vector in VECTORS["vectors"]]
    for vector in VECTORS["described"]:
        names.append([part["text"] * part["repeat"] for part in vector["parts"]])
        keys.append(int(vector["key"]))
    for parts, key in zip(names, keys):
        with db.transaction(force_rollback=True):
            assert take(db, parts)
            assert db.execute("SELECT key, name FROM advisory_leases.leases WHERE key = advisory_key(%s)", [parts]).fetchone() == (key, "-".join(parts)[:1000])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_keys_are_the_same_in_every_encoding(connect, encoding):
    options = f"TEMPLATE template0 ENCODING '{encoding}' LOCALE_PROVIDER libc LOCALE 'C'"
    with scratch_database("encoded", options, install=install_both) as encoded:
        db = connect(dbname=encoded, client_encoding="UTF8")
        for parts in ([ENCODINGS[encoding]], ["order", ENCODINGS[encoding], "back\\slash", ""]):
            token = take(db, parts)
            assert holds(db, parts, token) and renew(db, parts, token)
            assert db.execute("SELECT name FROM advisory_leases.leases WHERE key = %s", [name_key(*parts)]).fetchone() == ("-".join(parts),)
        db.close()


def test_what_is_not_utf8_is_refused(connect):
    with scratch_database("ascii", "TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C'", install=install_both) as encoded:
        db = connect(dbname=encoded)
        with pytest.raises(psycopg.errors.CharacterNotInRepertoire):
            db.execute(r"SELECT advisory_leases.try_lease_key(ARRAY[E'a\xff'], '1 hour')")
        db.close()
