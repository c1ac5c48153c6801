-- advisory_keys 0.1.0, portable edition: lock by name in plain SQL and PL/pgSQL, for servers on which
-- extensions in native code cannot be installed. Postgres 15 and later.
--
-- Install, or upgrade, into the first schema of the search_path:
--   psql -v ON_ERROR_STOP=1 -f portable.sql
--   PGOPTIONS='-c search_path=locks' psql -v ON_ERROR_STOP=1 -f portable.sql
--
-- Uninstall, with that search_path:
--   DROP VIEW advisory_locks;
--   DROP FUNCTION advisory_key, try_lock_keys, lock_keys, unlock_keys, holds_keys, keys_available,
--     _advisory_keys_key, _advisory_keys_of, _advisory_keys_mode, _advisory_keys_level, _advisory_keys_lock,
--     _advisory_keys_held, _advisory_keys_name, _advisory_keys_holders, _advisory_keys_milliseconds;
--
-- The functions are those of the extension advisory_keys, with the same keys, results and errors; where
-- they differ is said in docs/portable.md. Functions whose names begin with _ are not for calling.

BEGIN;

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=) 'advisory_keys') THEN
    RAISE EXCEPTION 'the extension advisory_keys is installed in this database'
      USING ERRCODE = 'object_not_in_prerequisite_state',
            DETAIL = 'It has the same functions as the portable edition.',
            HINT = 'Use the extension, or drop it first.';
  END IF;
  IF pg_catalog.current_schema() IS NULL THEN
    RAISE EXCEPTION 'no schema has been selected to install into'
      USING ERRCODE = 'invalid_schema_name',
            DETAIL = pg_catalog.format('The search_path is %s.', pg_catalog.current_setting('search_path')),
            HINT = 'Create the first schema of the search_path, or set another search_path.';
  END IF;
END $$;

-- What the functions call of each other is found in the schema that they are installed in: those for
-- calling keep this search_path, whatever that of the caller is, and the others are called under it.
SELECT pg_catalog.set_config('search_path', pg_catalog.quote_ident(pg_catalog.current_schema()) OPERATOR(pg_catalog.||) ', pg_temp', true);

-- The key of any name, and the error for what is none. It calls nothing of ours, so it needs no search_path
-- of its own, which would cost more than the key.
CREATE OR REPLACE FUNCTION _advisory_keys_key(key text[]) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 100 AS $$
DECLARE
  dimensions int;
  place int;
BEGIN
  IF pg_catalog.array_ndims(key) OPERATOR(pg_catalog.=) 1 AND pg_catalog.array_position(key, NULL) IS NULL THEN
    RETURN ('x' OPERATOR(pg_catalog.||) pg_catalog.encode(pg_catalog.substr(pg_catalog.sha256(
      pg_catalog.convert_to(pg_catalog.array_to_string(key, '-'), 'UTF8')), 1, 8), 'hex'))::pg_catalog.bit(64)::pg_catalog.int8;
  END IF;

  IF key IS NULL THEN
    RAISE EXCEPTION 'argument "key" must not be null' USING ERRCODE = 'null_value_not_allowed';
  END IF;
  dimensions := coalesce(pg_catalog.array_ndims(key), 0);
  IF dimensions OPERATOR(pg_catalog.=) 0 THEN
    RAISE EXCEPTION 'a key needs at least one part' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = 'The array is empty.', HINT = 'Pass the parts of the key, for example ARRAY[''order'', ''42''].';
  ELSIF dimensions OPERATOR(pg_catalog.>) 2 THEN
    RAISE EXCEPTION 'an array of keys must have one or two dimensions' USING ERRCODE = '2202E',
      DETAIL = pg_catalog.format('The array has %s dimensions.', dimensions),
      HINT = 'One dimension is one key, its elements the parts; two dimensions are several keys, one in each row.';
  END IF;
  SELECT n INTO place FROM pg_catalog.unnest(key) WITH ORDINALITY AS parts (part, n)
    WHERE part IS NULL ORDER BY n LIMIT 1;
  IF FOUND THEN
    dimensions := pg_catalog.array_length(key, dimensions);
    RAISE EXCEPTION 'a part of a key must not be null' USING ERRCODE = 'null_value_not_allowed',
      DETAIL = pg_catalog.format('Part %s of key %s is null.',
        (place OPERATOR(pg_catalog.-) 1) OPERATOR(pg_catalog.%) dimensions OPERATOR(pg_catalog.+) 1,
        (place OPERATOR(pg_catalog.-) 1) OPERATOR(pg_catalog./) dimensions OPERATOR(pg_catalog.+) 1),
      HINT = 'Use coalesce(), or leave the part out.';
  END IF;
  RAISE EXCEPTION 'advisory_key takes one key' USING ERRCODE = '2202E',
    DETAIL = 'The array has 2 dimensions, which is several keys.',
    HINT = 'Pass the parts of one key as a one-dimensional array.';
