-- CALL acquire_keys: lock_keys as a procedure. What it does to the snapshot takes two sessions: tests/live/test_acquire.py.

-- All arguments, by place and by name.
BEGIN;
CALL acquire_keys('{a}');
CALL acquire_keys(ARRAY[['b'],['c'],['b']], '1 s', true, false);
CALL acquire_keys(shared => true, keys => ARRAY['order', '42'], timeout => NULL);
CALL acquire_keys('{a,b}', timeout => '0', session => true);
SELECT * FROM my_locks;
SELECT holds_keys('{a}'), holds_keys('{{b},{c}}', shared => true), holds_keys('{{b},{c}}');
COMMIT;
SELECT * FROM my_locks;
SELECT unlock_keys('{a,b}');

-- It counts like lock_keys.
CALL acquire_keys('{a}', session => true);
SELECT lock_keys('{a}', session => true);
CALL acquire_keys('{a}', session => true);
SELECT release_keys('{a}');

-- It is a procedure and no function, and the other way round.
\set VERBOSITY sqlstate
SELECT acquire_keys('{a}');
CALL lock_keys('{a}');
\set VERBOSITY default

-- The errors are those of lock_keys.
CALL acquire_keys(NULL);
CALL acquire_keys('{}');
CALL acquire_keys('{a,NULL}');
CALL acquire_keys('{{{a}}}');
CALL acquire_keys('{a}', timeout => '-1 ms');
CALL acquire_keys('{a}', shared => NULL);
CALL acquire_keys('{a}', session => NULL);
SET advisory_keys.max_keys_per_call = 2;
CALL acquire_keys('{{a},{b},{c}}');
RESET advisory_keys.max_keys_per_call;
SET advisory_keys.session_locks = off;
CALL acquire_keys('{a}', session => true);
RESET advisory_keys.session_locks;
SELECT * FROM my_locks;

-- Where it stands: a block, a savepoint, DO, procedures, functions.
BEGIN;
SAVEPOINT before;
CALL acquire_keys('{a}');
ROLLBACK TO SAVEPOINT before;
CALL acquire_keys('{b}');
SELECT * FROM my_locks;
COMMIT;

CREATE PROCEDURE in_steps() LANGUAGE plpgsql AS $$
BEGIN
    CALL acquire_keys('{a}');
    CALL acquire_keys('{b}', session => true);
    COMMIT;
    RAISE NOTICE 'after COMMIT: a %, b %', holds_keys('{a}'), holds_keys('{b}');
    CALL acquire_keys('{a}', timeout => '1 s');
    ROLLBACK;
    RAISE NOTICE 'after ROLLBACK: a %, b %', holds_keys('{a}'), holds_keys('{b}');
    BEGIN
        CALL acquire_keys('{a}');
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN
        RAISE NOTICE 'after the block: a %, b %', holds_keys('{a}'), holds_keys('{b}');
    END;
    CALL acquire_keys('{a}');
    RAISE NOTICE 'at the end: a %, b %', holds_keys('{a}'), holds_keys('{b}');
END $$;
CALL in_steps();
SELECT * FROM my_locks;
DO $$ BEGIN CALL in_steps(); END $$;
SELECT release_keys('{b}');
DROP PROCEDURE in_steps();

CREATE PROCEDURE in_sql() LANGUAGE sql AS $$ CALL acquire_keys('{a}'); $$;
CREATE FUNCTION in_function() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN CALL acquire_keys('{b}'); RETURN holds_keys('{a}'); END $$;
BEGIN;
CALL in_sql();
SELECT in_function();
SELECT * FROM my_locks;
COMMIT;
DROP PROCEDURE in_sql();
DROP FUNCTION in_function();

-- In a transaction that is read only, and in the others.
BEGIN READ ONLY;
CALL acquire_keys('{a}');
SELECT * FROM my_locks;
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
CALL acquire_keys('{a}');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
CALL acquire_keys('{a}');
COMMIT;

-- Who may call it.
CREATE ROLE regress_ak_nobody;
SET ROLE regress_ak_nobody;
CALL acquire_keys('{a}', session => true);
SELECT unlock_keys('{a}');
RESET ROLE;
BEGIN;
REVOKE EXECUTE ON PROCEDURE acquire_keys FROM PUBLIC;
SET ROLE regress_ak_nobody;
CALL acquire_keys('{a}');
ROLLBACK;
DROP ROLE regress_ak_nobody;

-- Somebody else has it; here that is a prepared transaction, so that one session can show it.
SELECT current_setting('max_prepared_transactions')::int = 0 AS cannot_prepare \gset
\if :cannot_prepare
\quit
\endif
BEGIN;
CALL acquire_keys('{order,42}');
PREPARE TRANSACTION 'regress_ak_holder';
CALL acquire_keys('{order,42}', timeout => '0');
CALL acquire_keys('{order,42}', timeout => '0.4 ms', shared => true);
CALL acquire_keys('{order,42}', timeout => '20 ms', session => true);
CALL acquire_keys('{{a},{order-42},{c}}', timeout => '1 ms');
SET lock_timeout = '15 ms';
CALL acquire_keys('{order,42}');
RESET lock_timeout;
\set SHOW_CONTEXT never
SET statement_timeout = '30 ms';
CALL acquire_keys('{order,42}');
RESET statement_timeout;
DO $$
BEGIN
    CALL acquire_keys('{order,42}', timeout => '1 ms');
EXCEPTION WHEN lock_not_available THEN
    RAISE NOTICE 'caught: %', SQLERRM;
    CALL acquire_keys('{a}', timeout => '1 ms');
END $$;
ROLLBACK PREPARED 'regress_ak_holder';
SELECT * FROM my_locks;
