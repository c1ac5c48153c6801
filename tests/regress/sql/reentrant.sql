-- A session that holds a lock gets it again at once, and holds are counted, each level for itself.

-- Three session-level holds need three releases.
SELECT try_lock_keys(ARRAY['a'], session => true) FROM generate_series(1, 3);
SELECT unlock_keys(ARRAY['a']) AS first, unlock_keys(ARRAY['a']) AS second, holds_keys(ARRAY['a']) AS still;
SELECT unlock_keys(ARRAY['a']) AS third, holds_keys(ARRAY['a']) AS still;

-- The modes are counted apart.
SELECT lock_keys(ARRAY['a'], session => true);
SELECT lock_keys(ARRAY['a'], shared => true, session => true);
SELECT unlock_keys(ARRAY['a']);
SELECT * FROM my_locks;
SELECT unlock_keys(ARRAY['a'], shared => true);
SELECT * FROM my_locks;

-- The levels stack: a release at session level leaves the transaction's hold ...
BEGIN;
SELECT lock_keys(ARRAY['a']);
SELECT lock_keys(ARRAY['a'], session => true);
SELECT unlock_keys(ARRAY['a']), holds_keys(ARRAY['a']) AS held_by_transaction;
COMMIT;
SELECT holds_keys(ARRAY['a']);
-- ... and the end of the transaction leaves the session's.
BEGIN;
SELECT lock_keys(ARRAY['a'], session => true);
SELECT lock_keys(ARRAY['a']), lock_keys(ARRAY['a']);
COMMIT;
SELECT holds_keys(ARRAY['a']) AS held_by_session, unlock_keys(ARRAY['a']) AS once, holds_keys(ARRAY['a']);

-- More holds than fit anywhere by accident.
BEGIN;
SELECT count(*) FILTER (WHERE try_lock_keys(ARRAY['a'], session => true)) AS locked FROM generate_series(1, 1000);
SELECT * FROM my_locks;
ROLLBACK;
SELECT count(*) FILTER (WHERE unlock_keys(ARRAY['a'])) AS unlocked FROM generate_series(1, 1000);
SELECT * FROM my_locks;