END $$;

-- The key as one expression for names of up to three parts, so that it can be put in place of the call where
-- that is part of a larger statement; for all else it is NULL, and _advisory_keys_key has the answer. For that,
-- everything in it has to be immutable, which convert_to and array_to_string are not declared to be: in a UTF-8
-- database the cast of a text to bytea, with its backslashes doubled, gives the same bytes. A definition that
-- pg_dump carries over to a database in another encoding notices that by the bytes of chr(233).
DO $$
BEGIN
  IF pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.=) 'UTF8' THEN
    CREATE OR REPLACE FUNCTION advisory_key(key text[]) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 100
    RETURN coalesce(
      CASE WHEN pg_catalog.chr(233)::pg_catalog.bytea OPERATOR(pg_catalog.=) E'\\xc3a9' THEN
        ('x' OPERATOR(pg_catalog.||) pg_catalog.encode(pg_catalog.substr(pg_catalog.sha256(pg_catalog.replace(
          CASE pg_catalog.cardinality(key)
            WHEN 1 THEN key[1]
            WHEN 2 THEN key[1] OPERATOR(pg_catalog.||) '-' OPERATOR(pg_catalog.||) key[2]
            WHEN 3 THEN key[1] OPERATOR(pg_catalog.||) '-' OPERATOR(pg_catalog.||) key[2]
              OPERATOR(pg_catalog.||) '-' OPERATOR(pg_catalog.||) key[3]
          END COLLATE pg_catalog."C", E'\\', E'\\\\')::pg_catalog.bytea), 1, 8), 'hex'))::pg_catalog.bit(64)::pg_catalog.int8
      END,
      _advisory_keys_key(key));
  ELSE
    CREATE OR REPLACE FUNCTION advisory_key(key text[]) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 100
    RETURN _advisory_keys_key(key);
  END IF;
END $$;

