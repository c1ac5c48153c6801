-- A call for several keys takes all of them or none, at either level, and leaves what was held
-- before as it was.
-- Needs max_prepared_transactions > 0.
SELECT current_setting('max_prepared_transactions')::int = 0 AS cannot_prepare \gset
\if :cannot_prepare
\quit
\endif

-- In the order in which the keys are taken.
SELECT name, key FROM known_name WHERE name LIKE 'acct-%' ORDER BY key;

-- The last, the middle and the first of three are busy in turn.
CREATE FUNCTION try_three(level text, failing text) RETURNS TABLE (busy text, granted boolean, held_after text) LANGUAGE plpgsql AS $$
BEGIN
    busy := failing;
    granted := try_lock_keys('{{acct,1},{acct,2},{acct,3}}', timeout => '1 ms', session => level = 'session');
    held_after := (SELECT string_agg(name, ' ') FROM my_locks);
    RETURN NEXT;
END $$;
BEGIN;
SELECT lock_keys('{acct,2}');
PREPARE TRANSACTION 'regress_ak_holder';
SELECT * FROM try_three('transaction', 'last');
SELECT * FROM try_three('session', 'last');
ROLLBACK PREPARED 'regress_ak_holder';
BEGIN;
SELECT lock_keys('{acct,1}');
PREPARE TRANSACTION 'regress_ak_holder';
SELECT * FROM try_three('transaction', 'middle');
SELECT * FROM try_three('session', 'middle');
ROLLBACK PREPARED 'regress_ak_holder';
BEGIN;
SELECT lock_keys('{acct,3}');
PREPARE TRANSACTION 'regress_ak_holder';
SELECT * FROM try_three('transaction', 'first');
SELECT * FROM try_three('session', 'first');
ROLLBACK PREPARED 'regress_ak_holder';
-- With none of them busy it is all three.
BEGIN;
SELECT * FROM try_three('transaction', 'none');
COMMIT;

-- From here on, the last is busy.
BEGIN;
SELECT lock_keys('{acct,2}');
PREPARE TRANSACTION 'regress_ak_holder';

-- Without waiting, and with the error of lock_keys.
SELECT try_lock_keys('{{acct,1},{acct,2}}', session => true);
SELECT lock_keys('{{acct,1},{acct,2}}', session => true, timeout => '0');
SELECT lock_keys('{{acct,1},{acct,2}}', session => true, timeout => '1 ms');
SELECT lock_keys('{{acct,1},{acct,2}}', shared => true, session => true, timeout => '1 ms');
SELECT * FROM my_locks;
-- By an error that Postgres raises during the wait.
SET statement_timeout = '30 ms';
SELECT lock_keys('{{acct,1},{acct,2}}', session => true);
SELECT try_lock_keys('{{acct,1},{acct,3},{acct,2}}', session => true, timeout => '1 day');
RESET statement_timeout;
SELECT * FROM my_locks;
-- By an error that is caught by an outer block.
DO $$
BEGIN
    PERFORM lock_keys('{{acct,1},{acct,2}}', session => true, timeout => '1 ms');
EXCEPTION WHEN lock_not_available THEN
    NULL;
END $$;
SELECT * FROM my_locks;

-- Holds from before keep their counts: two of the session ...
SELECT lock_keys('{acct,1}', session => true), lock_keys('{acct,1}', session => true);
SELECT try_lock_keys('{{acct,1},{acct,2},{acct,3}}', session => true, timeout => '1 ms');
SELECT try_lock_keys('{{acct,1},{acct,2},{acct,3}}', timeout => '1 ms');
SELECT try_lock_keys('{{acct,1},{acct,2},{acct,3}}', shared => true, timeout => '1 ms');
SELECT * FROM my_locks;
SELECT unlock_keys('{acct,1}') AS one, holds_keys('{acct,1}') AS still, unlock_keys('{acct,1}') AS two, holds_keys('{acct,1}') AS still;
-- ... and those of the transaction and of a savepoint.
BEGIN;
SELECT lock_keys('{acct,1}');
SAVEPOINT one;
SELECT lock_keys('{acct,1}'), lock_keys('{acct,3}');
SELECT try_lock_keys('{{acct,1},{acct,2},{acct,3}}'), try_lock_keys('{{acct,1},{acct,2},{acct,3}}', timeout => '1 ms');
SELECT * FROM my_locks;
ROLLBACK TO SAVEPOINT one;
SELECT * FROM my_locks;
COMMIT;
-- In the other mode as well.
BEGIN;
SELECT lock_keys('{acct,1}', shared => true);
SELECT try_lock_keys('{{acct,1},{acct,2}}');
SELECT * FROM my_locks;
COMMIT;

ROLLBACK PREPARED 'regress_ak_holder';
SELECT count(*) AS left_over FROM bigint_locks;
DROP FUNCTION try_three(text, text);
