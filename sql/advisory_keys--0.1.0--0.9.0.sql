\echo Use "ALTER EXTENSION advisory_keys UPDATE TO '0.9.0'" to load this file. \quit

CREATE FUNCTION release_keys(keys text[], shared bool DEFAULT false) RETURNS int
VOLATILE PARALLEL RESTRICTED COST 10000
LANGUAGE c
AS 'MODULE_PATHNAME', 'release_keys_wrapper';

COMMENT ON FUNCTION release_keys(text[], boolean) IS
'release every session-level hold of each name, however often it was locked; how many there were';

CREATE FUNCTION claim_keys(keys text[], wanted int DEFAULT 1, shared bool DEFAULT false, session bool DEFAULT false) RETURNS integer[]
VOLATILE PARALLEL RESTRICTED COST 10000
LANGUAGE c
AS 'MODULE_PATHNAME', 'claim_keys_wrapper';

COMMENT ON FUNCTION claim_keys(text[], integer, boolean, boolean) IS
'lock the first names that are free, one in each row, as many as are wanted and without waiting; the numbers of their rows, from 1. Skips what this session holds. At transaction level unless session => true';

CREATE FUNCTION advisory_key_name(key bigint) RETURNS text
VOLATILE PARALLEL RESTRICTED
LANGUAGE c
AS 'MODULE_PATHNAME', 'advisory_key_name_wrapper';

COMMENT ON FUNCTION advisory_key_name(bigint) IS
'the name behind the key of an advisory lock, for who has the privileges of a role that recorded it; else NULL, and when it is not known';

CREATE PROCEDURE acquire_keys(keys text[], timeout interval DEFAULT NULL, shared bool DEFAULT false, session bool DEFAULT false)
LANGUAGE c
AS 'MODULE_PATHNAME', 'acquire_keys_wrapper';

COMMENT ON PROCEDURE acquire_keys(text[], interval, boolean, boolean) IS
'lock as lock_keys does; called by the client, or where a procedure could COMMIT, wait without a snapshot, so that VACUUM and CREATE INDEX CONCURRENTLY do not wait for the waiter';

CREATE FUNCTION try_lock_slot(key text[], slots int, timeout interval DEFAULT '0', session bool DEFAULT false) RETURNS bool
VOLATILE PARALLEL RESTRICTED COST 10000
LANGUAGE c
AS 'MODULE_PATHNAME', 'try_lock_slot_wrapper';

CREATE FUNCTION lock_slot(key text[], slots int, timeout interval DEFAULT NULL, session bool DEFAULT false) RETURNS void
VOLATILE PARALLEL RESTRICTED COST 10000
LANGUAGE c
AS 'MODULE_PATHNAME', 'lock_slot_wrapper';

CREATE FUNCTION unlock_slot(key text[]) RETURNS bool
VOLATILE PARALLEL RESTRICTED COST 10000
LANGUAGE c
AS 'MODULE_PATHNAME', 'unlock_slot_wrapper';

CREATE FUNCTION slots_held(key text[]) RETURNS int
VOLATILE PARALLEL RESTRICTED COST 100
LANGUAGE c
AS 'MODULE_PATHNAME', 'slots_held_wrapper';

COMMENT ON FUNCTION try_lock_slot(text[], integer, interval, boolean) IS
'hold one name together with others, so many sessions at most; false when that could not be had within the timeout (default: without waiting). A shared lock on the name, at transaction level unless session => true';

COMMENT ON FUNCTION lock_slot(text[], integer, interval, boolean) IS
'hold one name together with others, so many sessions at most; error 55P03 when that could not be had within the timeout (default: wait without limit of its own). A shared lock on the name, at transaction level unless session => true';

COMMENT ON FUNCTION unlock_slot(text[]) IS
'release one session-level hold of a slot of a name, as unlock_keys does with shared => true; false, with a warning, when there is none';

COMMENT ON FUNCTION slots_held(text[]) IS
'how many sessions hold a slot of a name, or a shared lock on it, at this moment; locks nothing';

CREATE FUNCTION advisory_lock_entries() RETURNS TABLE (
  key bigint, name text, mode text, granted bool, pid int, waiting_since timestamp with time zone, slot_holders int[],
  held_since timestamp with time zone, level text
)
STRICT VOLATILE PARALLEL RESTRICTED
LANGUAGE c
AS 'MODULE_PATHNAME', 'advisory_lock_entries_wrapper';

COMMENT ON FUNCTION advisory_lock_entries() IS
'holders and waiters of bigint advisory locks in this database; to be read through the view advisory_locks';

