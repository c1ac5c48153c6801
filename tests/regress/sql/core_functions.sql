-- Core's functions on the key's integer and these by name work on the same locks.

-- Locked by core, released by name; and the other way round.
SELECT pg_advisory_lock(advisory_key(ARRAY['a'])), pg_advisory_lock_shared(advisory_key(ARRAY['b']));
SELECT holds_keys(ARRAY['a']), holds_keys(ARRAY['b']), holds_keys(ARRAY['b'], shared => true);
SELECT unlock_keys(ARRAY['a']), unlock_keys(ARRAY['b'], shared => true);
SELECT lock_keys(ARRAY['a'], session => true), lock_keys(ARRAY['b'], shared => true, session => true);
SELECT pg_advisory_unlock(advisory_key(ARRAY['a'])), pg_advisory_unlock_shared(advisory_key(ARRAY['b']));
SELECT * FROM my_locks;

-- Holds are counted together.
SELECT pg_advisory_lock(advisory_key(ARRAY['a'])), lock_keys(ARRAY['a'], session => true);
SELECT unlock_keys(ARRAY['a']), unlock_keys(ARRAY['a']), holds_keys(ARRAY['a']);
BEGIN;
SELECT pg_advisory_xact_lock(advisory_key(ARRAY['a'])), pg_advisory_xact_lock_shared(advisory_key(ARRAY['b']));
SELECT holds_keys(ARRAY['a']), holds_keys(ARRAY['b'], shared => true);
COMMIT;

-- What ends every session-level lock ends those by name.
SELECT lock_keys(ARRAY[['a'], ['b']], session => true), lock_keys(ARRAY['a'], session => true),
    lock_keys(ARRAY['c'], shared => true, session => true);
BEGIN;
SELECT lock_keys(ARRAY['order', '42']);
SELECT pg_advisory_unlock_all();
SELECT * FROM my_locks;
COMMIT;
SELECT lock_keys(ARRAY['a'], session => true);
DISCARD ALL;
SELECT * FROM my_locks;

-- Two integers are another space, also when they have the bits of a key.
SELECT advisory_key(ARRAY['a']) >> 32 AS high, (advisory_key(ARRAY['a']) & 4294967295)::bit(32)::int AS low \gset
SELECT pg_advisory_lock(:high, :low);
SELECT holds_keys(ARRAY['a']), try_lock_keys(ARRAY['a'], session => true), unlock_keys(ARRAY['a']);
SELECT count(*) AS pair_is_kept FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND pid = pg_backend_pid();
SELECT pg_advisory_unlock(:high, :low);
