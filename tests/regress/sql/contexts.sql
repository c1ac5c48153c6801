-- Where a lock may be taken, and what becomes of it there.

-- read-only transactions
BEGIN READ ONLY;
SELECT try_lock_keys('{a}');
COMMIT;

-- an aborted transaction
BEGIN;
SELECT 1 / 0;
SELECT try_lock_keys('{a}');
ROLLBACK;

-- EXPLAIN takes no lock, EXPLAIN ANALYZE does
BEGIN;
DO $$ BEGIN EXECUTE 'EXPLAIN SELECT try_lock_keys(''{a}'')'; END $$;
SELECT count(*) FROM held;
DO $$ BEGIN EXECUTE 'EXPLAIN ANALYZE SELECT try_lock_keys(''{a}'')'; END $$;
SELECT count(*) FROM held;
COMMIT;

-- index expressions and generated columns refuse what is volatile
CREATE TABLE t (id int);
CREATE INDEX ON t ((try_lock_keys(ARRAY['t', id::text])));
ALTER TABLE t ADD COLUMN locked boolean GENERATED ALWAYS AS (try_lock_keys(ARRAY['t', id::text])) STORED;

-- a CHECK constraint and a trigger lock until the transaction ends
ALTER TABLE t ADD CHECK (try_lock_keys(ARRAY['t', id::text]));
BEGIN;
INSERT INTO t VALUES (1), (2);
SELECT holds_keys('{{t,1},{t,2}}');
COMMIT;
SELECT count(*) FROM held;
DROP TABLE t;

-- row-level security
CREATE TABLE secured (id int);
INSERT INTO secured VALUES (1), (2);
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
CREATE POLICY locked_rows ON secured USING (holds_keys(ARRAY['secured', id::text]));
CREATE ROLE regress_keys_reader;
GRANT SELECT ON secured TO regress_keys_reader;
SET ROLE regress_keys_reader;
BEGIN;
SELECT lock_keys('{secured,2}');
SELECT id FROM secured;
COMMIT;
RESET ROLE;
DROP TABLE secured;
DROP ROLE regress_keys_reader;

-- a cursor WITH HOLD runs to its end at COMMIT and keeps nothing
BEGIN;
DECLARE c CURSOR WITH HOLD FOR SELECT try_lock_keys(ARRAY['c', i::text]) FROM generate_series(1, 5) AS i;
FETCH 1 FROM c;
SELECT count(*) FROM held;
COMMIT;
SELECT count(*) FROM held;
FETCH 1 FROM c;
CLOSE c;

-- COMMIT inside a procedure ends transaction-level locks, not session-level ones
CREATE PROCEDURE commits() LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_keys('{a}');
    PERFORM lock_keys('{b}', session => true);
    COMMIT;
    RAISE NOTICE 'after COMMIT: % %', holds_keys('{a}'), holds_keys('{b}');
END $$;
CALL commits();
SELECT unlock_keys('{b}');
DROP PROCEDURE commits;

-- prepared statements, from custom to generic plans
PREPARE p AS SELECT try_lock_keys($1);
SET plan_cache_mode = force_generic_plan;
BEGIN;
EXECUTE p('{p,1}');
EXECUTE p('{p,2}');
SELECT holds_keys('{{p,1},{p,2}}');
COMMIT;
RESET plan_cache_mode;
DEALLOCATE p;

-- parallel query: keys are computed by workers, locks are taken by the leader and kept
SELECT set_config(name, CASE vartype WHEN 'enum' THEN 'on' ELSE setting END, false) IS NOT NULL AS forced
FROM pg_settings WHERE name IN ('debug_parallel_query', 'force_parallel_mode');
CREATE TABLE p AS SELECT i FROM generate_series(1, 100) AS i;
BEGIN;
SELECT sum(advisory_key(ARRAY['p', i::text])::numeric) = (SELECT sum(key_by_definition(ARRAY['p', i::text])::numeric) FROM p) AS same FROM p;
SELECT count(*) FROM p WHERE try_lock_keys(ARRAY['p', i::text]);
SELECT count(*) FROM held;
COMMIT;
SELECT set_config(name, 'off', false) IS NOT NULL AS reset
FROM pg_settings WHERE name IN ('debug_parallel_query', 'force_parallel_mode');
DROP TABLE p;

-- dropping the extension leaves the locks alone
BEGIN;
SELECT lock_keys('{a}'), lock_keys('{b}', session => true);
SELECT advisory_key('{b}') AS b \gset
DROP EXTENSION advisory_keys;
SELECT count(*) FROM held;
SELECT pg_advisory_unlock(:b);
ROLLBACK;
SELECT count(*) FROM held;
