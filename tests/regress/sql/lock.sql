-- One key: both functions, both levels, both modes, and what pg_locks says.

BEGIN;
SELECT try_lock_keys('{order,42}');
SELECT mode, key = advisory_key('{order,42}') AS same_key FROM held;
ROLLBACK;
SELECT * FROM held;

BEGIN;
SELECT lock_keys('{order,42}');
SELECT mode, key = advisory_key('{order,42}') AS same_key FROM held;
COMMIT;
SELECT * FROM held;

BEGIN;
SELECT try_lock_keys('{order,42}', shared => true);
SELECT lock_keys('{order,43}', shared => true);
SELECT mode, key IN (advisory_key('{order,42}'), advisory_key('{order,43}')) AS known_key FROM held;
ROLLBACK;
SELECT * FROM held;

-- at session level a lock outlives COMMIT and ROLLBACK
BEGIN;
SELECT try_lock_keys('{order,42}', session => true);
SELECT lock_keys('{order,43}', session => true, shared => true);
ROLLBACK;
SELECT mode, key IN (advisory_key('{order,42}'), advisory_key('{order,43}')) AS known_key FROM held ORDER BY mode;
SELECT unlock_keys('{order,42}'), unlock_keys('{order,43}', shared => true);
SELECT * FROM held;

-- locks are counted: three holds need three releases
SELECT try_lock_keys('{order,42}', session => true), try_lock_keys('{order,42}', session => true),
       try_lock_keys('{order,42}', session => true);
SELECT count(*) FROM held;
SELECT unlock_keys('{order,42}'), unlock_keys('{order,42}');
SELECT count(*) FROM held;
SELECT unlock_keys('{order,42}');
SELECT count(*) FROM held;

-- the levels stack: releasing the session's hold leaves the transaction's
BEGIN;
SELECT try_lock_keys('{order,42}'), try_lock_keys('{order,42}', session => true);
SELECT unlock_keys('{order,42}'), holds_keys('{order,42}');
COMMIT;
SELECT holds_keys('{order,42}');

-- a session never excludes itself: both modes of one key
BEGIN;
SELECT try_lock_keys('{order,42}', shared => true), try_lock_keys('{order,42}');
SELECT mode FROM held;
COMMIT;

-- savepoints: what was taken after one is released with it, at session level it stays
BEGIN;
SELECT try_lock_keys('{order,1}');
SAVEPOINT s;
SELECT try_lock_keys('{order,2}'), try_lock_keys('{order,3}', session => true);
ROLLBACK TO s;
SELECT holds_keys('{order,1}'), holds_keys('{order,2}'), holds_keys('{order,3}');
COMMIT;
SELECT unlock_keys('{order,3}');

-- the same in PL/pgSQL
BEGIN;
DO $$
BEGIN
    PERFORM lock_keys('{order,1}');
    BEGIN
        PERFORM lock_keys('{order,2}');
        RAISE EXCEPTION 'undo';
    EXCEPTION WHEN raise_exception THEN
    END;
END $$;
SELECT holds_keys('{order,1}'), holds_keys('{order,2}');
COMMIT;

-- core's functions and ours are one lock
BEGIN;
SELECT pg_advisory_xact_lock(advisory_key('{order,42}'));
SELECT holds_keys('{order,42}');
COMMIT;
SELECT lock_keys('{order,42}', session => true);
SELECT pg_advisory_unlock(advisory_key('{order,42}'));
SELECT holds_keys('{order,42}');
SELECT pg_advisory_lock(advisory_key('{order,42}'));
SELECT unlock_keys('{order,42}');

-- and they end with core's
SELECT lock_keys('{order,42}', session => true);
SELECT pg_advisory_unlock_all();
SELECT holds_keys('{order,42}');
SELECT lock_keys('{order,42}', session => true);
DISCARD ALL;
SELECT holds_keys('{order,42}');
SELECT * FROM held;
