-- A savepoint that is rolled back takes its transaction-level locks with it, as in core.

BEGIN;
SELECT lock_keys(ARRAY['a']);
SAVEPOINT one;
SELECT lock_keys(ARRAY['a']);
SELECT lock_keys(ARRAY[['b'], ['c']]);
SAVEPOINT two;
SELECT lock_keys(ARRAY['order', '42']);
RELEASE SAVEPOINT two;
SELECT * FROM my_locks;
-- Back to where only the first hold of "a" was.
ROLLBACK TO SAVEPOINT one;
SELECT * FROM my_locks;
-- What a savepoint that is released took stays with the transaction.
SELECT lock_keys(ARRAY['b']);
RELEASE SAVEPOINT one;
SELECT * FROM my_locks;
COMMIT;

-- Session-level locks and releases are not undone.
SELECT lock_keys(ARRAY['a'], session => true);
BEGIN;
SAVEPOINT one;
SELECT lock_keys(ARRAY['b'], session => true), unlock_keys(ARRAY['a']);
ROLLBACK TO SAVEPOINT one;
SELECT * FROM my_locks;
COMMIT;
SELECT unlock_keys(ARRAY['b']);

-- An EXCEPTION block of PL/pgSQL is a savepoint.
BEGIN;
DO $$
BEGIN
    PERFORM lock_keys(ARRAY['a']);
    BEGIN
        PERFORM lock_keys(ARRAY['b']);
        PERFORM lock_keys(ARRAY['c'], session => true);
        PERFORM 1 / 0;
    EXCEPTION WHEN division_by_zero THEN
        PERFORM lock_keys(ARRAY['order', '42']);
    END;
END $$;
SELECT * FROM my_locks;
COMMIT;
SELECT * FROM my_locks;
SELECT unlock_keys(ARRAY['c']);

-- A statement that fails takes its own locks with it.
BEGIN;
SAVEPOINT one;
SELECT lock_keys(ARRAY['a']), 1 / (SELECT 0);
ROLLBACK TO SAVEPOINT one;
SELECT * FROM my_locks;
COMMIT;
