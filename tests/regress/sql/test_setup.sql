-- What the other tests use. None of it calls the extension.

-- The key of a name, computed as the contract words it and not by the extension.
CREATE FUNCTION key_by_contract(joined text) RETURNS bigint
    RETURN ('x' || encode(substr(sha256(convert_to(joined, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint;

-- Names that tests lock, so that what pg_locks shows as integers can be read.
CREATE TABLE known_name (name text PRIMARY KEY, key bigint NOT NULL GENERATED ALWAYS AS (
    ('x' || encode(substr(sha256(name::bytea), 1, 8), 'hex'))::bit(64)::bigint) STORED);
INSERT INTO known_name
    VALUES ('a'), ('b'), ('c'), ('a-b'), ('order-42'), ('acct-1'), ('acct-2'), ('acct-3');

-- Advisory locks on a bigint in this database; one row for each session and mode.
CREATE VIEW bigint_locks AS
    SELECT coalesce(name, locked.key::text) AS name, mode, granted, pid
    FROM (SELECT (classid::bigint << 32) | objid::bigint AS key, mode, granted, pid
          FROM pg_locks
          WHERE locktype = 'advisory' AND objsubid = 1
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS locked
    LEFT JOIN known_name USING (key);

-- Those of this session. Postgres shows no level and no count there.
CREATE VIEW my_locks AS
    SELECT name, mode FROM bigint_locks WHERE pid = pg_backend_pid() AND granted ORDER BY name, mode;

-- Runs a query of one value; what comes out, be it the value or an error in all its parts.
CREATE FUNCTION outcome(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE query INTO STRICT result;
    RETURN coalesce(result, 'NULL');
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS
        message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n',
        SQLSTATE || ': ' || message, 'DETAIL: ' || nullif(detail, ''), 'HINT: ' || nullif(hint, ''));
END $$;

-- Does a known name lead to the key that its bytes have?
SELECT name, key FROM known_name ORDER BY name;
SELECT count(*) AS disagree FROM known_name WHERE key <> key_by_contract(name);
