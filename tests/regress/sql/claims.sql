-- claim_keys locks the first names that are free, and says which rows they are in.

-- Somebody else has two of the names; here that is a prepared transaction, so that one session can show it.
-- Needs max_prepared_transactions > 0.
SELECT current_setting('max_prepared_transactions')::int = 0 AS cannot_prepare \gset
\if :cannot_prepare
\quit
\endif
BEGIN;
SELECT lock_keys('{a}'), lock_keys('{acct,2}', shared => true);
PREPARE TRANSACTION 'regress_ak_holder';

-- The first free one, unless told otherwise; nothing else is locked.
BEGIN;
SELECT claim_keys('{{a},{b},{c}}');
SELECT * FROM my_locks;
COMMIT;
-- As many as are wanted, as long as there are any, in the order of the rows and not of the keys.
BEGIN;
SELECT claim_keys('{{acct,3},{acct,2},{acct,1},{order,42}}', wanted => 2);
SELECT * FROM my_locks;
COMMIT;
BEGIN;
SELECT claim_keys('{{acct,1},{acct,2},{acct,3}}', wanted => 1000);
SELECT * FROM my_locks;
COMMIT;
-- None at all.
BEGIN;
SELECT claim_keys('{{a},{acct-2}}', 2) AS none, claim_keys('{a}') AS "one row, busy", claim_keys('{b}') AS "one row, free";
SELECT * FROM my_locks;
COMMIT;
-- One dimension is one name, not several.
BEGIN;
SELECT claim_keys('{order,42}', 5);
SELECT * FROM my_locks;
COMMIT;
-- Rows are counted from 1 whatever the bounds of the array are.
BEGIN;
SELECT claim_keys('[5:7][0:0]={{a},{b},{c}}', 5);
COMMIT;

-- Shared: what others share is free.
BEGIN;
SELECT claim_keys('{{a},{acct-2},{b}}', 3, shared => true);
SELECT * FROM my_locks;
COMMIT;

-- A worker does not claim its own a second time, in whatever way it holds them.
BEGIN;
SELECT lock_keys('{b}'), lock_keys('{c}', shared => true), lock_keys('{order,42}', session => true);
SELECT claim_keys('{{b},{c},{order-42},{acct-1}}', 4) AS exclusive, claim_keys('{{b},{c},{order-42},{acct-3}}', 4, shared => true) AS shared,
    claim_keys('{{b},{c},{order-42},{acct-1},{acct-3}}', 4, session => true) AS "of the session";
SELECT * FROM my_locks;
COMMIT;
SELECT release_keys('{order,42}');
-- So a name that comes twice counts once.
BEGIN;
SELECT claim_keys('{{b,x},{c,x},{b,x}}', 4) AS "the same", claim_keys('{{b-x,y},{b,x-y},{b,z}}', 4) AS "the same when joined";
COMMIT;

-- The levels and their ends are those of every other lock.
SELECT claim_keys('{{a},{b},{c}}', 2, session => true);
SELECT * FROM my_locks;
SELECT holds_keys('{{b},{c}}'), unlock_keys('{{b},{c}}');
BEGIN;
SAVEPOINT one;
SELECT claim_keys('{{b},{c}}'), claim_keys('{{b},{c}}'), claim_keys('{{b},{c}}');
ROLLBACK TO SAVEPOINT one;
SELECT claim_keys('{{b},{c}}');
SELECT * FROM my_locks;
ROLLBACK;

-- One call for each row of a query.
BEGIN;
SELECT string_agg(claim_keys('{{a},{acct-1},{acct-3},{b},{c}}')::text, ' ') FROM generate_series(1, 6);
COMMIT;

-- What is wrong with the arguments is an error, and nothing is locked; busy or not.
\pset format unaligned
\pset tuples_only on
BEGIN;
SELECT outcome($$SELECT claim_keys(NULL)$$);
SELECT outcome($$SELECT claim_keys('{}')$$);
SELECT outcome($$SELECT claim_keys('{{{b}}}')$$);
SELECT outcome($$SELECT claim_keys('{b,NULL}')$$);
SELECT outcome($$SELECT claim_keys('{{b,c},{c,NULL}}')$$);
SELECT outcome($$SELECT claim_keys('{b}', NULL)$$);
SELECT outcome($$SELECT claim_keys('{b}', 0)$$);
SELECT outcome($$SELECT claim_keys('{b}', -1)$$);
SELECT outcome($$SELECT claim_keys('{b}', shared => NULL)$$);
SELECT outcome($$SELECT claim_keys('{b}', session => NULL)$$);
-- How many are wanted is limited, how many there are to choose from is not.
SELECT outcome($$SELECT claim_keys('{b}', 1001)$$);
SET LOCAL advisory_keys.max_keys_per_call = 2;
SELECT outcome($$SELECT claim_keys('{b}', 3)$$);
SELECT * FROM my_locks;
SELECT outcome($$SELECT claim_keys('{{a},{acct-2},{b},{acct-1},{acct-3}}', 2)$$);
ROLLBACK;
SET advisory_keys.session_locks = off;
SELECT outcome($$SELECT claim_keys('{b}', session => true)$$);
SET advisory_keys.session_locks = warn;
\pset format aligned
\pset tuples_only off
SELECT claim_keys('{{a},{b}}', session => true);
-- Nothing taken, nothing to warn of.
SELECT claim_keys('{a}', session => true), claim_keys('{b}', session => true);
RESET advisory_keys.session_locks;
SELECT release_keys('{b}');

-- There may be more to choose from than one call could lock.
BEGIN;
SELECT array_length(names, 1) AS candidates, claim_keys(names, 2)
FROM (SELECT array_agg(ARRAY['acct', i::text]) AS names FROM generate_series(1, 100000) AS i) AS many;
SELECT * FROM my_locks;
COMMIT;

ROLLBACK PREPARED 'regress_ak_holder';
SELECT count(*) AS left_over FROM bigint_locks;