CREATE OR REPLACE VIEW advisory_locks AS
SELECT l.key, l.name, l.mode, l.granted, l.pid, l.waiting_since,
       CASE WHEN NOT l.granted THEN COALESCE(l.slot_holders, pg_catalog.pg_blocking_pids(l.pid)) END AS blocked_by,
       a.usename, a.application_name, a.client_addr, a.state, a.xact_start, a.query, l.held_since, l.level
  FROM advisory_lock_entries() AS l
  LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid OPERATOR(pg_catalog.=) l.pid;

COMMENT ON COLUMN advisory_locks.blocked_by IS 'of a waiter: the processes that it waits for, 0 for a prepared transaction; for a slot: all that hold one';
COMMENT ON COLUMN advisory_locks.usename IS 'whose session it is, as in pg_stat_activity';
COMMENT ON COLUMN advisory_locks.application_name IS 'what its client calls itself, as in pg_stat_activity';
COMMENT ON COLUMN advisory_locks.client_addr IS 'where its client is, as in pg_stat_activity; NULL on a Unix socket, and when not for this user to see';
COMMENT ON COLUMN advisory_locks.state IS 'what it is doing, as in pg_stat_activity; NULL when not for this user to see';
COMMENT ON COLUMN advisory_locks.xact_start IS 'when its transaction began, as in pg_stat_activity; NULL without one, and when not for this user to see';
COMMENT ON COLUMN advisory_locks.query IS 'its current or last statement, as in pg_stat_activity';
COMMENT ON COLUMN advisory_locks.held_since IS 'since when a holder has held it by name; NULL when not known, or not for this user to see';
COMMENT ON COLUMN advisory_locks.level IS 'of a holder by name: transaction, session or both; NULL as held_since';

DROP FUNCTION advisory_lock_status();

CREATE FUNCTION advisory_lock_counts() RETURNS TABLE (
  first_part text, locks bigint, refused bigint, waits bigint, wait_time double precision, max_wait_time double precision,
  timeouts bigint, deadlocks bigint, cancels bigint, stats_reset timestamp with time zone
)
STRICT VOLATILE PARALLEL RESTRICTED
LANGUAGE c
AS 'MODULE_PATHNAME', 'advisory_lock_counts_wrapper';

CREATE FUNCTION advisory_lock_stats_reset() RETURNS void
STRICT VOLATILE PARALLEL RESTRICTED
LANGUAGE c
AS 'MODULE_PATHNAME', 'advisory_lock_stats_reset_wrapper';

CREATE FUNCTION advisory_lock_stats_evictions() RETURNS bigint
STRICT VOLATILE PARALLEL RESTRICTED
LANGUAGE c
AS 'MODULE_PATHNAME', 'advisory_lock_stats_evictions_wrapper';

CREATE VIEW advisory_lock_stats AS
SELECT first_part, locks, refused, waits, wait_time, max_wait_time, timeouts, deadlocks, cancels, stats_reset
  FROM advisory_lock_counts();

GRANT SELECT ON advisory_lock_stats TO PUBLIC;

REVOKE EXECUTE ON FUNCTION advisory_lock_stats_reset() FROM PUBLIC;

COMMENT ON FUNCTION advisory_lock_counts() IS
'statistics of the locks that were taken by name in this database; to be read through the view advisory_lock_stats';

COMMENT ON FUNCTION advisory_lock_stats_reset() IS
'begin advisory_lock_stats of this database anew';

COMMENT ON FUNCTION advisory_lock_stats_evictions() IS
'how many rows of advisory_lock_stats, of all databases, were removed since the server started because others needed the room; NULL where there are no statistics, and for who may not see them';

COMMENT ON VIEW advisory_lock_stats IS
'how often and how long the names of this database were locked and waited for: one row for each first part of a name';

COMMENT ON COLUMN advisory_lock_stats.first_part IS 'the first part of the names, cut if long; NULL with advisory_keys.show_keys = off';
COMMENT ON COLUMN advisory_lock_stats.locks IS 'how many locks were granted, at once or after a wait, also of names that the session held already';
COMMENT ON COLUMN advisory_lock_stats.refused IS 'how many calls without timeout were refused';
COMMENT ON COLUMN advisory_lock_stats.waits IS 'how many waits began';
COMMENT ON COLUMN advisory_lock_stats.wait_time IS 'how long the waits were that have ended, all together, in milliseconds';
COMMENT ON COLUMN advisory_lock_stats.max_wait_time IS 'the longest of them, in milliseconds';
COMMENT ON COLUMN advisory_lock_stats.timeouts IS 'waits that ended by their timeout, or by lock_timeout';
COMMENT ON COLUMN advisory_lock_stats.deadlocks IS 'waits that ended by a deadlock';
COMMENT ON COLUMN advisory_lock_stats.cancels IS 'waits that ended by a cancel, or by statement_timeout';
COMMENT ON COLUMN advisory_lock_stats.stats_reset IS 'since when the row counts: the first use after the start of the server, a reset, or having made room';