-- The keys of all rows, in ascending order, each once.
CREATE OR REPLACE FUNCTION _advisory_keys_of(keys text[]) RETURNS bigint[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  name text[];
  result bigint[];
BEGIN
  IF keys IS NULL THEN
    RAISE EXCEPTION 'argument "keys" must not be null' USING ERRCODE = 'null_value_not_allowed';
  END IF;
  IF array_ndims(keys) IS DISTINCT FROM 2 OR EXISTS (SELECT FROM unnest(keys) AS part WHERE part IS NULL) THEN
    RETURN ARRAY[_advisory_keys_key(keys)];
  END IF;
  FOREACH name SLICE 1 IN ARRAY keys LOOP
    result := result || _advisory_keys_key(name);
  END LOOP;
  RETURN (SELECT array_agg(DISTINCT k ORDER BY k) FROM unnest(result) AS k);
END $$;

-- Checks the argument "shared", and gives the lock mode as pg_locks has it.
CREATE OR REPLACE FUNCTION _advisory_keys_mode(shared boolean) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  IF shared IS NULL THEN
    RAISE EXCEPTION 'argument "shared" must not be null' USING ERRCODE = 'null_value_not_allowed';
  END IF;
  RETURN CASE WHEN shared THEN 'ShareLock' ELSE 'ExclusiveLock' END;
END $$;

-- Checks the argument "session" and the setting advisory_keys.session_locks.
CREATE OR REPLACE FUNCTION _advisory_keys_level(session boolean) RETURNS void
LANGUAGE plpgsql STABLE AS $$
DECLARE
  setting text;
BEGIN
  IF session IS NULL THEN
    RAISE EXCEPTION 'argument "session" must not be null' USING ERRCODE = 'null_value_not_allowed';
  ELSIF session THEN
    setting := coalesce(nullif(current_setting('advisory_keys.session_locks', true), ''), 'on');
    CASE lower(setting)
      WHEN 'on' THEN
      WHEN 'off' THEN
        RAISE EXCEPTION 'session-level locks are switched off' USING ERRCODE = 'object_not_in_prerequisite_state',
          DETAIL = '"advisory_keys.session_locks" is "off".',
          HINT = 'Lock at transaction level; behind a transaction pooler a session-level lock stays with a connection that other clients use.';
      WHEN 'warn' THEN
        RAISE WARNING 'session-level lock taken by name' USING DETAIL = '"advisory_keys.session_locks" is "warn".',
          HINT = 'Lock at transaction level if this role connects through a transaction pooler.';
      ELSE
        RAISE EXCEPTION 'invalid value for parameter "advisory_keys.session_locks": "%"', setting
          USING ERRCODE = 'invalid_parameter_value', HINT = 'Available values: on, warn, off.';
    END CASE;
  END IF;
END $$;

-- Does this session hold the lock in exactly this mode, at whatever level? Its own locks are all of this
-- database, so there is no need to look that up, which would take a lock itself.
CREATE OR REPLACE FUNCTION _advisory_keys_held(key bigint, lock_mode text) RETURNS boolean
LANGUAGE sql VOLATILE AS $$
  SELECT EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND pid = pg_backend_pid() AND granted AND mode = lock_mode
      AND (classid::bigint << 32) | objid::bigint = key)
$$;

-- How a key is shown: "order-42" (4321398832972926703), or the integer alone.
CREATE OR REPLACE FUNCTION _advisory_keys_name(keys text[], key bigint) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
  parts text[];
  name text;
  shown text;
BEGIN
  -- A value that is not known hides them too.
  IF lower(coalesce(nullif(current_setting('advisory_keys.show_keys', true), ''), 'on'))
    NOT IN ('on', 'true', 't', 'yes', 'y', '1')
  THEN
    RETURN key::text;
  END IF;
  IF array_ndims(keys) = 1 THEN
    name := array_to_string(keys, '-');
  ELSE
    FOREACH parts SLICE 1 IN ARRAY keys LOOP
      name := array_to_string(parts, '-');
      EXIT WHEN _advisory_keys_key(parts) = key;
    END LOOP;
  END IF;
  shown := left(name, 200);
  -- A SQL_ASCII server takes every byte for a character; names there are UTF-8 all the same, whose
  -- characters go on with bytes from 128 to 191.
  WHILE octet_length(shown) > 200 OR getdatabaseencoding() = 'SQL_ASCII' AND shown <> name
    AND get_byte(convert_to(name, 'SQL_ASCII'), octet_length(shown)) BETWEEN 128 AND 191
  LOOP
    shown := left(shown, -1);
  END LOOP;
  IF shown <> name THEN
    shown := shown || '...';
  END IF;
  RETURN format('"%s" (%s)', shown, key);
END $$;

-- Who holds a lock in a mode that excludes this one, in words.
CREATE OR REPLACE FUNCTION _advisory_keys_holders(key bigint, lock_mode text) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
  pids int[];
  names text[];
