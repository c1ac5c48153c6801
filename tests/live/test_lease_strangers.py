"""What roles without rights to a lease can do to it, and to whoever calls the functions: nothing but take names that are free."""

import psycopg
import pytest

from leases import connect, database, fence, holds, name, release, renew, take  # noqa: F401
from scene import MAJOR, PORTABLE, connections, roles, scratch_database

LEASE = "SELECT name FROM advisory_leases.leases WHERE name = %s"


@pytest.fixture
def admin(connect):
    return connect()


@pytest.fixture
def app(connect, admin, name):
    """A role with a lease, as a connection with its token; other roles by their words."""
    with roles(admin, app="LOGIN", member="LOGIN", stranger="LOGIN", monitor="LOGIN", owner="LOGIN") as names:
        admin.execute(f"GRANT {names['app']} TO {names['member']}; GRANT pg_read_all_stats TO {names['monitor']}")
        db = connect(user=names["app"])
        db.token = take(db, name)
        db.names = names
        yield db


def as_role(connect, app, role):
    return connect(user=app.names[role])


def refuses(db, name, token):
    """All that could be done with the lease, which is not there for this role, even with the right token."""
    assert not holds(db, name, token) and not renew(db, name, token) and not release(db, name, token)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        fence(db, name, token)
    assert take(db, name) is None


def works(db, name, token):
    assert holds(db, name, token) and renew(db, name, token)
    fence(db, name, token)


def sees(db, name):
    return db.execute(LEASE, ["-".join(name)]).fetchone() is not None


def test_a_lease_is_for_its_role_and_those_with_its_rights(connect, admin, app, name):
    works(app, name, app.token)
    member, stranger = as_role(connect, app, "member"), as_role(connect, app, "stranger")
    works(member, name, app.token)
    works(admin, name, app.token)
    assert sees(app, name) and sees(member, name) and sees(admin, name)
    refuses(stranger, name, app.token)
    assert not sees(stranger, name)
    assert release(member, name, app.token)


def test_who_monitors_sees_all_and_changes_nothing(connect, app, name):
    monitor = as_role(connect, app, "monitor")
    assert sees(monitor, name)
    refuses(monitor, name, app.token)


