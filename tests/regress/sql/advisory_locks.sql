-- The view of the locks, in one session. Names are the matter of other tests: whether there are any
-- depends on the server's configuration.
CREATE VIEW seen AS
    SELECT key, mode, granted, pid = pg_backend_pid() AS mine, waiting_since, blocked_by FROM advisory_locks;

SELECT column_name, data_type FROM information_schema.columns
WHERE table_name = 'advisory_locks' ORDER BY ordinal_position;
SELECT count(*) FROM advisory_locks;

-- Both levels and modes, a key with its highest bit set, and one lock for several holds.
BEGIN;
SELECT lock_keys(ARRAY['SIGNUP-EMAIL', 'a@b.c']), lock_keys(ARRAY['SIGNUP-EMAIL', 'a@b.c'], session => true);
SELECT lock_keys(ARRAY['order', '42'], shared => true);
SELECT * FROM seen ORDER BY key;
SELECT mode FROM advisory_locks WHERE key = advisory_key(ARRAY['order', '42']);
-- One row for each mode.
SELECT lock_keys(ARRAY['order', '42']);
SELECT mode FROM advisory_locks WHERE key = advisory_key(ARRAY['order', '42']) ORDER BY mode;
COMMIT;
SELECT * FROM seen;
SELECT unlock_keys(ARRAY['SIGNUP-EMAIL', 'a@b.c']);

-- Who took the lock does not matter; two-integer locks are another kind.
BEGIN;
SELECT pg_advisory_xact_lock(-1), pg_advisory_xact_lock_shared(0), pg_advisory_xact_lock(1, 2);
SELECT pg_advisory_xact_lock(x'8000000000000000'::bigint), pg_advisory_xact_lock(x'7fffffffffffffff'::bigint);
SELECT key, mode FROM advisory_locks ORDER BY key;
SELECT usename = session_user AS usename, application_name <> '' AS application_name, state, xact_start = now() AS xact_start,
       position('FROM advisory_locks' IN query) > 0 AS query
FROM advisory_locks WHERE key = 0;
ROLLBACK;

-- A look with keys_available leaves nothing.
SELECT keys_available(ARRAY['a']);
SELECT * FROM seen;

-- A prepared transaction has no process.
BEGIN;
SELECT lock_keys(ARRAY['order', '42']);
PREPARE TRANSACTION 'regress_ak_seen';
SELECT key, mode, granted, pid, waiting_since, blocked_by, usename, state FROM advisory_locks;
ROLLBACK PREPARED 'regress_ak_seen';
SELECT * FROM seen;
DROP VIEW seen;