BEGIN
  SELECT array_agg(coalesce(pid, 0)) INTO pids FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND pid IS DISTINCT FROM pg_backend_pid() AND granted
      AND mode IN ('ExclusiveLock', CASE WHEN lock_mode = 'ExclusiveLock' THEN 'ShareLock' END)
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (classid::bigint << 32) | objid::bigint = key;
  IF pids IS NULL THEN
    RETURN ' is free now or others wait for it before this session.';
  END IF;
  SELECT array_agg(CASE WHEN pid = 0 THEN 'a prepared transaction' ELSE 'process ' || pid END ORDER BY n) INTO names
    FROM unnest(pids[:8]) WITH ORDINALITY AS holders (pid, n);
  IF cardinality(pids) > 8 THEN
    names := names || format('%s more', cardinality(pids) - 8);
  END IF;
  RETURN ' is held by ' || array_to_string(names[:cardinality(names) - 1], ', ')
    || CASE WHEN cardinality(names) > 1 THEN ' and ' ELSE '' END || names[cardinality(names)] || '.';
END $$;

-- A timeout in milliseconds, rounded up; a month is 30 days.
CREATE OR REPLACE FUNCTION _advisory_keys_milliseconds(timeout interval) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN isfinite(timeout) THEN
    ceil((((extract(year FROM timeout) * 12 + extract(month FROM timeout)) * 30 + extract(day FROM timeout)) * 24
      + extract(hour FROM timeout)) * 3600000 + extract(minute FROM timeout) * 60000 + extract(milliseconds FROM timeout))
    ELSE 'Infinity' END
$$;

-- Locks the keys; the key that could not be had in time if there was one, and then nothing that the call
-- took is held.
--
-- A wait is bounded by lock_timeout, whose value is put back by hand, or by Postgres when the block of the
-- wait is rolled back. When lock_timeout ends a wait just as the lock is granted, core raises the error and
-- keeps a session-level lock all the same. At transaction level the block gives it back; at session level
-- what is really held decides. Other errors leave through the outer block, which gives back what was taken;
-- it names query_canceled and assert_failure because OTHERS leaves those two out.
--
-- Postgres serves a cancel before each statement. So what is taken or released is noted by the very statement
-- that does it, and none stands behind the outer block. After an error, what was taken is released before
-- anything else is done: that may fail when the lock table is full.
CREATE OR REPLACE FUNCTION _advisory_keys_lock(keys text[], timeout interval, shared boolean, session boolean)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $$
DECLARE
  sorted bigint[];
  most text;
  lock_mode text;
  k bigint;
  taken bigint[] := '{}';
  waiting boolean := false;   -- for k, which was not held in this mode before
  waited boolean := false;
  lock_timeout text;
  deadline timestamptz;
  left_ms numeric;
  missing bigint;
