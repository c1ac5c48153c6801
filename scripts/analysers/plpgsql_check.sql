-- What plpgsql_check, with all its warnings, has to say about the functions of the portable edition and of leases; an error if there
-- is anything but what is excepted.
SET client_min_messages = warning;
CREATE EXTENSION plpgsql_check;

CREATE TEMP TABLE excepted (function regprocedure, message text, reason text);
INSERT INTO excepted VALUES
    ('advisory_key_name(bigint)', 'routine is marked as VOLATILE, should be IMMUTABLE',
     'as that of the extension, which has names to tell');

CREATE TEMP TABLE checked AS
    SELECT oid::regprocedure AS function FROM pg_proc
        WHERE prolang = (SELECT oid FROM pg_language WHERE lanname = 'plpgsql')
            AND pronamespace IN (current_schema()::regnamespace, 'advisory_leases'::regnamespace);
CREATE TEMP TABLE finding AS
    SELECT function, message, lineno, concat_ws(' ', detail, hint, query) AS facts
        FROM checked, plpgsql_check_function_tb(function, fatal_errors => false, all_warnings => true);

DO $$
DECLARE
    problems text;
BEGIN
    SELECT string_agg(format('%s, line %s: %s %s', function, lineno, message, facts), E'\n') INTO problems
        FROM finding LEFT JOIN excepted USING (function, message) WHERE reason IS NULL;
    SELECT concat_ws(E'\n', problems, string_agg(function || ': this is excepted and not found: ' || message, E'\n')) INTO problems
        FROM excepted LEFT JOIN finding USING (function, message) WHERE lineno IS NULL AND facts IS NULL;
    IF (SELECT count(DISTINCT pronamespace) FROM checked JOIN pg_proc ON oid = function) < 2 THEN
        RAISE EXCEPTION 'the functions of the portable edition and of leases are not both here';
    END IF;
    IF problems <> '' THEN
        RAISE EXCEPTION 'plpgsql_check found this:' USING DETAIL = problems;
    END IF;
END $$;
