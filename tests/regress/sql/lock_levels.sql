-- A lock is held as long as its level says, in the mode that was asked for, and pg_locks shows it
-- as a lock that core's functions take on the same integer.

-- Transaction level is the default: gone with the transaction, one way or the other.
BEGIN;
SELECT try_lock_keys(ARRAY['a']), try_lock_keys(ARRAY['b'], shared => true);
SELECT lock_keys(ARRAY['c']);
SELECT lock_keys(ARRAY['order', '42'], shared => true);
SELECT * FROM my_locks;
COMMIT;
SELECT * FROM my_locks;
BEGIN;
SELECT lock_keys(ARRAY['a']);
ROLLBACK;
SELECT * FROM my_locks;
-- Outside of a transaction block that is the end of the statement.
SELECT try_lock_keys(ARRAY['a']), try_lock_keys(ARRAY['a']) AS again;
SELECT * FROM my_locks;

-- Session level: stays until it is released, whatever becomes of the transaction.
BEGIN;
SELECT try_lock_keys(ARRAY['a'], session => true), try_lock_keys(ARRAY['b'], shared => true, session => true);
SELECT lock_keys(ARRAY['c'], session => true);
SELECT lock_keys(ARRAY['order', '42'], shared => true, session => true);
ROLLBACK;
SELECT * FROM my_locks;
SELECT unlock_keys(ARRAY['a']), unlock_keys(ARRAY['b'], shared => true),
    unlock_keys(ARRAY['c']), unlock_keys(ARRAY['order', '42'], shared => true);
SELECT * FROM my_locks;

-- An uncontended lock is granted at once whatever the timeout is.
BEGIN;
SELECT try_lock_keys(ARRAY['a'], timeout => NULL), try_lock_keys(ARRAY['b'], timeout => '1 us'),
    try_lock_keys(ARRAY['c'], timeout => '178000000 years');
SELECT lock_keys(ARRAY['a', 'b'], timeout => '0');
SELECT * FROM my_locks;
COMMIT;

-- Both modes can be held at once; neither stands in the way of the other in one session.
BEGIN;
SELECT try_lock_keys(ARRAY['a'], shared => true) AS shared, try_lock_keys(ARRAY['a']) AS exclusive,
    try_lock_keys(ARRAY['a'], shared => true) AS shared_again;
SELECT * FROM my_locks;
COMMIT;