BEGIN
  IF keys IS NOT NULL AND timeout < '0' THEN
    RAISE EXCEPTION 'timeout must not be negative' USING ERRCODE = 'invalid_parameter_value',
      HINT = 'Use ''0'' not to wait at all, or NULL to wait without a limit.';
  END IF;
  IF array_ndims(keys) = 2 THEN
    most := coalesce(nullif(current_setting('advisory_keys.max_keys_per_call', true), ''), '1000');
    IF most !~ '^[0-9]{1,10}$' THEN
      RAISE EXCEPTION 'invalid value for parameter "advisory_keys.max_keys_per_call": "%"', most
        USING ERRCODE = 'invalid_parameter_value', HINT = 'It is a number of keys.';
    ELSIF array_length(keys, 1) > most::bigint THEN
      RAISE EXCEPTION 'too many keys in one call' USING ERRCODE = 'program_limit_exceeded',
        DETAIL = format('The array has %s keys, "advisory_keys.max_keys_per_call" is %s.', array_length(keys, 1), most),
        HINT = 'Lock something coarser, or have a superuser raise the setting; each key takes a place in the lock table that all sessions share.';
    END IF;
  END IF;
  sorted := _advisory_keys_of(keys);
  lock_mode := _advisory_keys_mode(shared);
  IF session IS DISTINCT FROM false THEN
    PERFORM _advisory_keys_level(session);
  ELSIF timeout = '0' AND cardinality(sorted) = 1 THEN
    -- The commonest call; with one key there is nothing to give back.
    RETURN CASE WHEN CASE WHEN shared THEN pg_try_advisory_xact_lock_shared(sorted[1])
                          ELSE pg_try_advisory_xact_lock(sorted[1]) END
           THEN NULL ELSE sorted[1] END;
  END IF;

  BEGIN
    FOREACH k IN ARRAY sorted LOOP
      taken := CASE WHEN
        CASE WHEN session AND shared THEN pg_try_advisory_lock_shared(k)
             WHEN session THEN pg_try_advisory_lock(k)
             WHEN shared THEN pg_try_advisory_xact_lock_shared(k)
             ELSE pg_try_advisory_xact_lock(k) END
        THEN taken || k ELSE taken END;
      CONTINUE WHEN k = taken[cardinality(taken)];

      missing := k;
      EXIT WHEN timeout = '0';
      IF deadline IS NULL THEN
        lock_timeout := current_setting('lock_timeout');
        left_ms := _advisory_keys_milliseconds(coalesce(timeout, lock_timeout::interval));
        deadline := CASE WHEN left_ms > 1e14 OR timeout IS NULL AND left_ms = 0 THEN 'infinity'
                         ELSE clock_timestamp() + left_ms::float8 * interval '1 ms' END;
      END IF;
      -- 0 is no limit to lock_timeout.
      left_ms := CASE WHEN isfinite(deadline) THEN ceil(extract(epoch FROM deadline - clock_timestamp()) * 1000) ELSE 0 END;
      EXIT WHEN isfinite(deadline) AND left_ms <= 0;

      waiting := true;
      BEGIN
        PERFORM set_config('lock_timeout', least(left_ms, 2147483647)::text, true);
        IF session AND shared THEN PERFORM pg_advisory_lock_shared(k);
        ELSIF session THEN PERFORM pg_advisory_lock(k);
        ELSIF shared THEN PERFORM pg_advisory_xact_lock_shared(k);
        ELSE PERFORM pg_advisory_xact_lock(k);
        END IF;
        PERFORM set_config('lock_timeout', lock_timeout, true);
      EXCEPTION WHEN lock_not_available THEN
        IF current_setting('statement_timeout')::interval BETWEEN '1 ms' AND clock_timestamp() - statement_timestamp() THEN
          RAISE EXCEPTION 'canceling statement due to statement timeout' USING ERRCODE = 'query_canceled';
        END IF;
        EXIT WHEN NOT session OR NOT _advisory_keys_held(k, lock_mode);
      END;
      taken := taken || k;
      missing := NULL;
      waiting := false;
      waited := true;
    END LOOP;

    IF missing IS NOT NULL THEN
      IF NOT session THEN
        RAISE EXCEPTION USING ERRCODE = 'AK001';
      END IF;
      WHILE cardinality(taken) > 0 LOOP
        taken := CASE WHEN CASE WHEN shared THEN pg_advisory_unlock_shared(taken[cardinality(taken)])
                                ELSE pg_advisory_unlock(taken[cardinality(taken)]) END
                 THEN trim_array(taken, 1) END;
      END LOOP;
      RETURN missing;
    END IF;
    -- At session level it would not be old outside a transaction block, and SQL cannot tell whether
    -- there is one.
    IF waited AND NOT session AND current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
      RAISE WARNING 'advisory lock was granted after waiting, but the transaction''s snapshot is older' USING
        DETAIL = 'What this transaction reads may be older than what the previous holder left.',
        HINT = 'Use READ COMMITTED, or lock at session level before BEGIN.';
    END IF;
    RETURN NULL;
  EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
    IF SQLSTATE = 'AK001' THEN
      RETURN missing;
    END IF;
    IF session THEN
      waiting := waiting AND k IS DISTINCT FROM taken[cardinality(taken)];
      WHILE cardinality(taken) > 0 LOOP
        taken := CASE WHEN CASE WHEN shared THEN pg_advisory_unlock_shared(taken[cardinality(taken)])
                                ELSE pg_advisory_unlock(taken[cardinality(taken)]) END
                 THEN trim_array(taken, 1) END;
      END LOOP;
      IF waiting AND _advisory_keys_held(k, lock_mode) THEN
        PERFORM CASE WHEN shared THEN pg_advisory_unlock_shared(k) ELSE pg_advisory_unlock(k) END;
      END IF;
    END IF;
    RAISE;
  END;
