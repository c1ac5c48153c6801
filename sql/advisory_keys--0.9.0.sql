\echo Use "CREATE EXTENSION advisory_keys" to load this file. \quit

-- Made from the code by make schema.

DO $$
DECLARE
  lock_timeout CONSTANT pg_catalog.text := pg_catalog.current_setting('lock_timeout');
  home pg_catalog.text;
  owner pg_catalog.oid;
BEGIN
  -- One installation at a time, of both editions: this is advisory_key('{ADVISORY-KEYS,install}').
  BEGIN
    IF lock_timeout OPERATOR(pg_catalog.=) '0' THEN
      PERFORM pg_catalog.set_config('lock_timeout', '10s', true);
    END IF;
    PERFORM pg_catalog.pg_advisory_xact_lock(4804701773947336786);
    PERFORM pg_catalog.set_config('lock_timeout', lock_timeout, true);
  EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'advisory_keys is being installed by another session'
      USING ERRCODE = 'lock_not_available',
            DETAIL = 'The advisory lock 4804701773947336786 could not be had in time.',
            HINT = 'Try again, or look in pg_locks for who holds it.';
  END;

  -- With both editions in one database it would be the search_path that decides which one is called.
  -- That of a role who may install neither here is no reason to refuse, it only has the name.
  SELECT pronamespace::pg_catalog.regnamespace, proowner INTO home, owner FROM pg_catalog.pg_proc
    WHERE proname OPERATOR(pg_catalog.=) '_advisory_keys_lock'
      -- text[], interval, boolean, boolean; as an array it would count from 0, and equal no other.
      AND proargtypes OPERATOR(pg_catalog.=) '1009 1186 16 16'::pg_catalog.oidvector
      AND pg_catalog.has_database_privilege(proowner, pg_catalog.current_database()::pg_catalog.text, 'CREATE')
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_namespace AS space
        WHERE space.oid OPERATOR(pg_catalog.=) pronamespace AND pg_catalog.starts_with(space.nspname::pg_catalog.text, 'pg_temp_'))
    LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'the portable edition of advisory_keys is installed in this database'
      USING ERRCODE = 'object_not_in_prerequisite_state',
            DETAIL = pg_catalog.format('It is in the schema %s, belongs to %I, and has the same functions as the extension.',
              home, pg_catalog.pg_get_userbyid(owner)),
            HINT = 'Drop it first, in the same transaction; the first lines of its file say how.';
  END IF;
END $$;

CREATE PROCEDURE "acquire_keys"(
  "keys" text[],
  "timeout" interval DEFAULT NULL,
  "shared" bool DEFAULT false,
  "session" bool DEFAULT false
)
LANGUAGE c
AS 'MODULE_PATHNAME', 'acquire_keys_wrapper';

CREATE FUNCTION "advisory_key"(
  "key" text[]
) RETURNS bigint
IMMUTABLE PARALLEL SAFE
LANGUAGE c
AS 'MODULE_PATHNAME', 'advisory_key_wrapper';

CREATE FUNCTION "advisory_key_name"(
  "key" bigint
) RETURNS text
VOLATILE PARALLEL RESTRICTED
LANGUAGE c
AS 'MODULE_PATHNAME', 'advisory_key_name_wrapper';

CREATE FUNCTION "advisory_lock_counts"() RETURNS TABLE (
  "first_part" text,
  "locks" bigint,
  "refused" bigint,
  "waits" bigint,
  "wait_time" double precision,
  "max_wait_time" double precision,
  "timeouts" bigint,
  "deadlocks" bigint,
  "cancels" bigint,
  "stats_reset" timestamp with time zone
)
STRICT VOLATILE PARALLEL RESTRICTED
LANGUAGE c
AS 'MODULE_PATHNAME', 'advisory_lock_counts_wrapper';

CREATE FUNCTION "advisory_lock_entries"() RETURNS TABLE (
  "key" bigint,
  "name" text,
  "mode" TEXT,
  "granted" bool,
  "pid" INT,
  "waiting_since" timestamp with time zone,
  "slot_holders" INT[],
  "held_since" timestamp with time zone,
  "level" TEXT
)
STRICT VOLATILE PARALLEL RESTRICTED
LANGUAGE c
AS 'MODULE_PATHNAME', 'advisory_lock_entries_wrapper';

CREATE FUNCTION "advisory_lock_stats_evictions"() RETURNS bigint
STRICT VOLATILE PARALLEL RESTRICTED
LANGUAGE c
AS 'MODULE_PATHNAME', 'advisory_lock_stats_evictions_wrapper';

