-- keys_available: is nobody else in the way? Own holds are not. It takes nothing. (Other sessions'
-- holds: see the isolation tests.)

BEGIN;
SELECT keys_available(ARRAY['a']) AS exclusive, keys_available(ARRAY['a'], shared => true) AS shared;
SELECT * FROM my_locks;
SELECT lock_keys(ARRAY['a'], shared => true);
SELECT keys_available(ARRAY['a']) AS exclusive, keys_available(ARRAY['a'], shared => true) AS shared;
SELECT lock_keys(ARRAY['a']);
SELECT keys_available(ARRAY['a']) AS exclusive, keys_available(ARRAY['a'], shared => true) AS shared;
SELECT keys_available(ARRAY[['a'], ['b']]) AS several;
-- Nothing but what was locked, also in modes that core's functions do not use.
SELECT * FROM my_locks;
COMMIT;

-- Own locks at session level, counted.
SELECT lock_keys(ARRAY['a'], session => true), lock_keys(ARRAY['a'], session => true),
    lock_keys(ARRAY['b'], shared => true, session => true), lock_keys(ARRAY['b'], shared => true, session => true);
SELECT keys_available(ARRAY[['a'], ['b']]) AS exclusive, keys_available(ARRAY[['a'], ['b']], shared => true) AS shared;
BEGIN;
SELECT lock_keys(ARRAY['b'], shared => true);
SELECT keys_available(ARRAY['b']) AS exclusive;
COMMIT;
-- The counts are what they were: two releases each.
SELECT unlock_keys(ARRAY['a']), unlock_keys(ARRAY['a']), holds_keys(ARRAY['a']);
SELECT unlock_keys(ARRAY['b'], true), unlock_keys(ARRAY['b'], true), holds_keys(ARRAY['b'], true);
