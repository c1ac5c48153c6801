-- The ways to call: by name, by position, with parameters whose type the client leaves open.

-- By name in any order, and by position.
BEGIN;
SELECT try_lock_keys(session => false, shared => true, timeout => '1 s', keys => '{a}');
SELECT try_lock_keys('{b}', '1 s', true, false);
SELECT lock_keys(keys => '{c}', shared => false);
SELECT holds_keys(shared => true, keys => '{{a},{b}}'), keys_available(keys => '{a}', shared => true);
SELECT advisory_key(key => '{a}') = key_by_contract('a') AS key;
SELECT * FROM my_locks;
COMMIT;

-- Untyped parameters get the one type there is: an array, never the text of one.
PREPARE key AS SELECT advisory_key($1);
PREPARE try AS SELECT try_lock_keys($1, timeout => $2, shared => $3, session => $4);
PREPARE try_one AS SELECT try_lock_keys($1);
PREPARE lock AS SELECT lock_keys($1, timeout => $2, shared => $3, session => $4);
PREPARE lock_one AS SELECT lock_keys($1);
PREPARE unlock AS SELECT unlock_keys($1, shared => $2);
PREPARE holds AS SELECT holds_keys($1, shared => $2);
PREPARE available AS SELECT keys_available($1, shared => $2);
SELECT name, parameter_types FROM pg_prepared_statements ORDER BY name;
EXECUTE key('{order,42}');
BEGIN;
EXECUTE try('{{a},{b}}', '1 s', 'true', 'false');
EXECUTE try_one('{order,42}');
EXECUTE lock_one('{c}');
EXECUTE holds('{{a},{b}}', 'true');
SELECT * FROM my_locks;
COMMIT;

-- Not one argument too few or too many, and none of another type in the place of the flag.
\set VERBOSITY sqlstate
SELECT try_lock_keys();
SELECT try_lock_keys('a', 'b');
SELECT try_lock_keys('{a}', '0', false, false, false);
SELECT try_lock_keys('{a}', shared => 1);
SELECT lock_keys('{a}', timeout => 5);
SELECT lock_keys('{a}', time_out => '5 s');

-- The keys can be computed for each row.
BEGIN;
SELECT n, try_lock_keys(ARRAY['acct', n::text]) FROM generate_series(1, 3) AS n;
SELECT * FROM my_locks;
COMMIT;

DEALLOCATE ALL;
