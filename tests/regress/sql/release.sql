-- release_keys gives back every session-level hold, however often it was locked, and says how many there were.

SELECT lock_keys('{a}', session => true), lock_keys('{a}', session => true), try_lock_keys('{a}', session => true);
SELECT release_keys('{a}');
SELECT * FROM my_locks;

-- Nothing held is no warning.
SELECT release_keys('{a}'), release_keys('{a}', shared => true), release_keys('{{a},{b}}');

-- In one mode; the other is not touched.
SELECT lock_keys('{a}', session => true), lock_keys('{a}', shared => true, session => true),
    lock_keys('{a}', shared => true, session => true);
SELECT release_keys('{a}', shared => true);
SELECT * FROM my_locks;
SELECT release_keys(keys => '{a}', shared => false);
SELECT * FROM my_locks;

-- Of several names the sum, each counted once.
SELECT lock_keys('{{a},{b}}', session => true), lock_keys('{b}', session => true);
SELECT release_keys('{{b},{c},{a},{b}}');
SELECT * FROM my_locks;
-- Names that lead to the same key are one.
SELECT lock_keys('{a,b-c}', session => true), lock_keys('{a-b,c}', session => true);
SELECT release_keys('{{a,b-c},{a-b,c}}');

-- What was locked by core's function on the integer counts as well.
SELECT pg_advisory_lock(advisory_key('{a}')), lock_keys('{a}', session => true);
SELECT release_keys('{a}');
SELECT * FROM my_locks;

-- What the transaction holds stays until its end.
BEGIN;
SELECT lock_keys('{{a},{b}}'), lock_keys('{a}', session => true), lock_keys('{a}', session => true);
SELECT release_keys('{a}');
SELECT release_keys('{{a},{b}}');
SELECT * FROM my_locks;
COMMIT;
SELECT * FROM my_locks;

-- The release counts at once, and is not undone.
SELECT lock_keys('{a}', session => true), lock_keys('{a}', session => true);
BEGIN;
SELECT release_keys('{a}');
ROLLBACK;
SELECT * FROM my_locks;

-- What is no key is an error, and nothing is released.
SELECT lock_keys('{a}', session => true);
\set VERBOSITY sqlstate
SELECT release_keys(NULL);
SELECT release_keys('{}');
SELECT release_keys('{{a},{NULL}}');
SELECT release_keys('{{{a}}}');
SELECT release_keys('{a}', shared => NULL);
\set VERBOSITY default
SELECT release_keys('{a}');
SELECT * FROM my_locks;
