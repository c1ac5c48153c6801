-- The settings: defaults, who may change them, what they do.

-- They are known once the library is loaded.
LOAD 'advisory_keys';
SELECT name, setting, boot_val, vartype, context, min_val, max_val, enumvals
FROM pg_settings
WHERE name IN ('advisory_keys.session_locks', 'advisory_keys.show_keys', 'advisory_keys.max_keys_per_call',
               'advisory_keys.max_keys_per_session', 'advisory_keys.standby_locks', 'advisory_keys.warn_short_locks',
               'advisory_keys.track_names', 'advisory_keys.track_stats')
ORDER BY name COLLATE "C";
-- Its context depends on whether the library was preloaded.
SELECT name, setting, vartype, min_val, max_val FROM pg_settings WHERE name IN ('advisory_keys.max_names', 'advisory_keys.max_stats') ORDER BY name;
SELECT count(*) AS undescribed FROM pg_settings WHERE name LIKE 'advisory\_keys.%' AND coalesce(short_desc, '') = '';

-- A name that does not exist is an error, not a setting that nobody reads.
SET advisory_keys.nonsense = 1;
\echo :SQLSTATE

-- Values out of range.
\set VERBOSITY sqlstate
SET advisory_keys.max_keys_per_call = 0;
SET advisory_keys.max_keys_per_call = -1;
SET advisory_keys.session_locks = 'maybe';
SET advisory_keys.max_names = 5;
SET advisory_keys.max_keys_per_call = 2147483647;
BEGIN;
SELECT lock_keys(ARRAY[['a'], ['b']]);
COMMIT;
RESET advisory_keys.max_keys_per_call;
\set VERBOSITY default

-- session_locks = warn: taken, with a warning, whoever waits for it.
SET advisory_keys.session_locks = warn;
SELECT try_lock_keys(ARRAY['a'], session => true);
SELECT lock_keys(ARRAY['b'], session => true);
SELECT * FROM my_locks;
SELECT unlock_keys(ARRAY[['a'], ['b']]);
BEGIN;
SELECT try_lock_keys(ARRAY['a']);
COMMIT;

-- session_locks = off: refused, and only at session level. What is held can still be released.
SET advisory_keys.session_locks = on;
SELECT lock_keys(ARRAY['a'], session => true);
SET advisory_keys.session_locks = off;
SELECT try_lock_keys(ARRAY['b'], session => true);
\echo :SQLSTATE
SELECT lock_keys(ARRAY['b'], session => true);
\echo :SQLSTATE
SELECT try_lock_keys(ARRAY['b']), holds_keys(ARRAY['a']), keys_available(ARRAY['a']), unlock_keys(ARRAY['a']);
SELECT * FROM my_locks;
RESET advisory_keys.session_locks;

-- Only superusers, and those they grant it to, may change them.
CREATE ROLE regress_ak_user;
SET ROLE regress_ak_user;
SET advisory_keys.session_locks = off;
SET advisory_keys.show_keys = off;
SET advisory_keys.track_stats = off;
SET advisory_keys.max_keys_per_call = 2;
RESET ROLE;
GRANT SET ON PARAMETER advisory_keys.max_keys_per_call TO regress_ak_user;
SET ROLE regress_ak_user;
SET advisory_keys.max_keys_per_call = 2;
SELECT try_lock_keys(ARRAY[['a'], ['b'], ['c']]);
RESET ROLE;
RESET advisory_keys.max_keys_per_call;
REVOKE SET ON PARAMETER advisory_keys.max_keys_per_call FROM regress_ak_user;
DROP ROLE regress_ak_user;
