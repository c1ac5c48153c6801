-- holds_keys: does this backend hold all of them, at least in the mode that is asked for?

BEGIN;
SELECT holds_keys(ARRAY['a']) AS exclusive, holds_keys(ARRAY['a'], shared => true) AS shared;
SELECT lock_keys(ARRAY['a'], shared => true);
SELECT holds_keys(ARRAY['a']) AS exclusive, holds_keys(ARRAY['a'], shared => true) AS shared;
SELECT lock_keys(ARRAY['a']);
SELECT holds_keys(ARRAY['a']) AS exclusive, holds_keys(ARRAY['a'], shared => true) AS shared;
COMMIT;
SELECT holds_keys(ARRAY['a']) AS exclusive, holds_keys(ARRAY['a'], shared => true) AS shared;

-- An exclusive lock is more than a shared one.
BEGIN;
SELECT lock_keys(ARRAY['a']);
SELECT holds_keys(ARRAY['a']) AS exclusive, holds_keys(ARRAY['a'], shared => true) AS shared;
COMMIT;

-- All of several, each at whatever level.
BEGIN;
SELECT lock_keys(ARRAY['a']), lock_keys(ARRAY['b'], session => true);
SELECT holds_keys(ARRAY[['a'], ['b']]) AS both, holds_keys(ARRAY[['a'], ['c']]) AS one, holds_keys(ARRAY[['a'], ['a']]) AS twice;
SELECT holds_keys(ARRAY[['a'], ['b']], shared => true) AS both_shared;
COMMIT;
SELECT holds_keys(ARRAY[['a'], ['b']]) AS both, holds_keys(ARRAY['b']) AS b;
SELECT unlock_keys(ARRAY['b']), holds_keys(ARRAY['b']);

-- Asking takes no lock.
BEGIN;
SELECT holds_keys(ARRAY['a']), holds_keys(ARRAY['a'], shared => true);
SELECT * FROM my_locks;
COMMIT;
