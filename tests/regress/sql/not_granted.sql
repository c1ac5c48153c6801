-- What happens when somebody else holds the lock; here that is a prepared transaction, so that
-- one session can show it.
-- Needs max_prepared_transactions > 0.
SELECT current_setting('max_prepared_transactions')::int = 0 AS cannot_prepare \gset
\if :cannot_prepare
\quit
\endif

BEGIN;
SELECT lock_keys('{order,42}'), lock_keys('{b}', shared => true);
PREPARE TRANSACTION 'regress_ak_holder';

-- try_lock_keys says false, at once or after the timeout, however short that is.
SELECT try_lock_keys('{order,42}') AS at_once, try_lock_keys('{order,42}', timeout => '1 us') AS "1 us",
    try_lock_keys('{order,42}', timeout => '0.4 ms') AS "0.4 ms", try_lock_keys('{order,42}', timeout => '10 ms') AS "10 ms",
    try_lock_keys('{order,42}', timeout => '1 day -23:59:59.99') AS "a sum";
SELECT try_lock_keys('{order,42}', session => true), try_lock_keys('{order,42}', shared => true),
    try_lock_keys('{order,42}', shared => true, session => true, timeout => '1 ms');

-- lock_keys raises 55P03, and says which key and who has it. The timeout is rounded up to 1 ms.
SELECT lock_keys('{order,42}', timeout => '0');
\echo :SQLSTATE
SELECT lock_keys('{order,42}', timeout => '1 us');
\echo :SQLSTATE
SELECT lock_keys('{order,42}', timeout => '0.4 ms', shared => true);
SELECT lock_keys('{order,42}', timeout => '1001 us', session => true);
SELECT lock_keys('{order,42}', timeout => '20 ms');
-- The one of several that could not be had.
SELECT lock_keys('{{a},{order-42},{c}}', timeout => '1 ms');

-- Shared locks stand in the way of exclusive ones only.
SELECT try_lock_keys('{b}', shared => true) AS shared, try_lock_keys('{b}') AS exclusive;
BEGIN;
SELECT lock_keys('{b}', shared => true, timeout => '0');
COMMIT;
SELECT lock_keys('{b}', timeout => '0');

-- It waits as long as it was told and not shorter.
CREATE TABLE times AS SELECT clock_timestamp() AS start;
SELECT try_lock_keys('{order,42}', timeout => '200 ms');
SELECT clock_timestamp() - start >= '200 ms' AS waited FROM times;
DROP TABLE times;

-- Without a timeout lock_timeout limits the wait.
SET lock_timeout = '15 ms';
SELECT lock_keys('{order,42}');
\echo :SQLSTATE
SELECT try_lock_keys('{order,42}', timeout => NULL);
-- A timeout takes its place, longer or shorter, and leaves the setting alone.
SELECT lock_keys('{order,42}', timeout => '40 ms');
SELECT lock_keys('{order,42}', timeout => '5 ms');
SHOW lock_timeout;
SELECT lock_keys('{order,42}');
RESET lock_timeout;

-- What is not a matter of waiting too long is no "false": the statement's own timeout.
SET statement_timeout = '30 ms';
SELECT lock_keys('{order,42}');
\echo :SQLSTATE
SELECT try_lock_keys('{order,42}', timeout => '1 day');
\echo :SQLSTATE
SELECT try_lock_keys('{order,42}', timeout => NULL, session => true);
\echo :SQLSTATE
RESET statement_timeout;
SELECT outcome($$SET LOCAL lock_timeout = '5 ms'; SELECT lock_keys('{order,42}')$$) IS NOT NULL AS caught;

-- In a transaction: false costs nothing, the error aborts it.
BEGIN;
SELECT lock_keys('{a}');
SELECT try_lock_keys('{order,42}', timeout => '1 ms');
SELECT * FROM my_locks;
SAVEPOINT before;
SELECT lock_keys('{order,42}', timeout => '1 ms');
SELECT try_lock_keys('{c}');
\echo :SQLSTATE
ROLLBACK TO SAVEPOINT before;
SELECT * FROM my_locks;
COMMIT;

-- A long name is cut; and the text of keys can be kept out altogether.
BEGIN;
SELECT lock_keys(ARRAY['long', repeat('x', 500)]);
PREPARE TRANSACTION 'regress_ak_long';
SELECT lock_keys(ARRAY['long', repeat('x', 500)], timeout => '0');
SET advisory_keys.show_keys = off;
SELECT lock_keys('{order,42}', timeout => '0');
SET statement_timeout = '30 ms';
SELECT lock_keys('{order,42}');
RESET statement_timeout;
RESET advisory_keys.show_keys;

-- After so many failures nothing is held, and nothing is in the way once the holder is gone.
SELECT * FROM my_locks;
ROLLBACK PREPARED 'regress_ak_holder';
ROLLBACK PREPARED 'regress_ak_long';
SELECT try_lock_keys('{{order,42},{a,b}}'), try_lock_keys('{order,42}', timeout => NULL);
SELECT count(*) AS left_over FROM bigint_locks;
