-- Two-phase commit treats these locks as core's: those of the transaction go with it, those of the
-- session stay with the session.
-- Needs max_prepared_transactions > 0.
SELECT current_setting('max_prepared_transactions')::int = 0 AS cannot_prepare \gset
\if :cannot_prepare
\quit
\endif

BEGIN;
SELECT lock_keys('{{a},{b}}'), lock_keys('{c}', session => true);
PREPARE TRANSACTION 'regress_ak_first';
SELECT * FROM my_locks;
SELECT name, mode, pid IS NULL AS of_nobody FROM bigint_locks WHERE name <> 'c' ORDER BY name;
SELECT holds_keys('{a}') AS a, holds_keys('{c}') AS c;
SELECT keys_available('{a}') AS exclusive, keys_available('{a}', shared => true) AS shared,
    keys_available('{c}') AS own, keys_available('{{c},{b}}') AS several;
-- It ends with the prepared transaction, committed or not.
COMMIT PREPARED 'regress_ak_first';
SELECT keys_available('{{a},{b}}'), try_lock_keys('{{a},{b}}');
SELECT unlock_keys('{c}');

-- Shared ones.
BEGIN;
SELECT lock_keys('{a}', shared => true);
PREPARE TRANSACTION 'regress_ak_first';
SELECT keys_available('{a}') AS exclusive, keys_available('{a}', shared => true) AS shared;
-- An own shared lock on top makes no difference to the answer.
BEGIN;
SELECT lock_keys('{a}', shared => true);
SELECT keys_available('{a}') AS exclusive, keys_available('{a}', shared => true) AS shared;
COMMIT;
ROLLBACK PREPARED 'regress_ak_first';
SELECT keys_available('{a}') AS exclusive;

-- The same key at both levels cannot be prepared, which Postgres says; the session's hold remains.
SELECT lock_keys('{a}', session => true);
BEGIN;
SELECT lock_keys('{a}');
\set VERBOSITY sqlstate
PREPARE TRANSACTION 'regress_ak_both';
\set VERBOSITY default
SELECT * FROM my_locks;
SELECT unlock_keys('{a}');

-- Looking and failing leaves nothing behind that could not be prepared or would be prepared.
BEGIN;
SELECT lock_keys('{a}');
PREPARE TRANSACTION 'regress_ak_first';
BEGIN;
SELECT keys_available('{{b},{c}}'), keys_available('{a}'), try_lock_keys('{a}'), try_lock_keys('{{b},{a}}', timeout => '1 ms');
SELECT lock_keys('{c}');
PREPARE TRANSACTION 'regress_ak_second';
SELECT name, mode FROM bigint_locks ORDER BY name;
COMMIT PREPARED 'regress_ak_second';

-- A lock in one database is none in another.
SELECT current_database() AS here \gset
CREATE DATABASE regress_ak_other;
\c regress_ak_other
CREATE EXTENSION advisory_keys;
SELECT keys_available('{a}'), try_lock_keys('{a}');
\c :here
SELECT keys_available('{a}'), try_lock_keys('{a}');
DROP DATABASE regress_ak_other;
ROLLBACK PREPARED 'regress_ak_first';
SELECT count(*) AS left_over FROM bigint_locks;