def test_the_owner_of_the_database_sees_all_and_can_release_any(connect, admin, app, name, database):
    owner = as_role(connect, app, "owner")
    refuses(owner, name, app.token)
    admin.execute(f"ALTER DATABASE {database} OWNER TO {app.names['owner']}")
    try:
        assert sees(owner, name)
        assert not holds(owner, name, app.token) and not renew(owner, name, app.token)
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            fence(owner, name, app.token)
        assert release(owner, name, app.token) and not holds(app, name, app.token)
        owner.execute("INSERT INTO advisory_leases.limits VALUES ('1 minute')")
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            take(app, name)
        owner.execute("DELETE FROM advisory_leases.limits")
        for statement in ("UPDATE advisory_leases.lease SET token = 1", "DELETE FROM advisory_leases.lease", "TRUNCATE advisory_leases.epoch"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                owner.execute(statement)
    finally:
        admin.execute(f"ALTER DATABASE {database} OWNER TO postgres")


def test_a_lease_belongs_to_the_role_that_was_set(connect, admin, app, name):
    member, stranger, own = as_role(connect, app, "member"), as_role(connect, app, "stranger"), [*name, "own"]
    member.execute(f"SET ROLE {app.names['app']}")
    token = take(member, own)
    works(app, own, token)
    member.execute("RESET ROLE")
    works(member, own, token)
    mine = take(member, [*own, "mine"])
    member.execute(f"SET ROLE {app.names['app']}")
    refuses(member, [*own, "mine"], mine)
    # A superuser who has become somebody else is that.
    admin.execute(f"SET ROLE {app.names['stranger']}")
    refuses(admin, name, app.token)
    admin.execute("RESET ROLE")
    refuses(stranger, own, token)


def test_a_definer_function_acts_for_who_calls_it(connect, admin, app, name):
    """Its owner's leases are not its caller's, and the lease that it takes is."""
    stranger = as_role(connect, app, "stranger")
    admin.execute(f"""
        CREATE SCHEMA definer_{name[1]} AUTHORIZATION {app.names['app']};
        GRANT USAGE ON SCHEMA definer_{name[1]} TO PUBLIC;
    """)
    app.execute(f"""
        CREATE FUNCTION definer_{name[1]}.renewed(name text[], token bigint) RETURNS boolean LANGUAGE sql SECURITY DEFINER
            RETURN advisory_leases.renew_lease_key(name, token, '1 hour');
        CREATE FUNCTION definer_{name[1]}.taken(name text[]) RETURNS bigint LANGUAGE sql SECURITY DEFINER
            RETURN advisory_leases.try_lease_key(name, '1 hour');
    """)
    assert stranger.execute(f"SELECT definer_{name[1]}.renewed(%s, %s)", [name, app.token]).fetchone() == (False,)
    token = stranger.execute(f"SELECT definer_{name[1]}.taken(%s)", [[*name, "new"]]).fetchone()[0]
    works(stranger, [*name, "new"], token)
    refuses(app, [*name, "new"], token)


def test_a_role_that_is_renamed_keeps_its_lease_and_its_name_gives_no_right(connect, admin, app, name):
    old = app.names["app"]
    admin.execute(f"ALTER ROLE {old} RENAME TO {old}_new")
    app.names["app"] = f"{old}_new"
    works(app, name, app.token)
    admin.execute(f"CREATE ROLE {old} LOGIN")
    impostor = connect(user=old)
    refuses(impostor, name, app.token)
    assert not sees(impostor, name)
    impostor.close()
    admin.execute(f"DROP ROLE {old}")


def test_a_role_that_is_dropped_leaves_its_lease_to_nobody(connect, admin, name):
    with roles(admin, gone="LOGIN") as names:
        db = connect(user=names["gone"])
        token = take(db, name)
        db.close()
    admin.execute(f"CREATE ROLE {names['gone']} LOGIN")
    impostor = connect(user=names["gone"])
    refuses(impostor, name, token)
    assert admin.execute("SELECT role FROM advisory_leases.leases WHERE token = %s AND name = %s", [token, "-".join(name)]).fetchone()[0].startswith("unknown")
    impostor.close()
    admin.execute(f"DROP ROLE {names['gone']}")
    assert release(admin, name, token)


TABLES = ["lease", "epoch", "limits"]
FORBIDDEN = [
    *(f"{command} advisory_leases.{table}" for table in TABLES for command in ("TABLE", "DELETE FROM", "TRUNCATE", "DROP TABLE")),
    *(f"BEGIN; LOCK TABLE advisory_leases.{table} IN {mode} MODE" for table in TABLES for mode in ("ACCESS SHARE", "ROW SHARE", "ACCESS EXCLUSIVE")),
    *(f"ALTER TABLE advisory_leases.{table} {change}" for table in TABLES for change in (
        "ADD COLUMN stranger int", "ENABLE ROW LEVEL SECURITY", "DISABLE TRIGGER ALL", "OWNER TO CURRENT_USER")),
    "BEGIN; LOCK TABLE advisory_leases.leases IN ROW SHARE MODE", "BEGIN; LOCK TABLE advisory_leases.leases IN ACCESS EXCLUSIVE MODE",
    "SELECT FROM advisory_leases.leases FOR UPDATE", "SELECT FROM advisory_leases.leases FOR KEY SHARE",
    "UPDATE advisory_leases.leases SET token = 1", "INSERT INTO advisory_leases.leases (key, token) VALUES (1, 1)", "DELETE FROM advisory_leases.leases",
    "CREATE TABLE advisory_leases.planted ()", "CREATE FUNCTION advisory_leases.planted() RETURNS int RETURN 1",
    "CREATE INDEX ON advisory_leases.lease (expires_at)", "CREATE TRIGGER t BEFORE UPDATE ON advisory_leases.lease EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE POLICY p ON advisory_leases.lease USING (false)", "CREATE RULE r AS ON UPDATE TO advisory_leases.lease DO INSTEAD NOTHING",
    "CREATE OR REPLACE FUNCTION advisory_leases._seconds(ttl interval) RETURNS interval RETURN '1 century'::interval",
    "ALTER FUNCTION advisory_leases.try_lease_key SET lock_timeout = 0", "DROP FUNCTION advisory_leases.try_lease_key",
    "CREATE TEMP TABLE child () INHERITS (advisory_leases.lease)",
    "ALTER SCHEMA advisory_leases RENAME TO mine", "DROP SCHEMA advisory_leases CASCADE",
    "SELECT advisory_leases._token()", "SELECT advisory_leases._seconds('1 day')", "SELECT advisory_leases._clean_up(1, 2, 10)",
    "SELECT advisory_leases._begin(false, 1)", "SELECT advisory_leases._key('{a}')",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_a_stranger_is_refused_whatever_is_not_for_all(connect, strangers, statement):
    refused = (psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)  # the latter: no view to write to
    with connections(connect) as open_one, pytest.raises(refused):
        open_one(user=strangers).execute(statement)


@pytest.fixture(scope="module")
def strangers(database):
    """A role of whom nobody knows anything."""
    with psycopg.connect(dbname=database, autocommit=True) as admin, roles(admin, anybody="LOGIN") as names:
        yield names["anybody"]


def test_conditions_of_a_stranger_are_not_shown_the_rows_of_others(connect, app, name):
    stranger = as_role(connect, app, "stranger")
    seen = []
    stranger.add_notice_handler(lambda notice: seen.append(notice.message_primary))
    stranger.execute("""
        CREATE FUNCTION pg_temp.leaks(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
            $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$;
    """)
    own = [*name, "own"]
    take(stranger, own)
    assert stranger.execute("SELECT name FROM advisory_leases.leases WHERE pg_temp.leaks(name)").fetchall() == [("-".join(own),)]
    assert seen == ["-".join(own)]


PLANTED = """
    CREATE FUNCTION {schema}.planted() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'planted code ran as %', current_user; END $$;
    CREATE FUNCTION {schema}.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT {schema}.planted(); SELECT now()';
    CREATE FUNCTION {schema}.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT {schema}.planted(); SELECT $1';
    CREATE FUNCTION {schema}.convert_to(text, text) RETURNS bytea LANGUAGE sql AS 'SELECT {schema}.planted(); SELECT NULL::bytea';
    CREATE FUNCTION {schema}.array_to_string(text[], text) RETURNS text LANGUAGE sql AS 'SELECT {schema}.planted(); SELECT $2';
    CREATE FUNCTION {schema}.length(text) RETURNS int LANGUAGE sql AS 'SELECT {schema}.planted(); SELECT 1';
    CREATE FUNCTION {schema}.pg_has_role(oid, oid, text) RETURNS boolean LANGUAGE sql AS 'SELECT {schema}.planted(); SELECT true';
    CREATE FUNCTION {schema}.compared(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT {schema}.planted(); SELECT true';
    CREATE FUNCTION {schema}.compared(timestamptz, timestamptz) RETURNS boolean LANGUAGE sql AS 'SELECT {schema}.planted(); SELECT true';
    CREATE FUNCTION {schema}.compared(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT {schema}.planted(); SELECT true';
    CREATE OPERATOR {schema}.= (FUNCTION = {schema}.compared, LEFTARG = bigint, RIGHTARG = bigint);
    CREATE OPERATOR {schema}.> (FUNCTION = {schema}.compared, LEFTARG = timestamptz, RIGHTARG = timestamptz);
    CREATE OPERATOR {schema}.<= (FUNCTION = {schema}.compared, LEFTARG = timestamptz, RIGHTARG = timestamptz);
    CREATE OPERATOR {schema}.= (FUNCTION = {schema}.compared, LEFTARG = text, RIGHTARG = text);
    CREATE TABLE {schema}.lease (key bigint);
    CREATE TABLE {schema}.pg_database (oid oid, datname name);
    CREATE TYPE {schema}.regrole AS (a int);
    CREATE DOMAIN {schema}.bigint AS text;
    CREATE CAST ({schema}.regrole AS text) WITH INOUT;
"""
TEMPORARY = "".join(
    f"CREATE TEMP TABLE {table} (LIKE advisory_leases.leases); CREATE RULE r AS ON INSERT TO pg_temp.{table} DO INSTEAD NOTHING;"
    for table in ("lease", "leases", "epoch", "limits", "pg_database", "pg_authid")
)


def test_nothing_that_a_stranger_has_planted_is_found(connect, admin, app, name):
    stranger, schema = as_role(connect, app, "stranger"), f"planted_{name[1]}"
    admin.execute(f"CREATE SCHEMA {schema} AUTHORIZATION {app.names['stranger']}")
    stranger.execute(PLANTED.format(schema=schema))
    admin.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO PUBLIC; GRANT USAGE ON SCHEMA {schema} TO PUBLIC")
    for user in (None, app.names["app"], app.names["stranger"]):
        db, own = connect(user=user) if user else connect(), [*name, user or "admin"]
        db.execute(TEMPORARY)
        db.execute(f"SET search_path = {schema}, pg_temp, pg_catalog, advisory_leases")
        token = take(db, own)
        assert take(db, own) is None
        works(db, own, token)
        assert release(db, own, token)
        # The key is that of the name, and the view shows what is there.
        db.execute("RESET search_path")
        assert db.execute("SELECT token FROM advisory_leases.leases WHERE name = %s", ["-".join(own)]).fetchone() == (token,)


SETTINGS = {
    "row_security": "off", "enable_indexscan": "off", "plan_cache_mode": "force_custom_plan", "lock_timeout": "1ms", "quote_all_identifiers": "on",
    "IntervalStyle": "sql_standard", "DateStyle": "German", "TimeZone": "Pacific/Kiritimati", "bytea_output": "escape", "array_nulls": "off",
    "transform_null_equals": "on", "standard_conforming_strings": "off", "extra_float_digits": "-15", "plpgsql.extra_errors": "all",
    "default_transaction_isolation": "serializable", "default_transaction_deferrable": "on", "client_encoding": "LATIN1", "jit_above_cost": "0",
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_setting_of_who_calls_changes_what_they_do(connect, app, name, setting):
    stranger, own = as_role(connect, app, "stranger"), [*name, "own"]
    if (setting, MAJOR) == ("standard_conforming_strings", 19):
        pytest.skip("it cannot be off any more")
    stranger.execute(f"SET {setting} = '{SETTINGS[setting]}'")
    refuses(stranger, name, app.token)
    token = take(stranger, own, "31 days")
    works(stranger, own, token)
    assert app.execute("SELECT count(*) FROM advisory_leases.leases").fetchone() == (1,)
    lasts = "SELECT extract(epoch FROM expires_at - taken_at) = 31 * 86400, key = advisory_key(%s) FROM advisory_leases.leases"
    assert release(stranger, own, token)
    other = [*own, "other"]
    assert take(stranger, other, "31 days") and stranger.execute(lasts + " WHERE NOT expired", [other]).fetchone() == (True, True)


MAINTENANCE = ["REINDEX TABLE {schema}.bait", "ANALYZE {schema}.bait", "VACUUM FULL {schema}.bait", "CLUSTER {schema}.bait USING hook",
               "REFRESH MATERIALIZED VIEW {schema}.view"]


@pytest.mark.parametrize("command", MAINTENANCE)
def test_what_postgres_runs_of_a_stranger_for_a_superuser_has_no_right_to_a_lease(connect, admin, app, name, command):
    """Functions in indexes and materialized views run as their owner, but in the session of who maintains them: the role that the session says is
    not who calls."""
    stranger, schema = as_role(connect, app, "stranger"), f"maintained_{name[1]}"
    admin.execute(f"CREATE SCHEMA {schema} AUTHORIZATION {app.names['stranger']}")
    text = "{" + ",".join(name) + "}"
    stranger.execute(f"""
        CREATE TABLE {schema}.tried (outcome text);
        CREATE FUNCTION {schema}.note(text) RETURNS void LANGUAGE sql AS 'INSERT INTO {schema}.tried VALUES ($1)';
        CREATE FUNCTION {schema}.attack(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
        DECLARE
            call text;
            outcome text;
        BEGIN
            FOREACH call IN ARRAY ARRAY['holds_lease_key(%L, %s)', 'renew_lease_key(%L, %s, ''1 day'')', 'fence_lease_key(%L, %s)', 'release_lease_key(%L, %s)']
            LOOP
                BEGIN
                    EXECUTE 'SELECT advisory_leases.' || format(call, '{text}', {app.token}) INTO outcome;
                EXCEPTION WHEN OTHERS THEN
                    outcome := SQLSTATE;
                END;
                PERFORM {schema}.note(outcome);
            END LOOP;
            RETURN 1;
        END $$;
        CREATE TABLE {schema}.bait (i int);
        INSERT INTO {schema}.bait VALUES (1);
        CREATE INDEX hook ON {schema}.bait ({schema}.attack(i));
        CREATE MATERIALIZED VIEW {schema}.view AS SELECT {schema}.attack(i) FROM {schema}.bait;
        TRUNCATE {schema}.tried;
    """)
    admin.execute(command.format(schema=schema))
    outcomes = {outcome for outcome, in admin.execute(f"SELECT outcome FROM {schema}.tried").fetchall()}
    assert outcomes == {"42501"}
    assert holds(app, name, app.token)


@pytest.mark.skipif(PORTABLE, reason="there the owner of the database has made it all")
def test_the_owner_of_a_database_who_is_no_superuser_creates_the_extension_and_gains_nothing_by_it(connect, admin):
    with roles(admin, creator="LOGIN") as names:
        creator = names["creator"]
        with scratch_database("owned", f"OWNER {creator}", install=lambda db: None) as owned:
            db, superuser = connect(dbname=owned, user=creator), connect(dbname=owned)
            db.execute("CREATE EXTENSION advisory_leases")
            for statement in (
                "ALTER SCHEMA advisory_leases RENAME TO other", "CREATE TABLE advisory_leases.planted ()", "UPDATE advisory_leases.lease SET token = 1",
                "CREATE OR REPLACE FUNCTION advisory_leases._key(key text[]) RETURNS bigint LANGUAGE sql RETURN 1", "DROP FUNCTION advisory_leases._token",
                "ALTER TABLE advisory_leases.limits ADD COLUMN c int",
                "CREATE TRIGGER t BEFORE INSERT ON advisory_leases.lease EXECUTE FUNCTION suppress_redundant_updates_trigger()",
                "BEGIN; LOCK TABLE advisory_leases.lease IN ACCESS EXCLUSIVE MODE", "ALTER EXTENSION advisory_leases SET SCHEMA public",
            ):
                with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported)):
                    db.execute(statement)
                db.rollback()
            token = take(superuser, ["s"])
            assert sees(db, ["s"]) and not renew(db, ["s"], token) and release(db, ["s"], token)
            with pytest.raises(psycopg.Error, match="pg_catalog"):
                superuser.execute("DROP EXTENSION advisory_leases; CREATE EXTENSION advisory_leases SCHEMA public")
            db.execute("DROP EXTENSION advisory_leases")
            db.close()
            superuser.close()


INFINITE = pytest.mark.skipif(MAJOR < 17, reason="not an interval there")


@pytest.mark.parametrize("ttl, error", [
    ("12000000 mons -360000000 days 1 s", "too long"), ("2400 mons -72000 days 1 s", "too long"), ("31 days 1 microsecond", "too long"),
    ("1 mon 1 day 1 microsecond", "too long"), pytest.param("infinity", "too long", marks=INFINITE),
    ("-12000 mons +360000 days 1 s", "more than 0"), ("-1 s", "more than 0"), ("0", "more than 0"),
    pytest.param("-infinity", "more than 0", marks=INFINITE),
])
def test_no_ttl_gets_past_the_limit(app, name, ttl, error):
    """Months are compared as 30 days, and twelve of them last a year."""
    for work in (lambda: take(app, [*name, "new"], ttl), lambda: renew(app, name, app.token, ttl)):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match=error):
            work()


def test_estimates_say_nothing_of_the_rows_of_others(connect, admin, app, name):
    admin.execute("SELECT count(advisory_leases.try_lease_key(ARRAY['many', i::text], '1 hour', 'popular')) FROM generate_series(1, 1000) AS i")
    admin.execute("ANALYZE advisory_leases.lease")
    stranger = as_role(connect, app, "stranger")
    plans = [
        stranger.execute(f"EXPLAIN SELECT * FROM advisory_leases.leases WHERE {condition}").fetchone()[0].split("rows=")[1]
        for condition in ("holder = 'popular'", "holder = 'nobody'", "name < 'a'", "name > 'a'")
    ]
    assert len(set(plans[:2])) == 1 and len(set(plans[2:])) == 1


def test_a_long_name_is_kept_short(connect, app, name):
    token = take(app, [*name, "x" * 1_000_000])
    assert renew(app, [*name, "x" * 1_000_000], token)
    assert app.execute("SELECT max(length(name)) FROM advisory_leases.leases").fetchone() == (1000,)
