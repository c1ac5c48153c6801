-- The statistics, in one session: what they look like, and who may reset them. What they count is the matter of other
-- tests: whether there are any depends on the server's configuration, and so does the warning of a reset.
SELECT column_name, data_type FROM information_schema.columns
WHERE table_name = 'advisory_lock_stats' ORDER BY ordinal_position;

SET client_min_messages = error;
SELECT advisory_lock_stats_reset();
RESET client_min_messages;
SELECT count(*) FROM advisory_lock_stats;
SELECT try_lock_keys(ARRAY['order', '42']), lock_slot(ARRAY['customer', '7'], 3), claim_keys(ARRAY[['job', '1'], ['job', '2']]);
SELECT first_part, locks, refused, waits, wait_time, max_wait_time, timeouts, deadlocks, cancels, stats_reset <= now()
FROM advisory_lock_stats
WHERE (first_part, locks) NOT IN (('order', 1), ('customer', 1), ('job', 1))
   OR refused + waits + wait_time + max_wait_time + timeouts + deadlocks + cancels > 0;

-- Whoever may not see statistics sees no rows, and resets none.
CREATE ROLE regress_ak_user;
SET ROLE regress_ak_user;
SELECT count(*) FROM advisory_lock_stats;
SELECT advisory_lock_stats_reset();
RESET ROLE;
GRANT EXECUTE ON FUNCTION advisory_lock_stats_reset() TO regress_ak_user;
SET ROLE regress_ak_user;
SET client_min_messages = error;
SELECT advisory_lock_stats_reset();
RESET client_min_messages;
RESET ROLE;
SELECT count(*) FROM advisory_lock_stats;
DROP OWNED BY regress_ak_user;
DROP ROLE regress_ak_user;

-- Switched off, nothing is counted; only superusers may do that.
SET advisory_keys.track_stats = off;
SELECT try_lock_keys(ARRAY['order', '42']);
SELECT count(*) FROM advisory_lock_stats;
RESET advisory_keys.track_stats;