CREATE FUNCTION "advisory_lock_stats_reset"() RETURNS void
STRICT VOLATILE PARALLEL RESTRICTED
LANGUAGE c
AS 'MODULE_PATHNAME', 'advisory_lock_stats_reset_wrapper';

CREATE FUNCTION "claim_keys"(
  "keys" text[],
  "wanted" INT DEFAULT 1,
  "shared" bool DEFAULT false,
  "session" bool DEFAULT false
) RETURNS integer[]
VOLATILE PARALLEL RESTRICTED COST 10000
LANGUAGE c
AS 'MODULE_PATHNAME', 'claim_keys_wrapper';

CREATE FUNCTION "holds_keys"(
  "keys" text[],
  "shared" bool DEFAULT false
) RETURNS bool
VOLATILE PARALLEL RESTRICTED COST 100
LANGUAGE c
AS 'MODULE_PATHNAME', 'holds_keys_wrapper';

CREATE FUNCTION "keys_available"(
  "keys" text[],
  "shared" bool DEFAULT false
) RETURNS bool
VOLATILE PARALLEL RESTRICTED COST 100
LANGUAGE c
AS 'MODULE_PATHNAME', 'keys_available_wrapper';

CREATE FUNCTION "lock_keys"(
  "keys" text[],
  "timeout" interval DEFAULT NULL,
  "shared" bool DEFAULT false,
  "session" bool DEFAULT false
) RETURNS void
VOLATILE PARALLEL RESTRICTED COST 10000
LANGUAGE c
AS 'MODULE_PATHNAME', 'lock_keys_wrapper';

CREATE FUNCTION "lock_slot"(
  "key" text[],
  "slots" INT,
  "timeout" interval DEFAULT NULL,
  "session" bool DEFAULT false
) RETURNS void
VOLATILE PARALLEL RESTRICTED COST 10000
LANGUAGE c
AS 'MODULE_PATHNAME', 'lock_slot_wrapper';

CREATE FUNCTION "release_keys"(
  "keys" text[],
  "shared" bool DEFAULT false
) RETURNS INT
VOLATILE PARALLEL RESTRICTED COST 10000
LANGUAGE c
AS 'MODULE_PATHNAME', 'release_keys_wrapper';

CREATE FUNCTION "slots_held"(
  "key" text[]
) RETURNS INT
VOLATILE PARALLEL RESTRICTED COST 100
LANGUAGE c
AS 'MODULE_PATHNAME', 'slots_held_wrapper';

CREATE FUNCTION "try_lock_keys"(
  "keys" text[],
  "timeout" interval DEFAULT '0',
  "shared" bool DEFAULT false,
  "session" bool DEFAULT false
) RETURNS bool
VOLATILE PARALLEL RESTRICTED COST 10000
LANGUAGE c
AS 'MODULE_PATHNAME', 'try_lock_keys_wrapper';

CREATE FUNCTION "try_lock_slot"(
  "key" text[],
  "slots" INT,
  "timeout" interval DEFAULT '0',
  "session" bool DEFAULT false
) RETURNS bool
VOLATILE PARALLEL RESTRICTED COST 10000
LANGUAGE c
AS 'MODULE_PATHNAME', 'try_lock_slot_wrapper';

CREATE FUNCTION "unlock_keys"(
  "keys" text[],
  "shared" bool DEFAULT false
) RETURNS bool
VOLATILE PARALLEL RESTRICTED COST 10000
LANGUAGE c
AS 'MODULE_PATHNAME', 'unlock_keys_wrapper';

CREATE FUNCTION "unlock_slot"(
  "key" text[]
) RETURNS bool
VOLATILE PARALLEL RESTRICTED COST 10000
LANGUAGE c
AS 'MODULE_PATHNAME', 'unlock_slot_wrapper';

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


COMMENT ON FUNCTION advisory_key(text[]) IS
'advisory lock key (bigint) of one name: the first 8 bytes of the SHA-256 of its parts in UTF-8, joined with ''-''';

COMMENT ON FUNCTION try_lock_keys(text[], interval, boolean, boolean) IS
'lock one name (one dimension) or several (one in each row), all or none; false when they could not be had within the timeout (default: without waiting). At transaction level unless session => true';

COMMENT ON FUNCTION lock_keys(text[], interval, boolean, boolean) IS
'lock one name (one dimension) or several (one in each row), all or none; error 55P03 when they could not be had within the timeout (default: wait without limit of its own). At transaction level unless session => true';

COMMENT ON PROCEDURE acquire_keys(text[], interval, boolean, boolean) IS
'lock as lock_keys does; called by the client, or where a procedure could COMMIT, wait without a snapshot, so that VACUUM and CREATE INDEX CONCURRENTLY do not wait for the waiter';