END $$;

CREATE OR REPLACE FUNCTION try_lock_keys(
  keys text[], timeout interval DEFAULT '0', shared boolean DEFAULT false, session boolean DEFAULT false)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 10000 SET search_path FROM CURRENT AS $$
BEGIN
  RETURN _advisory_keys_lock(keys, timeout, shared, session) IS NULL;
END $$;

CREATE OR REPLACE FUNCTION lock_keys(
  keys text[], timeout interval DEFAULT NULL, shared boolean DEFAULT false, session boolean DEFAULT false)
RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 10000 SET search_path FROM CURRENT AS $$
DECLARE
  missing bigint;
BEGIN
  missing := _advisory_keys_lock(keys, timeout, shared, session);
  IF missing IS NULL THEN
    RETURN;
  END IF;
  RAISE EXCEPTION 'could not obtain advisory lock %',
    CASE WHEN timeout IS NULL THEN 'within lock_timeout' WHEN timeout = '0' THEN 'without waiting'
         ELSE format('within %s ms', _advisory_keys_milliseconds(timeout)) END
    USING ERRCODE = 'lock_not_available',
      DETAIL = 'Key ' || _advisory_keys_name(keys, missing) || _advisory_keys_holders(missing, _advisory_keys_mode(shared)),
      HINT = 'Try again, allow more time, or end the holder.';
END $$;

CREATE OR REPLACE FUNCTION unlock_keys(keys text[], shared boolean DEFAULT false) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 10000 SET search_path FROM CURRENT AS $$
DECLARE
  sorted CONSTANT bigint[] := _advisory_keys_of(keys);
  lock_mode CONSTANT text := _advisory_keys_mode(shared);
  k bigint;
  message text;
  fact text;
  cure text;
  released boolean := true;
BEGIN
  FOREACH k IN ARRAY sorted LOOP
    CONTINUE WHEN CASE WHEN shared THEN pg_advisory_unlock_shared(k) ELSE pg_advisory_unlock(k) END;
    released := false;
    IF _advisory_keys_held(k, lock_mode) THEN
      fact := ' is held at transaction level.';
      cure := 'It is released when the transaction ends.';
    ELSIF _advisory_keys_held(k, _advisory_keys_mode(NOT shared)) THEN
      fact := ' is held in the other mode.';
      cure := CASE WHEN shared THEN 'Pass shared => false to release it.' ELSE 'Pass shared => true to release it.' END;
    ELSE
      fact := ' is not held.';
      cure := NULL;
    END IF;
    message := format('this session does not hold the %s advisory lock at session level',
      CASE WHEN shared THEN 'shared' ELSE 'exclusive' END);
    fact := 'Key ' || _advisory_keys_name(keys, k) || fact;
    IF cure IS NULL THEN
      RAISE WARNING USING MESSAGE = message, DETAIL = fact;
    ELSE
      RAISE WARNING USING MESSAGE = message, DETAIL = fact, HINT = cure;
    END IF;
  END LOOP;
  RETURN released;
END $$;

