-- unlock_keys says what it did not release, and why, with a warning for each key.

-- Not held at all.
SELECT unlock_keys(ARRAY['order', '42']);
SELECT unlock_keys(ARRAY['order', '42'], shared => true);

-- Held in the other mode.
SELECT lock_keys(ARRAY['a'], session => true), lock_keys(ARRAY['b'], shared => true, session => true);
SELECT unlock_keys(ARRAY['a'], shared => true);
SELECT unlock_keys(ARRAY['b']);
SELECT * FROM my_locks;

-- Some of several: what is held is released, the answer is false.
SELECT unlock_keys(ARRAY[['a'], ['order']]);
SELECT * FROM my_locks;
SELECT unlock_keys(ARRAY[['b'], ['order']], shared => true);
SELECT * FROM my_locks;
-- One warning for a key that is named twice.
SELECT unlock_keys(ARRAY[['order'], ['order']]);

-- All of several.
SELECT lock_keys(ARRAY[['a'], ['b']], session => true);
SELECT unlock_keys(ARRAY[['b'], ['a']]);
SELECT * FROM my_locks;

-- Held by the transaction: that is released by its end alone.
BEGIN;
SELECT lock_keys(ARRAY['a']);
SELECT unlock_keys(ARRAY['a']);
SELECT unlock_keys(ARRAY['a'], shared => true);
SELECT holds_keys(ARRAY['a']);
COMMIT;

-- The release counts at once, and is not undone.
SELECT lock_keys(ARRAY['a'], session => true);
BEGIN;
SELECT unlock_keys(ARRAY['a']);
ROLLBACK;
SELECT * FROM my_locks;

-- Text of keys can be kept out of the warnings.
SET advisory_keys.show_keys = off;
SELECT unlock_keys(ARRAY['order', '42']);
BEGIN;
SELECT lock_keys(ARRAY['order', '42']);
SELECT unlock_keys(ARRAY['order', '42']);
COMMIT;
