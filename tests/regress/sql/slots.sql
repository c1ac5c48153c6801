-- At most so many holders of a name; in one session, with prepared transactions as the others.
-- Needs max_prepared_transactions > 0.
SELECT current_setting('max_prepared_transactions')::int < 3 AS cannot_prepare \gset
\if :cannot_prepare
\quit
\endif
SET advisory_keys.warn_short_locks = off;

-- A slot is a shared lock on the name, at either level.
BEGIN;
SELECT try_lock_slot('{a}', 1), slots_held('{a}');
SELECT * FROM my_locks;
SELECT holds_keys('{a}', shared => true) AS shared, holds_keys('{a}') AS exclusive;
COMMIT;
SELECT slots_held('{a}');
SELECT lock_slot('{a}', 1, session => true);
SELECT * FROM my_locks;
SELECT unlock_slot('{a}'), slots_held('{a}');
SELECT lock_slot('{a}', 1, session => true);
SELECT unlock_keys('{a}', shared => true), slots_held('{a}');
SELECT lock_slot('{a}', 1, session => true), lock_slot('{a}', 1, session => true);
SELECT release_keys('{a}', shared => true), slots_held('{a}');
SELECT unlock_slot('{a}');

-- A session counts once, and gets again what it holds, for however many it asks.
BEGIN;
SELECT lock_slot('{a}', 5), lock_slot('{a}', 1), try_lock_slot('{a}', 1, session => true), slots_held('{a}');
COMMIT;
SELECT slots_held('{a}'), unlock_slot('{a}'), slots_held('{a}');
-- Also who holds the name otherwise.
BEGIN;
SELECT lock_keys('{a}', shared => true), try_lock_slot('{a}', 1), slots_held('{a}');
COMMIT;
BEGIN;
SELECT lock_keys('{a}'), slots_held('{a}'), try_lock_slot('{a}', 1), slots_held('{a}');
COMMIT;

-- A savepoint gives its slots back, and so does an exception that was caught; not those of the session.
BEGIN;
SAVEPOINT s;
SELECT lock_slot('{a}', 1), lock_slot('{b}', 1, session => true);
ROLLBACK TO s;
SELECT slots_held('{a}') AS of_transaction, slots_held('{b}') AS of_session;
COMMIT;
SELECT unlock_slot('{b}');
SELECT outcome('SELECT lock_slot(''{a}'', 1), 1 / 0'), slots_held('{a}');

-- A slot of a prepared transaction is taken until that ends.
BEGIN;
SELECT lock_slot('{a}', 2);
PREPARE TRANSACTION 'regress_ak_slot_1';
SELECT slots_held('{a}');
BEGIN;
SELECT try_lock_slot('{a}', 1) AS one, try_lock_slot('{a}', 2) AS two, slots_held('{a}');
PREPARE TRANSACTION 'regress_ak_slot_2';
SELECT try_lock_slot('{a}', 2) AS two, try_lock_slot('{a}', 2, timeout => '20 ms') AS two_in_time, try_lock_slot('{a}', 3) AS three;

-- Not granted in time: 55P03, which says who holds it.
SELECT lock_slot('{a}', 2, timeout => '0');
\echo :SQLSTATE
SELECT lock_slot('{a}', 2, timeout => '20 ms');
\echo :SQLSTATE
SET lock_timeout = '20ms';
SELECT lock_slot('{a}', 2, session => true);
SELECT try_lock_slot('{a}', 2, timeout => NULL);
RESET lock_timeout;
SET advisory_keys.show_keys = off;
SELECT lock_slot('{order,42}', 1, session => true);
SELECT unlock_slot('{order,42}'), unlock_slot('{order,42}');
RESET advisory_keys.show_keys;

-- Holders keep exclusive lockers out, and exclusive lockers keep everybody out.
SELECT try_lock_keys('{a}'), keys_available('{a}'), keys_available('{a}', shared => true);
BEGIN;
SELECT lock_keys('{b}');
PREPARE TRANSACTION 'regress_ak_slot_3';
SELECT try_lock_slot('{b}', 100), try_lock_slot('{b}', 100, timeout => '20 ms'), slots_held('{b}');
SELECT lock_slot('{b}', 100, timeout => '20 ms');
COMMIT PREPARED 'regress_ak_slot_1';
ROLLBACK PREPARED 'regress_ak_slot_2';
ROLLBACK PREPARED 'regress_ak_slot_3';
SELECT try_lock_slot('{a}', 1), try_lock_slot('{b}', 1);
-- Nothing of all that is left.
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory';

-- Arguments: one name, and how many.
SELECT outcome('SELECT lock_slot(NULL, 1)');
SELECT outcome('SELECT lock_slot(''{}'', 1)');
SELECT outcome('SELECT lock_slot(''{a,NULL}'', 1)');
SELECT outcome('SELECT lock_slot(''{{a},{b}}'', 1)');
SELECT outcome('SELECT try_lock_slot(''{{a},{b}}'', 1)');
SELECT outcome('SELECT unlock_slot(''{{a}}'')');
SELECT outcome('SELECT slots_held(''{{{a}}}'')');
SELECT outcome('SELECT lock_slot(''{a}'', NULL)');
SELECT outcome('SELECT try_lock_slot(''{a}'', 0)');
SELECT outcome('SELECT try_lock_slot(''{a}'', -2147483648)');
SELECT outcome('SELECT try_lock_slot(''{a}'', 2147483647)');
SELECT outcome('SELECT try_lock_slot(''{a}'', 1, timeout => ''-1 ms'')');
SELECT outcome('SELECT try_lock_slot(''{a}'', 1, session => NULL)');

-- Settings.
SET advisory_keys.session_locks = warn;
SELECT try_lock_slot('{a}', 1, session => true), unlock_slot('{a}');
SET advisory_keys.session_locks = off;
SELECT outcome('SELECT try_lock_slot(''{a}'', 1, session => true)');
RESET advisory_keys.session_locks;
SET advisory_keys.max_keys_per_session = 1;
BEGIN;
SELECT lock_slot('{a}', 1);
SELECT lock_slot('{a}', 1);
SELECT lock_slot('{b}', 1);
ROLLBACK;
RESET advisory_keys.max_keys_per_session;
-- A slot that ends with its statement.
SET advisory_keys.warn_short_locks = on;
SELECT try_lock_slot('{a}', 1);
