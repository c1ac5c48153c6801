-- The settings, to Postgres names that it does not know: their values are checked by the calls that
-- read them.

-- Whoever sets them, they have the defaults of the extension until then and after a RESET.
SELECT try_lock_keys('{a}', session => true), unlock_keys('{a}');
SET advisory_keys.session_locks = off;
SET advisory_keys.max_keys_per_call = 1;
RESET advisory_keys.session_locks;
RESET advisory_keys.max_keys_per_call;
SELECT try_lock_keys('{{a},{b}}', session => true), unlock_keys('{{a},{b}}');

-- session_locks = warn: taken, with a warning, whoever waits for it.
SET advisory_keys.session_locks = warn;
SELECT try_lock_keys(ARRAY['a'], session => true);
SELECT lock_keys(ARRAY['b'], session => true);
SELECT * FROM my_locks;
SELECT unlock_keys(ARRAY[['a'], ['b']]);
SELECT try_lock_keys(ARRAY['a']);

-- session_locks = off: refused, and only at session level. What is held can still be released.
SET advisory_keys.session_locks = on;
SELECT lock_keys(ARRAY['a'], session => true);
SET advisory_keys.session_locks = 'OFF';
SELECT try_lock_keys(ARRAY['b'], session => true);
\echo :SQLSTATE
SELECT lock_keys(ARRAY['b'], session => true);
\echo :SQLSTATE
SELECT try_lock_keys(ARRAY['b']), holds_keys(ARRAY['a']), keys_available(ARRAY['a']), unlock_keys(ARRAY['a']);
SELECT * FROM my_locks;

-- A value that is not known is refused too, not taken for "on".
SET advisory_keys.session_locks = 'of';
SELECT try_lock_keys(ARRAY['b'], session => true);
\echo :SQLSTATE
SELECT try_lock_keys(ARRAY['b']);
RESET advisory_keys.session_locks;

-- max_keys_per_call counts before any key is computed or locked.
SET advisory_keys.max_keys_per_call = 2;
SELECT try_lock_keys('{{a},{b}}'), lock_keys('{a,b,c}');
SELECT try_lock_keys('{{a},{b},{c}}');
\echo :SQLSTATE
SET advisory_keys.max_keys_per_call = 2147483647;
SELECT try_lock_keys('{{a},{b},{c}}');
SET advisory_keys.max_keys_per_call = 'many';
SELECT try_lock_keys('{{a},{b},{c}}');
\echo :SQLSTATE
SELECT * FROM my_locks;
RESET advisory_keys.max_keys_per_call;

-- show_keys: names stand in messages only while it is one of the values for true.
SET advisory_keys.show_keys = TRUE;
SELECT unlock_keys('{order,42}');
SET advisory_keys.show_keys = 'No';
SELECT unlock_keys('{order,42}');
SET advisory_keys.show_keys = 'maybe';
SELECT unlock_keys('{order,42}');
RESET advisory_keys.show_keys;
SELECT unlock_keys('{order,42}');
