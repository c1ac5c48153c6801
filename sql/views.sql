CREATE VIEW advisory_locks AS
SELECT l.key, l.name, l.mode, l.granted, l.pid, l.waiting_since,
       CASE WHEN NOT l.granted THEN COALESCE(l.slot_holders, pg_catalog.pg_blocking_pids(l.pid)) END AS blocked_by,
       a.usename, a.application_name, a.client_addr, a.state, a.xact_start, a.query, l.held_since, l.level
  FROM advisory_lock_entries() AS l
  LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid OPERATOR(pg_catalog.=) l.pid;

GRANT SELECT ON advisory_locks TO PUBLIC;

CREATE VIEW advisory_lock_stats AS
SELECT first_part, locks, refused, waits, wait_time, max_wait_time, timeouts, deadlocks, cancels, stats_reset
  FROM advisory_lock_counts();

GRANT SELECT ON advisory_lock_stats TO PUBLIC;

REVOKE EXECUTE ON FUNCTION advisory_lock_stats_reset() FROM PUBLIC;
