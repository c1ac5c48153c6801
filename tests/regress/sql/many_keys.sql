-- Two dimensions are several keys, one in each row.

BEGIN;
SELECT try_lock_keys(ARRAY[['acct', '1'], ['acct', '2']]);
SELECT * FROM my_locks;
COMMIT;
BEGIN;
SELECT lock_keys(ARRAY[['a'], ['b'], ['c']], shared => true);
SELECT * FROM my_locks;
COMMIT;

-- One row is one key, and so is one dimension; one column does not make a list of parts a list of keys.
BEGIN;
SELECT lock_keys(ARRAY[['acct', '1']]);
SELECT lock_keys(ARRAY['a', 'b']);
SELECT * FROM my_locks;
COMMIT;

-- As a literal and with other lower bounds.
BEGIN;
SELECT lock_keys('{{acct,1},{acct,2}}');
SELECT lock_keys('[-1:0][7:7]={{a},{b}}');
SELECT * FROM my_locks;
COMMIT;
-- From rows of a table.
BEGIN;
SELECT lock_keys(array_agg(ARRAY['acct', n::text])) FROM generate_series(1, 3) AS n;
SELECT * FROM my_locks;
COMMIT;

-- A key that is named twice is locked once: one release frees it. Rows that join to one name are one key.
SELECT lock_keys(ARRAY[['a'], ['b'], ['a'], ['a']], session => true);
SELECT * FROM my_locks;
SELECT unlock_keys(ARRAY['a']), holds_keys(ARRAY['a']), unlock_keys(ARRAY['b']), holds_keys(ARRAY['b']);
SELECT lock_keys(ARRAY[['a-b', 'c'], ['a', 'b-c']], session => true);
SELECT count(*) FROM my_locks;
SELECT unlock_keys(ARRAY['a', 'b', 'c']), holds_keys(ARRAY['a', 'b', 'c']);

-- A call counts once on top of holds from before, and unlocking them mirrors that.
SELECT lock_keys(ARRAY['a'], session => true);
SELECT lock_keys(ARRAY[['a'], ['b']], session => true);
SELECT unlock_keys(ARRAY[['a'], ['b'], ['a']]);
SELECT * FROM my_locks;
SELECT unlock_keys(ARRAY['a']);

-- Many: more than fit on a stack, in descending order too.
BEGIN;
SELECT lock_keys(array_agg(ARRAY['item', n::text] ORDER BY n DESC)) FROM generate_series(1, 1000) AS n;
SELECT count(*), count(DISTINCT name) FROM my_locks;
SELECT holds_keys(array_agg(ARRAY['item', n::text])) AS all_of_them FROM generate_series(1, 1000) AS n;
COMMIT;

-- A mistake in one row and none is locked.
SELECT lock_keys(ARRAY[['a'], [NULL]], session => true);
SELECT * FROM my_locks;
