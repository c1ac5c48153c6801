-- The functions in every kind of transaction.

-- Read only.
BEGIN READ ONLY;
SELECT try_lock_keys('{a}'), try_lock_keys('{b}', session => true), keys_available('{c}'), advisory_key('{order,42}');
SELECT * FROM my_locks;
COMMIT;
SELECT unlock_keys('{b}');

-- In a transaction that has failed nothing runs until it is rolled back, and then nothing is held.
BEGIN;
SELECT lock_keys('{a}');
SELECT 1 / 0;
SELECT try_lock_keys('{b}');
\echo :SQLSTATE
SELECT holds_keys('{a}');
\echo :SQLSTATE
COMMIT;
SELECT * FROM my_locks;

-- Without waiting, REPEATABLE READ and SERIALIZABLE are nothing special.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT lock_keys('{a}'), lock_keys('{b}', timeout => '1 s'), try_lock_keys('{{a},{b}}', timeout => NULL);
SELECT * FROM my_locks;
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE;
SELECT lock_keys('{a}'), try_lock_keys('{b}');
SELECT * FROM my_locks;
COMMIT;

-- A procedure that commits: its transaction-level locks end there, session-level locks do not.
CREATE PROCEDURE in_steps() LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_keys('{a}'), lock_keys('{b}', session => true);
    COMMIT;
    RAISE NOTICE 'after COMMIT: a %, b %', holds_keys('{a}'), holds_keys('{b}');
    PERFORM lock_keys('{a}');
    ROLLBACK;
    RAISE NOTICE 'after ROLLBACK: a %, b %', holds_keys('{a}'), holds_keys('{b}');
    PERFORM lock_keys('{a}');
    RAISE NOTICE 'at the end: a %, b %', holds_keys('{a}'), holds_keys('{b}');
END $$;
CALL in_steps();
SELECT * FROM my_locks;
SELECT unlock_keys('{b}');
DROP PROCEDURE in_steps();

-- Several statements in one message are one transaction.
SELECT lock_keys('{a}') \; SELECT holds_keys('{a}') AS in_the_same_message;
SELECT holds_keys('{a}') AS in_the_next;

-- PL/pgSQL: the lock of a function lasts until the end of the transaction, not of the function.
CREATE FUNCTION lock_inside() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RETURN try_lock_keys('{a}', timeout => '1 s');
END $$;
BEGIN;
SELECT lock_inside();
SELECT holds_keys('{a}');
COMMIT;
SELECT holds_keys('{a}');
DROP FUNCTION lock_inside();