CREATE OR REPLACE FUNCTION holds_keys(keys text[], shared boolean DEFAULT false) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 1000 SET search_path FROM CURRENT AS $$
DECLARE
  sorted CONSTANT bigint[] := _advisory_keys_of(keys);
  lock_mode CONSTANT text := _advisory_keys_mode(shared);
BEGIN
  RETURN cardinality(sorted) = (
    SELECT count(DISTINCT (classid::bigint << 32) | objid::bigint) FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND pid = pg_backend_pid() AND granted
      AND mode IN ('ExclusiveLock', lock_mode)
      AND (classid::bigint << 32) | objid::bigint = ANY (sorted));
END $$;

CREATE OR REPLACE FUNCTION keys_available(keys text[], shared boolean DEFAULT false) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 1000 SET search_path FROM CURRENT AS $$
DECLARE
  sorted CONSTANT bigint[] := _advisory_keys_of(keys);
  lock_mode CONSTANT text := _advisory_keys_mode(shared);
BEGIN
  RETURN NOT EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND pid IS DISTINCT FROM pg_backend_pid() AND granted
      AND (mode = 'ExclusiveLock' OR mode = 'ShareLock' AND lock_mode = 'ExclusiveLock')
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (classid::bigint << 32) | objid::bigint = ANY (sorted));
END $$;

CREATE OR REPLACE VIEW advisory_locks AS
SELECT (l.classid::bigint << 32) | l.objid::bigint AS key,
       NULL::text AS name,
       CASE l.mode WHEN 'ExclusiveLock' THEN 'exclusive' ELSE 'shared' END AS mode,
       l.granted, l.pid, l.waitstart AS waiting_since,
       CASE WHEN NOT l.granted THEN pg_blocking_pids(l.pid) END AS blocked_by,
       a.usename, a.application_name, a.client_addr, a.state, a.xact_start, a.query
  FROM pg_locks AS l
  LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
 WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.mode IN ('ExclusiveLock', 'ShareLock')
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database());

GRANT SELECT ON advisory_locks TO PUBLIC;

COMMENT ON FUNCTION advisory_key(text[]) IS
'advisory lock key (bigint) of one name: the first 8 bytes of the SHA-256 of its parts in UTF-8, joined with ''-''';

COMMENT ON FUNCTION try_lock_keys(text[], interval, boolean, boolean) IS
'lock one name (one dimension) or several (one in each row), all or none; false when they could not be had within the timeout (default: without waiting). At transaction level unless session => true';

COMMENT ON FUNCTION lock_keys(text[], interval, boolean, boolean) IS
'lock one name (one dimension) or several (one in each row), all or none; error 55P03 when they could not be had within the timeout (default: wait without limit of its own). At transaction level unless session => true';

COMMENT ON FUNCTION unlock_keys(text[], boolean) IS
'release one session-level hold of each name; false, with a warning for each, when some were not held so';

COMMENT ON FUNCTION holds_keys(text[], boolean) IS
'does this session hold all of the names (shared => true: at least shared), at transaction or session level';

COMMENT ON FUNCTION keys_available(text[], boolean) IS
'does no other session hold a conflicting lock on any of the names at this moment; locks nothing';

COMMENT ON VIEW advisory_locks IS
'who holds and who waits for the bigint advisory locks of this database, whoever took them';

COMMENT ON COLUMN advisory_locks.key IS 'the integer, as advisory_key() computes it';
COMMENT ON COLUMN advisory_locks.name IS 'always NULL: names are recorded by the native extension only';
COMMENT ON COLUMN advisory_locks.mode IS 'exclusive or shared';
COMMENT ON COLUMN advisory_locks.granted IS 'true for a holder, false for a waiter';
COMMENT ON COLUMN advisory_locks.pid IS 'the process; NULL for a prepared transaction';
COMMENT ON COLUMN advisory_locks.waiting_since IS 'when the waiter began to wait';
COMMENT ON COLUMN advisory_locks.blocked_by IS 'of a waiter: the processes that it waits for, 0 for a prepared transaction';

COMMIT;
