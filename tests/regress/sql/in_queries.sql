-- When a query locks and what: which rows, in which process, at which moment.
CREATE TABLE job (id int, done boolean);
INSERT INTO job SELECT n, n <> 3 FROM generate_series(1, 1000) AS n;
ANALYZE job;

-- Cheap conditions come first, wherever they are written: one row is locked, not a thousand.
BEGIN;
SELECT id FROM job WHERE try_lock_keys(ARRAY['job', id::text]) AND NOT done;
SELECT count(*) FROM my_locks;
COMMIT;
-- So does a function of the user with the usual cost.
CREATE FUNCTION wanted(int) RETURNS boolean VOLATILE LANGUAGE plpgsql AS $$BEGIN RETURN $1 = 5; END$$;
BEGIN;
SELECT id FROM job WHERE try_lock_keys(ARRAY['job', id::text]) AND wanted(id);
SELECT count(*) FROM my_locks;
COMMIT;
-- And holds_keys before try_lock_keys.
BEGIN;
SELECT lock_keys('{job,7}');
SELECT id FROM job WHERE try_lock_keys(ARRAY['copy', id::text]) AND holds_keys(ARRAY['job', id::text]);
SELECT count(*) FROM my_locks;
COMMIT;

-- EXPLAIN plans and locks nothing; with ANALYZE the query runs.
BEGIN;
EXPLAIN (COSTS OFF) SELECT try_lock_keys('{a}'), lock_keys('{b}');
EXPLAIN (COSTS OFF) SELECT id FROM job WHERE try_lock_keys('{a}') AND id = 1;
SELECT * FROM my_locks;
DO $$BEGIN EXECUTE 'EXPLAIN ANALYZE SELECT try_lock_keys(''{a}'')'; END$$;
SELECT * FROM my_locks;
COMMIT;

-- It is called once for each row, constant arguments or not.
SELECT count(*) FILTER (WHERE try_lock_keys('{a}', session => true)) FROM generate_series(1, 5);
SELECT count(*) FILTER (WHERE unlock_keys('{a}')) FROM generate_series(1, 5);
SELECT * FROM my_locks;

-- A prepared statement locks what its parameters say, with a plan made for all of them too.
SET plan_cache_mode = force_generic_plan;
PREPARE lock_job(int) AS SELECT try_lock_keys(ARRAY['acct', $1::text]) AND holds_keys(ARRAY['acct', $1::text]) AS locked;
PREPARE key_of(text[]) AS SELECT advisory_key($1);
BEGIN;
EXECUTE lock_job(1);
EXECUTE lock_job(3);
SELECT * FROM my_locks;
COMMIT;
EXECUTE key_of('{order,42}');
EXECUTE key_of('{a,b}');
RESET plan_cache_mode;
DEALLOCATE ALL;

-- In a parallel query keys are computed by the workers and locks are taken by the leader, so that
-- they are held when the workers are gone.
DO $$
DECLARE
    force text := CASE WHEN current_setting('server_version_num')::int >= 160000
        THEN 'debug_parallel_query' ELSE 'force_parallel_mode' END;
BEGIN
    PERFORM set_config(force, 'on', false);
END $$;
SET min_parallel_table_scan_size = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
EXPLAIN (COSTS OFF) SELECT id FROM job WHERE advisory_key(ARRAY['job', id::text]) > 0;
SELECT count(DISTINCT advisory_key(ARRAY['job', id::text])) FROM job;
EXPLAIN (COSTS OFF) SELECT count(*) FILTER (WHERE try_lock_keys(ARRAY['job', id::text])) FROM job WHERE id <= 3;
BEGIN;
SELECT count(*) FILTER (WHERE try_lock_keys(ARRAY['job', id::text])) FROM job WHERE id <= 3;
SELECT count(*) FILTER (WHERE holds_keys(ARRAY['job', id::text])) FROM job;
SELECT try_lock_keys('{a}'), holds_keys('{a}'), keys_available('{a}'), unlock_keys('{b}') FROM lock_keys('{b}', session => true);
SELECT count(*) FROM my_locks;
COMMIT;
RESET ALL;

-- A cursor locks the rows that are fetched ...
BEGIN;
DECLARE rows_of_job CURSOR FOR SELECT id, try_lock_keys(ARRAY['acct', id::text], session => true) FROM job WHERE id <= 3;
FETCH 2 FROM rows_of_job;
SELECT * FROM my_locks;
COMMIT;
SELECT count(*) FILTER (WHERE unlock_keys(ARRAY['acct', n::text])) FROM generate_series(1, 2) AS n;
-- ... and one that is to survive the transaction all rows, when it ends.
BEGIN;
DECLARE rows_of_job CURSOR WITH HOLD FOR SELECT id, try_lock_keys(ARRAY['acct', id::text], session => true) FROM job WHERE id <= 3;
FETCH 1 FROM rows_of_job;
SELECT * FROM my_locks;
COMMIT;
SELECT * FROM my_locks;
CLOSE rows_of_job;
SELECT count(*) FILTER (WHERE unlock_keys(ARRAY['acct', n::text])) FROM generate_series(1, 3) AS n;
-- For that Postgres starts the query again, so the row that had been fetched is locked twice.
SELECT * FROM my_locks;
SELECT unlock_keys(ARRAY['acct', '1']);

DROP TABLE job;
DROP FUNCTION wanted(int);
