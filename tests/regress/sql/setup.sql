-- What the other files use. The extension is there already.

-- Runs a statement and tells how it failed.
CREATE FUNCTION failure(statement text,
    OUT sqlstate text, OUT message text, OUT detail text, OUT hint text)
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    message := 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS sqlstate = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
        detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
END $$;

-- The advisory locks of this session, as pg_locks shows them.
CREATE VIEW held AS
SELECT (classid::int8 << 32) | objid::int8 AS key, mode
FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND pid = pg_backend_pid() AND granted
ORDER BY 1, 2;

-- The key by its definition, in plain SQL.
CREATE FUNCTION key_by_definition(parts text[]) RETURNS bigint LANGUAGE sql AS
$$ SELECT ('x' || encode(substr(sha256(convert_to(array_to_string(parts, '-'), 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint $$;