COMMENT ON FUNCTION claim_keys(text[], integer, boolean, boolean) IS
'lock the first names that are free, one in each row, as many as are wanted and without waiting; the numbers of their rows, from 1. Skips what this session holds. At transaction level unless session => true';

COMMENT ON FUNCTION unlock_keys(text[], boolean) IS
'release one session-level hold of each name; false, with a warning for each, when some were not held so';

COMMENT ON FUNCTION release_keys(text[], boolean) IS
'release every session-level hold of each name, however often it was locked; how many there were';

COMMENT ON FUNCTION holds_keys(text[], boolean) IS
'does this session hold all of the names (shared => true: at least shared), at transaction or session level';

COMMENT ON FUNCTION keys_available(text[], boolean) IS
'does no other session hold a conflicting lock on any of the names at this moment; locks nothing';

COMMENT ON FUNCTION try_lock_slot(text[], integer, interval, boolean) IS
'hold one name together with others, so many sessions at most; false when that could not be had within the timeout (default: without waiting). A shared lock on the name, at transaction level unless session => true';

COMMENT ON FUNCTION lock_slot(text[], integer, interval, boolean) IS
'hold one name together with others, so many sessions at most; error 55P03 when that could not be had within the timeout (default: wait without limit of its own). A shared lock on the name, at transaction level unless session => true';

COMMENT ON FUNCTION unlock_slot(text[]) IS
'release one session-level hold of a slot of a name, as unlock_keys does with shared => true; false, with a warning, when there is none';

COMMENT ON FUNCTION slots_held(text[]) IS
'how many sessions hold a slot of a name, or a shared lock on it, at this moment; locks nothing';

COMMENT ON FUNCTION advisory_lock_entries() IS
'holders and waiters of bigint advisory locks in this database; to be read through the view advisory_locks';

COMMENT ON FUNCTION advisory_key_name(bigint) IS
'the name behind the key of an advisory lock, for who has the privileges of a role that recorded it; else NULL, and when it is not known';

COMMENT ON FUNCTION advisory_lock_counts() IS
'statistics of the locks that were taken by name in this database; to be read through the view advisory_lock_stats';

COMMENT ON FUNCTION advisory_lock_stats_reset() IS
'begin advisory_lock_stats of this database anew';

COMMENT ON FUNCTION advisory_lock_stats_evictions() IS
'how many rows of advisory_lock_stats, of all databases, were removed since the server started because others needed the room; NULL where there are no statistics, and for who may not see them';

COMMENT ON VIEW advisory_locks IS
'who holds and who waits for the bigint advisory locks of this database, whoever took them, with the names of keys that were locked by name';

COMMENT ON COLUMN advisory_locks.key IS 'the integer, as advisory_key() computes it';
COMMENT ON COLUMN advisory_locks.name IS 'the parts joined with ''-'', cut if long; NULL when not recorded, or not for this user to see';
COMMENT ON COLUMN advisory_locks.mode IS 'exclusive or shared';
COMMENT ON COLUMN advisory_locks.granted IS 'true for a holder, false for a waiter';
COMMENT ON COLUMN advisory_locks.pid IS 'the process; NULL for a prepared transaction';
COMMENT ON COLUMN advisory_locks.waiting_since IS 'when the waiter began to wait';
COMMENT ON COLUMN advisory_locks.blocked_by IS 'of a waiter: the processes that it waits for, 0 for a prepared transaction; for a slot: all that hold one';
COMMENT ON COLUMN advisory_locks.usename IS 'whose session it is, as in pg_stat_activity';
COMMENT ON COLUMN advisory_locks.application_name IS 'what its client calls itself, as in pg_stat_activity';
COMMENT ON COLUMN advisory_locks.client_addr IS 'where its client is, as in pg_stat_activity; NULL on a Unix socket, and when not for this user to see';
COMMENT ON COLUMN advisory_locks.state IS 'what it is doing, as in pg_stat_activity; NULL when not for this user to see';
COMMENT ON COLUMN advisory_locks.xact_start IS 'when its transaction began, as in pg_stat_activity; NULL without one, and when not for this user to see';
COMMENT ON COLUMN advisory_locks.query IS 'its current or last statement, as in pg_stat_activity';
COMMENT ON COLUMN advisory_locks.held_since IS 'since when a holder has held it by name; NULL when not known, or not for this user to see';
COMMENT ON COLUMN advisory_locks.level IS 'of a holder by name: transaction, session or both; NULL as held_since';

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
