-- advisory_keys 0.9.0, portable edition: lock by name in plain SQL and PL/pgSQL, for servers on which
-- extensions in native code cannot be installed. Postgres 15 and later.
--
-- Install, or upgrade, into the first schema of the search_path:
--   psql -v ON_ERROR_STOP=1 -f portable.sql
--   PGOPTIONS='-c search_path=locks' psql -v ON_ERROR_STOP=1 -f portable.sql
-- The file is one statement: all or nothing in any client, and part of a transaction if one is open. It has no
-- percent sign and nothing that looks like a parameter, which migration tools would replace.
--
-- Uninstall, with that search_path:
--   DROP VIEW advisory_locks;
--   DROP PROCEDURE acquire_keys;
--   DROP FUNCTION advisory_key, try_lock_keys, lock_keys, claim_keys, unlock_keys, release_keys, holds_keys,
--     keys_available, try_lock_slot, lock_slot, unlock_slot, slots_held, advisory_key_name, _advisory_keys_utf8,
--     _advisory_keys_key, _advisory_keys_begin, _advisory_keys_setting, _advisory_keys_is_on, _advisory_keys_warn_session,
--     _advisory_keys_most, _advisory_keys_refuse, _advisory_keys_refuse_many, _advisory_keys_refuse_standby,
--     _advisory_keys_session_lock_taken, _advisory_keys_try, _advisory_keys_wait, _advisory_keys_unlock,
--     _advisory_keys_is_held, _advisory_keys_shown, _advisory_keys_held_by, _advisory_keys_milliseconds,
--     _advisory_keys_in_time, _advisory_keys_deadline, _advisory_keys_left, _advisory_keys_refuse_timeout,
--     _advisory_keys_refuse_late, _advisory_keys_warn_snapshot, _advisory_keys_lock, _advisory_keys_places,
--     _advisory_keys_one, _advisory_keys_slot;
--
-- The functions are those of the extension advisory_keys, with the same keys, results and errors; where
-- they differ is said in docs/portable.md. Functions whose names begin with _ are not for calling.

DO $install$
DECLARE
  home CONSTANT text := pg_catalog.current_schema();
  search_path CONSTANT text := pg_catalog.current_setting('search_path');
  lock_timeout CONSTANT text := pg_catalog.current_setting('lock_timeout');
  refuse_strangers text;
  replaced pg_catalog.regprocedure;
BEGIN
-- From here on nothing is found that a stranger may have put into a schema.
PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

IF home IS NULL THEN
  RAISE EXCEPTION 'no schema has been selected to install into'
    USING ERRCODE = 'invalid_schema_name',
          DETAIL = 'The search_path is ' || search_path || '.',
          HINT = 'Create the first schema of the search_path, or set another search_path.';
ELSIF strpos(home, '$') > 0 THEN
  RAISE EXCEPTION 'advisory_keys cannot be installed into a schema with a dollar sign in its name'
    USING ERRCODE = 'invalid_schema_name',
          DETAIL = 'The schema is ' || quote_ident(home) || '.',
          HINT = 'Choose another schema by the search_path.';
END IF;
-- With an older snapshot it would not be seen what others have just created.
IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
  RAISE EXCEPTION 'advisory_keys cannot be installed in this isolation level'
    USING ERRCODE = 'invalid_transaction_state',
          DETAIL = 'The isolation level is ' || current_setting('transaction_isolation') || '.',
          HINT = 'Install in READ COMMITTED.';
END IF;

-- One at a time, of both editions: this is advisory_key('{ADVISORY-KEYS,install}').
BEGIN
  IF lock_timeout = '0' THEN
    PERFORM set_config('lock_timeout', '10s', true);
  END IF;
  PERFORM pg_advisory_xact_lock(4804701773947336786);
  PERFORM set_config('lock_timeout', lock_timeout, true);
EXCEPTION WHEN lock_not_available THEN
  RAISE EXCEPTION 'advisory_keys is being installed by another session'
    USING ERRCODE = 'lock_not_available',
          DETAIL = 'The advisory lock 4804701773947336786 could not be had in time.',
          HINT = 'Try again, or look in pg_locks for who holds it.';
END;

IF EXISTS (SELECT FROM pg_extension WHERE extname = 'advisory_keys') THEN
  RAISE EXCEPTION 'the extension advisory_keys is installed in this database'
    USING ERRCODE = 'object_not_in_prerequisite_state',
          DETAIL = 'It has the same functions as the portable edition.',
          HINT = 'Use the extension, or drop it first.';
END IF;
-- What belongs to another role would be taken over with its owner, who could change what it does.
refuse_strangers := replace($refuse$
  DO $$
  DECLARE
    stranger text;
    owner oid;
  BEGIN
    SELECT object, role INTO stranger, owner FROM (
      SELECT 'function ' || oid::regprocedure, proowner, pronamespace FROM pg_proc
        WHERE starts_with(proname, '_advisory_keys_') OR proname IN ('advisory_key', 'try_lock_keys', 'lock_keys',
          'acquire_keys', 'claim_keys', 'unlock_keys', 'release_keys', 'holds_keys', 'keys_available', 'try_lock_slot', 'lock_slot', 'unlock_slot',
          'slots_held', 'advisory_key_name')
      UNION ALL SELECT 'relation ' || oid::regclass, relowner, relnamespace FROM pg_class WHERE relname = 'advisory_locks'
      UNION ALL SELECT 'type ' || oid::regtype, typowner, typnamespace FROM pg_type WHERE typname = 'advisory_locks'
    ) AS objects (object, role, namespace)
      WHERE namespace = @extschema@::regnamespace AND role <> quote_ident(current_user)::regrole
      ORDER BY object LIMIT 1;
    IF FOUND THEN
      RAISE EXCEPTION 'an object with a name of advisory_keys belongs to another role'
        USING ERRCODE = 'insufficient_privilege',
              DETAIL = 'The ' || stranger || ' belongs to ' || pg_get_userbyid(owner) || ', not to ' || current_user || '.',
              HINT = 'Drop it, or install as the role that all of them belong to.';
    END IF;
  END $$
$refuse$, '@extschema@', quote_literal(quote_ident(home)));
EXECUTE refuse_strangers;

-- All functions are called by their full names, and those for calling keep this search_path, whatever that of
-- the caller is; the others are called under it, or name all that they use in full.
EXECUTE replace($edition$

-- Whether the expression of advisory_key, below, has the bytes that it needs.
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_utf8() RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  RETURN pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.=) 'UTF8';
END $$;

-- The key of any name, and the error for what is none. It calls nothing of ours, so it needs no search_path
-- of its own, which would cost more than the key.
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_key(key text[]) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 100 AS $$
DECLARE
  dimensions int;
  place bigint;
BEGIN
  IF pg_catalog.array_ndims(key) OPERATOR(pg_catalog.=) 1 AND pg_catalog.array_position(key, NULL) IS NULL THEN
    RETURN ('x' OPERATOR(pg_catalog.||) pg_catalog.encode(pg_catalog.substr(pg_catalog.sha256(
      pg_catalog.convert_to(pg_catalog.array_to_string(key, '-'), 'UTF8')), 1, 8), 'hex'))::pg_catalog.bit(64)::pg_catalog.int8;
  END IF;

  IF key IS NULL THEN
    RAISE EXCEPTION 'argument "key" must not be null' USING ERRCODE = 'null_value_not_allowed',
      HINT = 'Pass the parts of the key, for example ARRAY[''order'', ''42''].';
  END IF;
  dimensions := coalesce(pg_catalog.array_ndims(key), 0);
  IF dimensions OPERATOR(pg_catalog.=) 0 THEN
    RAISE EXCEPTION 'a key needs at least one part' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = 'The array is empty.', HINT = 'Pass the parts of the key, for example ARRAY[''order'', ''42'']; do not call without keys.';
  ELSIF dimensions OPERATOR(pg_catalog.>) 2 THEN
    RAISE EXCEPTION 'an array of keys must have one or two dimensions' USING ERRCODE = '2202E',
      DETAIL = pg_catalog.concat('The array has ', dimensions, ' dimensions.'),
      HINT = 'One dimension is one key, its elements the parts; two dimensions are several keys, one in each row.';
  END IF;
  SELECT n OPERATOR(pg_catalog.-) 1 INTO place FROM pg_catalog.unnest(key) WITH ORDINALITY AS parts (part, n)
    WHERE part IS NULL ORDER BY n LIMIT 1;
  IF FOUND THEN
    dimensions := pg_catalog.array_length(key, dimensions);
    RAISE EXCEPTION 'a part of a key must not be null' USING ERRCODE = 'null_value_not_allowed',
      DETAIL = pg_catalog.concat('Part ', pg_catalog.mod(place, dimensions) OPERATOR(pg_catalog.+) 1,
        ' of key ', place OPERATOR(pg_catalog./) dimensions OPERATOR(pg_catalog.+) 1, ' is null.'),
      HINT = 'Use coalesce(), or leave the part out.';
  END IF;
  RAISE EXCEPTION 'advisory_key takes one key' USING ERRCODE = '2202E',
    DETAIL = 'The array has 2 dimensions, which is several keys.',
    HINT = 'Pass the parts of one key as a one-dimensional array.';
END $$;

-- The key as one expression for names of up to three parts, so that it can be put in place of the call where
-- that is part of a larger statement; for all else it is NULL, and _advisory_keys_key has the answer. For that,
-- everything in it has to be immutable, which convert_to and array_to_string are not declared to be: in a UTF-8
-- database the cast of a text to bytea, with its backslashes doubled, gives the same bytes. Whether it is one is
-- asked when a statement is planned, since pg_dump may have carried the function over from another.
CREATE OR REPLACE FUNCTION @extschema@.advisory_key(key text[]) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 100
RETURN coalesce(
  CASE WHEN @extschema@._advisory_keys_utf8() THEN
    ('x' OPERATOR(pg_catalog.||) pg_catalog.encode(pg_catalog.substr(pg_catalog.sha256(pg_catalog.replace(
      CASE pg_catalog.cardinality(key)
        WHEN 1 THEN key[1]
        WHEN 2 THEN key[1] OPERATOR(pg_catalog.||) '-' OPERATOR(pg_catalog.||) key[2]
        WHEN 3 THEN key[1] OPERATOR(pg_catalog.||) '-' OPERATOR(pg_catalog.||) key[2]
          OPERATOR(pg_catalog.||) '-' OPERATOR(pg_catalog.||) key[3]
      END COLLATE pg_catalog."C", E'\\', E'\\\\')::pg_catalog.bytea), 1, 8), 'hex'))::pg_catalog.bit(64)::pg_catalog.int8
  END,
  @extschema@._advisory_keys_key(key));

-- What every function but advisory_key begins with: checks of these arguments, and the keys of all rows, in
-- ascending order, each once. In a parallel query a lock would be lost with its worker: Postgres refuses to
-- change a setting there, with error 25000. This one means nothing here, and is what it was before when the
-- function that calls this one ends, since that has a setting of its own, the search_path.
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_begin(keys text[], shared boolean) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  name text[];
  result bigint[] := ARRAY[]::bigint[];
BEGIN
  IF set_config('check_function_bodies', 'on', true) IS NULL OR keys IS NULL THEN
    RAISE EXCEPTION 'argument "keys" must not be null' USING ERRCODE = 'null_value_not_allowed',
      HINT = 'Pass the parts of a key, for example ARRAY[''order'', ''42'']; array_agg() of no rows is null: do not call without keys.';
  END IF;
  IF array_ndims(keys) IS DISTINCT FROM 2 THEN
    result := ARRAY[@extschema@.advisory_key(keys)];
  ELSIF EXISTS (SELECT FROM unnest(keys) AS part WHERE part IS NULL) THEN
    result := ARRAY[@extschema@._advisory_keys_key(keys)];
  ELSE
    FOREACH name SLICE 1 IN ARRAY keys LOOP
      result := result || @extschema@.advisory_key(name);
    END LOOP;
    result := (SELECT array_agg(DISTINCT k ORDER BY k) FROM unnest(result) AS k);
  END IF;
  IF shared IS NULL THEN
    RAISE EXCEPTION 'argument "shared" must not be null' USING ERRCODE = 'null_value_not_allowed', HINT = 'Pass true or false.';
  END IF;
  RETURN result;
END $$;

-- The value of a setting advisory_keys.*, and what it counts for while it is not set.
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_setting(setting text, unset text) RETURNS text
LANGUAGE sql STABLE
RETURN coalesce(nullif(current_setting('advisory_keys.' || setting, true), ''), unset);

-- The same of one that is on or off; a value that is not known is off.
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_is_on(setting text, unset text) RETURNS boolean
LANGUAGE sql STABLE
RETURN lower(@extschema@._advisory_keys_setting(setting, unset)) IN ('on', 'true', 't', 'yes', 'y', '1');

-- Checks the argument "session" and the setting session_locks: is a warning due if the lock is granted?
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_warn_session(session boolean) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
DECLARE
  session_locks text;
BEGIN
  IF session IS NULL THEN
    RAISE EXCEPTION 'argument "session" must not be null' USING ERRCODE = 'null_value_not_allowed', HINT = 'Pass true or false.';
  END IF;
  session_locks := lower(@extschema@._advisory_keys_setting('session_locks', 'on'));
  IF session_locks NOT IN ('on', 'warn', 'off') THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = 'invalid value for parameter "advisory_keys.session_locks": "' || session_locks || '"',
      HINT = 'Available values: on, warn, off.';
  ELSIF session_locks = 'off' THEN
    RAISE EXCEPTION 'session-level locks are switched off' USING ERRCODE = 'object_not_in_prerequisite_state',
      DETAIL = '"advisory_keys.session_locks" is "off".',
      HINT = 'Lock at transaction level; behind a transaction pooler a session-level lock stays with a connection that other clients use.';
  END IF;
  RETURN session_locks = 'warn';
END $$;

-- The value of max_keys_per_call.
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_most() RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
  most CONSTANT text := @extschema@._advisory_keys_setting('max_keys_per_call', '1000');
BEGIN
  IF most !~ '^[0-9]{1,10}$' THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = 'invalid value for parameter "advisory_keys.max_keys_per_call": "' || most || '"',
      HINT = 'It is a number of keys.';
  END IF;
  RETURN most::bigint;
END $$;

-- The error for more keys than that; the fact says whose they are.
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_refuse_many(fact text, most bigint, instead text) RETURNS void
LANGUAGE plpgsql STABLE AS $$
BEGIN
  RAISE EXCEPTION 'too many keys in one call' USING ERRCODE = 'program_limit_exceeded',
    DETAIL = concat(fact, ', "advisory_keys.max_keys_per_call" is ', most, '.'),
    HINT = instead || ', or have a superuser raise the setting; each key takes a place in the lock table that all sessions share.';
END $$;

-- The error for a lock on a standby, unless it is allowed.
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_refuse_standby() RETURNS void
LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF NOT @extschema@._advisory_keys_is_on('standby_locks', 'off') THEN
    RAISE EXCEPTION 'advisory locks taken on a standby exclude nobody on the primary'
      USING ERRCODE = 'object_not_in_prerequisite_state',
        DETAIL = 'The server is in recovery, "advisory_keys.standby_locks" is "off".',
        HINT = 'Lock on the primary, or set advisory_keys.standby_locks to on to exclude others on this standby only.';
  END IF;
END $$;

-- The error for a timeout below zero.
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_refuse_timeout(timeout interval) RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF timeout < '0' THEN
    RAISE EXCEPTION 'timeout must not be negative' USING ERRCODE = 'invalid_parameter_value',
      HINT = 'Use ''0'' not to wait at all, or NULL to wait without a limit.';
  END IF;
END $$;

-- The warning for session_locks = warn.
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_session_lock_taken() RETURNS void
LANGUAGE plpgsql STABLE AS $$
BEGIN
  RAISE WARNING 'session-level lock taken by name' USING
    DETAIL = '"advisory_keys.session_locks" is "' || lower(@extschema@._advisory_keys_setting('session_locks', 'on')) || '".',
    HINT = 'Lock at transaction level if this role connects through a transaction pooler.';
END $$;

-- Core's functions by mode and level. PL/pgSQL merges these three into the statements that call them, so that
-- nothing can come between the lock and what such a statement notes of it.
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_try(key bigint, shared boolean, session boolean) RETURNS boolean
LANGUAGE sql VOLATILE
RETURN CASE WHEN session AND shared THEN pg_try_advisory_lock_shared(key)
            WHEN session THEN pg_try_advisory_lock(key)
            WHEN shared THEN pg_try_advisory_xact_lock_shared(key)
            ELSE pg_try_advisory_xact_lock(key) END;

CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_wait(key bigint, shared boolean, session boolean) RETURNS void
LANGUAGE sql VOLATILE
RETURN CASE WHEN session AND shared THEN pg_advisory_lock_shared(key)
            WHEN session THEN pg_advisory_lock(key)
            WHEN shared THEN pg_advisory_xact_lock_shared(key)
            ELSE pg_advisory_xact_lock(key) END;

CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_unlock(key bigint, shared boolean) RETURNS boolean
LANGUAGE sql VOLATILE
RETURN CASE WHEN shared THEN pg_advisory_unlock_shared(key) ELSE pg_advisory_unlock(key) END;

-- Does this session hold the lock in exactly this mode, at whatever level? Its own locks are all of this
-- database, so there is no need to look that up, which would take a lock itself.
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_is_held(key bigint, shared boolean) RETURNS boolean
LANGUAGE sql VOLATILE
RETURN EXISTS (
  SELECT FROM pg_locks
  WHERE locktype = 'advisory' AND objsubid = 1 AND pid = pg_backend_pid() AND granted
    AND mode = CASE WHEN shared THEN 'ShareLock' ELSE 'ExclusiveLock' END
    AND (classid::bigint << 32) | objid::bigint = key);

-- How a key is shown: "order-42" (4321398832972926703), or the integer alone.
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_shown(keys text[], key bigint) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
  parts text[];
  name text;
  shown text;
BEGIN
  IF NOT @extschema@._advisory_keys_is_on('show_keys', 'on') THEN
    RETURN key::text;
  END IF;
  IF array_ndims(keys) = 1 THEN
    name := array_to_string(keys, '-');
  ELSE
    FOREACH parts SLICE 1 IN ARRAY keys LOOP
      name := array_to_string(parts, '-');
      EXIT WHEN @extschema@.advisory_key(parts) = key;
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
  RETURN '"' || shown || '" (' || key || ')';
END $$;

-- Who holds a lock in a mode that excludes this one, in words; who keeps all slots of a name, if it has so many.
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_held_by(key bigint, shared boolean, slots int) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
  pids int[];
  exclusive boolean;
  names text[];
  last text;
BEGIN
  -- Each holder once, in whatever modes; prepared transactions differ by their number.
  SELECT array_agg(coalesce(holders.pid, 0)), bool_or(holders.exclusive) INTO pids, exclusive FROM (
    SELECT pid, bool_or(mode = 'ExclusiveLock') FROM pg_locks
      WHERE locktype = 'advisory' AND objsubid = 1 AND pid IS DISTINCT FROM pg_backend_pid() AND granted
        AND mode IN ('ExclusiveLock', CASE WHEN NOT shared THEN 'ShareLock' END)
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (classid::bigint << 32) | objid::bigint = key
      GROUP BY pid, virtualtransaction) AS holders (pid, exclusive);
  IF pids IS NULL THEN
    RETURN 'free now or others wait for it before this session';
  END IF;
  SELECT array_agg(CASE WHEN pid = 0 THEN 'a prepared transaction' ELSE 'process ' || pid END ORDER BY n) INTO names
    FROM unnest(pids[1:8]) WITH ORDINALITY AS holders (pid, n);
  IF cardinality(pids) > 8 THEN
    names := names || (cardinality(pids) - 8 || ' more');
  END IF;
  last := names[cardinality(names)];
  names := trim_array(names, 1);
  RETURN CASE WHEN slots > 0 AND exclusive THEN 'held exclusively by ' ELSE 'held by ' END
    || concat_ws(' and ', nullif(array_to_string(names, ', '), ''), last)
    || CASE WHEN slots > cardinality(pids) AND NOT exclusive THEN ', the rest is free now or others wait for it before this session' ELSE '' END;
END $$;

-- A timeout in milliseconds, rounded up; a month is 30 days.
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_milliseconds(timeout interval) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN isfinite(timeout) THEN
  ceil((((extract(year FROM timeout) * 12 + extract(month FROM timeout)) * 30 + extract(day FROM timeout)) * 24
    + extract(hour FROM timeout)) * 3600000 + extract(minute FROM timeout) * 60000 + extract(milliseconds FROM timeout))
  ELSE 'Infinity' END;

-- How long a call was to wait, in words.
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_in_time(timeout interval) RETURNS text
LANGUAGE sql STABLE
RETURN CASE WHEN timeout IS NULL
            THEN 'within lock_timeout (' || @extschema@._advisory_keys_milliseconds(current_setting('lock_timeout')::interval) || ' ms)'
            WHEN timeout = '0' THEN 'without waiting'
            ELSE 'within ' || @extschema@._advisory_keys_milliseconds(timeout) || ' ms' END;

-- When a call that begins to wait now has to stop: after its timeout, or after the lock_timeout of the session if it has
-- none of its own.
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_deadline(timeout interval) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  milliseconds CONSTANT numeric := @extschema@._advisory_keys_milliseconds(coalesce(timeout, current_setting('lock_timeout')::interval));
BEGIN
  RETURN CASE WHEN milliseconds > 1e14 OR timeout IS NULL AND milliseconds = 0 THEN 'infinity'
              ELSE clock_timestamp() + milliseconds::float8 * interval '1 ms' END;
END $$;

-- What is left until then, as lock_timeout takes it: in milliseconds, 0 is no limit. NULL when it has passed.
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_left(deadline timestamptz) RETURNS bigint
LANGUAGE sql VOLATILE
RETURN CASE WHEN isfinite(deadline)
  THEN nullif(greatest(least(ceil(extract(epoch FROM deadline - clock_timestamp()) * 1000), 2147483647), 0), 0)::bigint ELSE 0 END;

-- To be called when a wait that began then has ended by lock_timeout: the error, if statement_timeout has fired in the
-- same moment, which Postgres forgets. Its clock is that of the statement, which is known to have begun with the
-- message only if it has the message to itself.
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_refuse_late(begun timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  IF current_setting('statement_timeout')::interval BETWEEN '1 ms' AND clock_timestamp()
    - (CASE WHEN strpos(rtrim(current_query(), E'; \t\r\n'), ';') = 0 THEN statement_timestamp() ELSE begun END)
  THEN
    RAISE EXCEPTION 'canceling statement due to statement timeout' USING ERRCODE = 'query_canceled';
  END IF;
END $$;

-- To be called when a lock was granted after waiting: the warning, if the transaction reads as of before. At session
-- level it does not if the call is all that the transaction does. SQL cannot tell whether there is a transaction
-- block, but whether a function called: then there are more callers than the function for calling and the one below
-- it, unless Postgres was told to add a line with the parameters.
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_warn_snapshot(session boolean, callers text) RETURNS void
LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') AND (NOT session
    OR cardinality(string_to_array(callers, E'\n')) > 2 AND current_setting('log_parameter_max_length_on_error') = '0')
  THEN
    RAISE WARNING 'advisory lock was granted after waiting, but the transaction''s snapshot is older' USING
      DETAIL = 'What this transaction reads may be older than what the previous holder left.',
      HINT = 'Use READ COMMITTED, or lock at session level before BEGIN.';
  END IF;
END $$;

-- Locks the keys; the key that could not be had in time if there was one, and then nothing that the call
-- took is held.
--
-- A wait is bounded by lock_timeout, whose value is put back by hand, or by Postgres when the block of the
-- wait is rolled back. When lock_timeout ends a wait just as the lock is granted, core raises the error and
-- keeps a session-level lock all the same. At transaction level the block gives it back; at session level
-- what is really held decides. All that ends without the locks leaves through the outer block, which gives
-- back what was taken; it names query_canceled and assert_failure because OTHERS leaves those two out.
--
-- Postgres serves a cancel before each statement. So what is taken or released is noted by the very statement
-- that does it, and none stands behind the outer block. After an error, what was taken is released before
-- anything else is done: that may fail when the lock table is full.
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_lock(keys text[], timeout interval, shared boolean, session boolean)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $$
DECLARE
  sorted bigint[];
  most bigint;
  warn_session boolean := false;
  k bigint;
  taken bigint[] := ARRAY[]::bigint[];
  waiting boolean := false;   -- for k, which was not held in this mode before
  waited boolean := false;
  lock_timeout text;
  begun timestamptz;
  deadline timestamptz;
  left_ms bigint;
  missing bigint;
  callers text;
BEGIN
  IF keys IS NOT NULL AND timeout < '0' THEN
    PERFORM @extschema@._advisory_keys_refuse_timeout(timeout);
  END IF;
  IF array_ndims(keys) = 2 THEN
    most := @extschema@._advisory_keys_most();
    IF array_length(keys, 1) > most THEN
      PERFORM @extschema@._advisory_keys_refuse_many('The array has ' || array_length(keys, 1) || ' keys', most, 'Lock something coarser');
    END IF;
  END IF;
  sorted := @extschema@._advisory_keys_begin(keys, shared);
  IF session IS DISTINCT FROM false THEN
    warn_session := @extschema@._advisory_keys_warn_session(session);
  END IF;
  IF pg_is_in_recovery() THEN
    PERFORM @extschema@._advisory_keys_refuse_standby();
  END IF;
  IF timeout = '0' AND cardinality(sorted) = 1 AND NOT warn_session THEN
    -- The commonest call; with one key there is nothing to give back.
    RETURN CASE WHEN NOT @extschema@._advisory_keys_try(sorted[1], shared, session) THEN sorted[1] END;
  END IF;

  BEGIN
    FOREACH k IN ARRAY sorted LOOP
      taken := CASE WHEN @extschema@._advisory_keys_try(k, shared, session) THEN taken || k ELSE taken END;
      CONTINUE WHEN k = taken[cardinality(taken)];

      missing := k;
      EXIT WHEN timeout = '0';
      IF deadline IS NULL THEN
        begun := clock_timestamp();
        lock_timeout := current_setting('lock_timeout');
        deadline := @extschema@._advisory_keys_deadline(timeout);
      END IF;
      left_ms := @extschema@._advisory_keys_left(deadline);
      EXIT WHEN left_ms IS NULL;

      waiting := true;
      BEGIN
        PERFORM set_config('lock_timeout', left_ms::text, true);
        PERFORM @extschema@._advisory_keys_wait(k, shared, session);
        PERFORM set_config('lock_timeout', lock_timeout, true);
      EXCEPTION WHEN lock_not_available THEN
        PERFORM @extschema@._advisory_keys_refuse_late(begun);
        EXIT WHEN NOT session OR NOT @extschema@._advisory_keys_is_held(k, shared);
      END;
      taken := taken || k;
      missing := NULL;
      waiting := false;
      waited := true;
    END LOOP;

    IF missing IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = 'AK001';
    END IF;
    IF waited THEN
      GET DIAGNOSTICS callers = PG_CONTEXT;
      PERFORM @extschema@._advisory_keys_warn_snapshot(session, callers);
    END IF;
    IF warn_session THEN
      PERFORM @extschema@._advisory_keys_session_lock_taken();
    END IF;
    RETURN NULL;
  EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
    IF session THEN
      waiting := waiting AND k IS DISTINCT FROM taken[cardinality(taken)];
      WHILE cardinality(taken) > 0 LOOP
        taken := CASE WHEN @extschema@._advisory_keys_unlock(taken[cardinality(taken)], shared) THEN trim_array(taken, 1) END;
      END LOOP;
      IF waiting AND SQLSTATE <> 'AK001' AND @extschema@._advisory_keys_is_held(k, shared) THEN
        PERFORM @extschema@._advisory_keys_unlock(k, shared);
      END IF;
    END IF;
    IF SQLSTATE = 'AK001' THEN
      RETURN missing;
    END IF;
    RAISE;
  END;
END $$;

-- The error for a key that could not be had in time.
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_refuse(missing bigint, keys text[], timeout interval, shared boolean) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'lock_not_available',
    MESSAGE = 'could not obtain advisory lock ' || @extschema@._advisory_keys_in_time(timeout),
    DETAIL = concat('Key ', @extschema@._advisory_keys_shown(keys, missing), ' is ', @extschema@._advisory_keys_held_by(missing, shared, NULL), '.'),
    HINT = 'Try again, allow more time, or look in advisory_locks for who holds and who waits.';
END $$;

CREATE OR REPLACE FUNCTION @extschema@.try_lock_keys(
  keys text[], timeout interval DEFAULT '0', shared boolean DEFAULT false, session boolean DEFAULT false)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 10000 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN @extschema@._advisory_keys_lock(keys, timeout, shared, session) IS NULL;
END $$;

CREATE OR REPLACE FUNCTION @extschema@.lock_keys(
  keys text[], timeout interval DEFAULT NULL, shared boolean DEFAULT false, session boolean DEFAULT false)
RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 10000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  missing bigint;
BEGIN
  missing := @extschema@._advisory_keys_lock(keys, timeout, shared, session);
  IF missing IS NOT NULL THEN
    PERFORM @extschema@._advisory_keys_refuse(missing, keys, timeout, shared);
  END IF;
END $$;

-- As lock_keys: what runs in PL/pgSQL has a snapshot all the time.
CREATE OR REPLACE PROCEDURE @extschema@.acquire_keys(
  keys text[], timeout interval DEFAULT NULL, shared boolean DEFAULT false, session boolean DEFAULT false)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  missing bigint;
BEGIN
  missing := @extschema@._advisory_keys_lock(keys, timeout, shared, session);
  IF missing IS NOT NULL THEN
    PERFORM @extschema@._advisory_keys_refuse(missing, keys, timeout, shared);
  END IF;
END $$;

-- As in _advisory_keys_lock, what is taken is noted by the statement that takes it, and all that ends otherwise leaves
-- through the outer block.
CREATE OR REPLACE FUNCTION @extschema@.claim_keys(
  keys text[], wanted integer DEFAULT 1, shared boolean DEFAULT false, session boolean DEFAULT false)
RETURNS integer[]
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 10000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  most bigint;
  warn_session boolean;
  held bigint[];
  name text[];
  k bigint;
  number int := 0;
  taken bigint[] := ARRAY[]::bigint[];
  claimed int[] := ARRAY[]::int[];
BEGIN
  IF EXISTS (SELECT FROM unnest(keys) AS part WHERE part IS NULL) THEN
    PERFORM @extschema@._advisory_keys_key(keys);
  END IF;
  -- Of the first row only: the key of any other is computed when its turn comes.
  PERFORM @extschema@._advisory_keys_begin(coalesce(keys[array_lower(keys, 1) : array_lower(keys, 1)], keys), coalesce(shared, false));
  IF wanted IS NULL THEN
    RAISE EXCEPTION 'argument "wanted" must not be null' USING ERRCODE = 'null_value_not_allowed', HINT = 'Pass how many of the keys to lock.';
  ELSIF wanted < 1 THEN
    RAISE EXCEPTION 'wanted must be at least 1' USING ERRCODE = 'invalid_parameter_value', HINT = 'Pass how many of the keys to lock.';
  ELSIF shared IS NULL THEN
    RAISE EXCEPTION 'argument "shared" must not be null' USING ERRCODE = 'null_value_not_allowed', HINT = 'Pass true or false.';
  END IF;
  warn_session := session IS DISTINCT FROM false AND @extschema@._advisory_keys_warn_session(session);
  IF pg_is_in_recovery() THEN
    PERFORM @extschema@._advisory_keys_refuse_standby();
  END IF;
  most := @extschema@._advisory_keys_most();
  IF wanted > most THEN
    PERFORM @extschema@._advisory_keys_refuse_many('The call wants ' || wanted || ' keys', most, 'Claim fewer at once');
  END IF;

  IF array_ndims(keys) = 1 THEN
    keys := ARRAY[keys];
  END IF;
  held := ARRAY(SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND pid = pg_backend_pid() AND granted);
  BEGIN
    FOREACH name SLICE 1 IN ARRAY keys LOOP
      number := number + 1;
      k := @extschema@.advisory_key(name);
      CONTINUE WHEN k = ANY (held) OR k = ANY (taken);
      taken := CASE WHEN @extschema@._advisory_keys_try(k, shared, session) THEN taken || k ELSE taken END;
      CONTINUE WHEN k IS DISTINCT FROM taken[cardinality(taken)];
      claimed := claimed || number;
      EXIT WHEN cardinality(claimed) = wanted;
    END LOOP;
    IF warn_session AND cardinality(claimed) > 0 THEN
      PERFORM @extschema@._advisory_keys_session_lock_taken();
    END IF;
    RETURN claimed;
  EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
    WHILE session AND cardinality(taken) > 0 LOOP
      taken := CASE WHEN @extschema@._advisory_keys_unlock(taken[cardinality(taken)], shared) THEN trim_array(taken, 1) END;
    END LOOP;
    RAISE;
  END;
END $$;

CREATE OR REPLACE FUNCTION @extschema@.unlock_keys(keys text[], shared boolean DEFAULT false) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 10000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  sorted CONSTANT bigint[] := @extschema@._advisory_keys_begin(keys, shared);
  k bigint;
  message text;
  fact text;
  cure text;
  released boolean := true;
BEGIN
  FOREACH k IN ARRAY sorted LOOP
    CONTINUE WHEN @extschema@._advisory_keys_unlock(k, shared);
    released := false;
    IF @extschema@._advisory_keys_is_held(k, shared) THEN
      fact := ' is held at transaction level.';
      cure := 'It is released when the transaction ends.';
    ELSIF @extschema@._advisory_keys_is_held(k, NOT shared) THEN
      fact := ' is held in the other mode.';
      cure := CASE WHEN shared THEN 'unlock_keys() releases it, without shared => true'
        ELSE 'Pass shared => true to release it; a slot, by unlock_slot()' END || '. What is held at transaction level is released when the transaction ends.';
    ELSE
      fact := ' is not held.';
      cure := NULL;
    END IF;
    message := 'this session does not hold the ' || CASE WHEN shared THEN 'shared' ELSE 'exclusive' END
      || ' advisory lock at session level';
    fact := 'Key ' || @extschema@._advisory_keys_shown(keys, k) || fact;
    IF cure IS NULL THEN
      RAISE WARNING USING MESSAGE = message, DETAIL = fact;
    ELSE
      RAISE WARNING USING MESSAGE = message, DETAIL = fact, HINT = cure;
    END IF;
  END LOOP;
  RETURN released;
END $$;

CREATE OR REPLACE FUNCTION @extschema@.release_keys(keys text[], shared boolean DEFAULT false) RETURNS integer
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 10000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  sorted CONSTANT bigint[] := @extschema@._advisory_keys_begin(keys, shared);
  k bigint;
  released int := 0;
BEGIN
  FOREACH k IN ARRAY sorted LOOP
    -- Asked first, since core has a warning for what is not held; so it has for what the transaction holds.
    WHILE @extschema@._advisory_keys_is_held(k, shared) LOOP
      EXIT WHEN NOT @extschema@._advisory_keys_unlock(k, shared);
      released := released + 1;
    END LOOP;
  END LOOP;
  RETURN released;
END $$;

CREATE OR REPLACE FUNCTION @extschema@.holds_keys(keys text[], shared boolean DEFAULT false) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 1000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  sorted CONSTANT bigint[] := @extschema@._advisory_keys_begin(keys, shared);
BEGIN
  RETURN cardinality(sorted) = (
    SELECT count(DISTINCT (classid::bigint << 32) | objid::bigint) FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND pid = pg_backend_pid() AND granted
      AND mode IN ('ExclusiveLock', CASE WHEN shared THEN 'ShareLock' END)
      AND (classid::bigint << 32) | objid::bigint = ANY (sorted));
END $$;

CREATE OR REPLACE FUNCTION @extschema@.keys_available(keys text[], shared boolean DEFAULT false) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 1000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  sorted CONSTANT bigint[] := @extschema@._advisory_keys_begin(keys, shared);
BEGIN
  RETURN NOT EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND pid IS DISTINCT FROM pg_backend_pid() AND granted
      AND mode IN ('ExclusiveLock', CASE WHEN NOT shared THEN 'ShareLock' END)
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (classid::bigint << 32) | objid::bigint = ANY (sorted));
END $$;

-- Slots. A holder of one is a session that holds the key shared; so many may do that as the call says. Others wait in the
-- queue of a lock of Postgres' own on the key's twin, the same 64 bits as a pair of integers. Its holder is the head of
-- the queue, who looks for a place every 20 ms. The twin of the complement breaks ties.
--
-- Who holds the key shared, in other sessions and this one; whether this session holds it in whatever mode; whether
-- anybody has a place in the queue. One look sees them all at the same moment. PL/pgSQL plans it once.
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_places(key bigint, OUT holders int, OUT mine boolean, OUT queued boolean)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  SELECT count(*) FILTER (WHERE objsubid = 1 AND granted AND mode = 'ShareLock')::int,
         coalesce(bool_or(objsubid = 1 AND granted AND pid = pg_backend_pid()), false),
         coalesce(bool_or(objsubid = 2 AND mode = 'ExclusiveLock'), false)
    INTO holders, mine, queued
    FROM pg_locks
    WHERE locktype = 'advisory'
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (classid::bigint << 32) | objid::bigint = key;
END $$;

-- The key of the one name that a function takes, and the error for several.
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_one(key text[], function text) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  IF key IS NULL THEN
    PERFORM @extschema@._advisory_keys_key(key);
  ELSIF array_ndims(key) = 2 AND NOT EXISTS (SELECT FROM unnest(key) AS part WHERE part IS NULL) THEN
    RAISE EXCEPTION USING ERRCODE = '2202E', MESSAGE = function || ' takes one key',
      DETAIL = 'The array has 2 dimensions, which is several keys.',
      HINT = 'Pass the parts of one key as a one-dimensional array.';
  END IF;
  RETURN (@extschema@._advisory_keys_begin(key, true))[1];
END $$;

-- Takes a slot, or returns false when none could be had in time.
--
-- Places in the queues are locked at transaction level within a block that ends by an error, which gives them back
-- whatever happens. The slot has to outlive that block, so it is taken at session level, and becomes one of the
-- transaction's afterwards. Who has taken it counts all holders once more: of any that came at the same moment, the
-- last one sees all the others, so there are never too many. If there are, they give way one after the other, while
-- too many are left: so one is never refused while there is room.
CREATE OR REPLACE FUNCTION @extschema@._advisory_keys_slot(
  key text[], slots integer, timeout interval, session boolean, function text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $$
DECLARE
  k bigint;
  high int;
  low int;
  warn_session boolean;
  holders int;
  mine boolean;
  queued boolean;
  head boolean := false;
  taken boolean := false;    -- at session level
  waiting boolean := false;  -- for that
  granted boolean;
  begun timestamptz;
  deadline timestamptz;
  left_ms bigint;
  callers text;
BEGIN
  k := @extschema@._advisory_keys_one(key, function);
  IF slots IS NULL THEN
    RAISE EXCEPTION 'argument "slots" must not be null' USING ERRCODE = 'null_value_not_allowed',
      HINT = 'Pass how many sessions may hold the name at once.';
  ELSIF slots < 1 THEN
    RAISE EXCEPTION 'slots must be at least 1' USING ERRCODE = 'invalid_parameter_value',
      HINT = 'Pass how many sessions may hold the name at once.';
  ELSIF timeout < '0' THEN
    PERFORM @extschema@._advisory_keys_refuse_timeout(timeout);
  END IF;
  warn_session := session IS DISTINCT FROM false AND @extschema@._advisory_keys_warn_session(session);
  IF pg_is_in_recovery() THEN
    PERFORM @extschema@._advisory_keys_refuse_standby();
  END IF;
  high := (k >> 32)::int;
  low := ((k << 32) >> 32)::int;

  BEGIN
    SELECT places.holders, places.mine, places.queued INTO holders, mine, queued FROM @extschema@._advisory_keys_places(k) AS places;
    IF mine THEN
      -- Once more, for which nobody waits; trying could fail because others do.
      taken := @extschema@._advisory_keys_wait(k, true, session) IS NOT NULL AND session;
      granted := true;
    ELSE
      BEGIN
        LOOP
          IF holders < slots AND (head OR NOT queued) THEN
            taken := @extschema@._advisory_keys_try(k, true, true);
            IF NOT taken AND head THEN
              -- Somebody holds the key exclusively, or waits for that: in line behind him, and before the next one.
              waiting := true;
              PERFORM set_config('lock_timeout', coalesce(@extschema@._advisory_keys_left(deadline), 1)::text, true);
              taken := @extschema@._advisory_keys_wait(k, true, true) IS NOT NULL;
              waiting := false;
            END IF;
            IF taken AND (@extschema@._advisory_keys_places(k)).holders > slots THEN
              BEGIN
                PERFORM set_config('lock_timeout', '100', true);
                PERFORM pg_advisory_xact_lock(~high, ~low);
                IF (@extschema@._advisory_keys_places(k)).holders > slots THEN
                  taken := NOT @extschema@._advisory_keys_unlock(k, true);
                END IF;
                RAISE EXCEPTION USING ERRCODE = 'AK001';
              EXCEPTION
                WHEN SQLSTATE 'AK001' THEN
                  NULL;
                WHEN lock_not_available THEN
                  taken := NOT @extschema@._advisory_keys_unlock(k, true);
              END;
            END IF;
            EXIT WHEN taken;
          END IF;

          EXIT WHEN timeout = '0';
          IF deadline IS NULL THEN
            begun := clock_timestamp();
            deadline := @extschema@._advisory_keys_deadline(timeout);
          END IF;
          left_ms := @extschema@._advisory_keys_left(deadline);
          EXIT WHEN left_ms IS NULL;
          IF head THEN
            PERFORM pg_sleep(least(20, nullif(left_ms, 0)) / 1000.0);
          ELSE
            PERFORM set_config('lock_timeout', left_ms::text, true);
            PERFORM pg_advisory_xact_lock(high, low);
            head := true;
          END IF;
          holders := (@extschema@._advisory_keys_places(k)).holders;
        END LOOP;
        RAISE EXCEPTION USING ERRCODE = 'AK001';
      EXCEPTION
        WHEN SQLSTATE 'AK001' THEN
          NULL;
        WHEN lock_not_available THEN
          PERFORM @extschema@._advisory_keys_refuse_late(begun);
          IF waiting AND @extschema@._advisory_keys_is_held(k, true) THEN
            PERFORM @extschema@._advisory_keys_unlock(k, true);
          END IF;
          waiting := false;
      END;
      granted := taken;
      IF taken AND NOT session THEN
        PERFORM @extschema@._advisory_keys_wait(k, true, false);
        taken := NOT @extschema@._advisory_keys_unlock(k, true);
      END IF;
      IF granted AND deadline IS NOT NULL THEN
        GET DIAGNOSTICS callers = PG_CONTEXT;
        PERFORM @extschema@._advisory_keys_warn_snapshot(session, callers);
      END IF;
    END IF;
    IF granted AND warn_session THEN
      PERFORM @extschema@._advisory_keys_session_lock_taken();
    END IF;
    RETURN granted;
  EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN
    IF taken OR waiting AND @extschema@._advisory_keys_is_held(k, true) THEN
      PERFORM @extschema@._advisory_keys_unlock(k, true);
    END IF;
    RAISE;
  END;
END $$;

CREATE OR REPLACE FUNCTION @extschema@.try_lock_slot(
  key text[], slots integer, timeout interval DEFAULT '0', session boolean DEFAULT false)
RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 10000 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN @extschema@._advisory_keys_slot(key, slots, timeout, session, 'try_lock_slot');
END $$;

CREATE OR REPLACE FUNCTION @extschema@.lock_slot(
  key text[], slots integer, timeout interval DEFAULT NULL, session boolean DEFAULT false)
RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 10000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  k bigint;
BEGIN
  IF NOT @extschema@._advisory_keys_slot(key, slots, timeout, session, 'lock_slot') THEN
    k := @extschema@._advisory_keys_key(key);
    RAISE EXCEPTION USING ERRCODE = 'lock_not_available',
      MESSAGE = 'could not obtain a slot ' || @extschema@._advisory_keys_in_time(timeout),
      DETAIL = concat('Key ', @extschema@._advisory_keys_shown(key, k), ' has ', slots, CASE WHEN slots > 1 THEN ' slots and is ' ELSE ' slot and is ' END,
        @extschema@._advisory_keys_held_by(k, false, slots), '.'),
      HINT = 'Try again, allow more time, or look in advisory_locks for who holds and who waits.';
  END IF;
END $$;

CREATE OR REPLACE FUNCTION @extschema@.unlock_slot(key text[]) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 10000 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM @extschema@._advisory_keys_one(key, 'unlock_slot');
  RETURN @extschema@.unlock_keys(key, shared => true);
END $$;

CREATE OR REPLACE FUNCTION @extschema@.slots_held(key text[]) RETURNS integer
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 1000 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (@extschema@._advisory_keys_places(@extschema@._advisory_keys_one(key, 'slots_held'))).holders;
END $$;

CREATE OR REPLACE FUNCTION @extschema@.advisory_key_name(key bigint) RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF key IS NULL THEN
    RAISE EXCEPTION 'argument "key" must not be null' USING ERRCODE = 'null_value_not_allowed',
      HINT = 'Pass the integer, as advisory_key() computes it.';
  END IF;
  RETURN NULL;
END $$;

-- Who has a place in the queue for a slot waits for the key, whose holders block him.
CREATE OR REPLACE VIEW @extschema@.advisory_locks AS
WITH locks AS MATERIALIZED (
  SELECT (classid::bigint << 32) | objid::bigint AS key, objsubid = 1 AS is_key, mode, granted, pid, waitstart
    FROM pg_locks
   WHERE locktype = 'advisory' AND objsubid IN (1, 2) AND mode IN ('ExclusiveLock', 'ShareLock')
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
), holders AS (
  SELECT key, array_agg(coalesce(pid, 0)) AS pids FROM locks WHERE is_key AND granted GROUP BY key
)
SELECT l.key,
       NULL::text AS name,
       CASE WHEN is_key AND l.mode = 'ExclusiveLock' THEN 'exclusive' ELSE 'shared' END AS mode,
       is_key AND l.granted AS granted, l.pid, l.waitstart AS waiting_since,
       CASE WHEN NOT is_key THEN h.pids WHEN NOT l.granted THEN pg_blocking_pids(l.pid) END AS blocked_by,
       a.usename, a.application_name, a.client_addr, a.state, a.xact_start, a.query,
       NULL::timestamptz AS held_since, NULL::text AS level
  FROM locks AS l
  LEFT JOIN holders AS h ON h.key = l.key AND NOT is_key
  LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
 WHERE is_key OR l.mode = 'ExclusiveLock' AND h.pids IS NOT NULL
   AND NOT EXISTS (SELECT FROM locks AS own WHERE own.key = l.key AND own.pid = l.pid AND own.is_key AND NOT own.granted);

GRANT SELECT ON @extschema@.advisory_locks TO PUBLIC;

COMMENT ON FUNCTION @extschema@.advisory_key(text[]) IS
'advisory lock key (bigint) of one name: the first 8 bytes of the SHA-256 of its parts in UTF-8, joined with ''-''';

COMMENT ON FUNCTION @extschema@.try_lock_keys(text[], interval, boolean, boolean) IS
'lock one name (one dimension) or several (one in each row), all or none; false when they could not be had within the timeout (default: without waiting). At transaction level unless session => true';

COMMENT ON FUNCTION @extschema@.lock_keys(text[], interval, boolean, boolean) IS
'lock one name (one dimension) or several (one in each row), all or none; error 55P03 when they could not be had within the timeout (default: wait without limit of its own). At transaction level unless session => true';

COMMENT ON PROCEDURE @extschema@.acquire_keys(text[], interval, boolean, boolean) IS
'lock as lock_keys does, with CALL; only in the native extension it waits without a snapshot';

COMMENT ON FUNCTION @extschema@.claim_keys(text[], integer, boolean, boolean) IS
'lock the first names that are free, one in each row, as many as are wanted and without waiting; the numbers of their rows, from 1. Skips what this session holds. At transaction level unless session => true';

COMMENT ON FUNCTION @extschema@.try_lock_slot(text[], integer, interval, boolean) IS
'hold one name together with others, so many sessions at most; false when that could not be had within the timeout (default: without waiting). A shared lock on the name, at transaction level unless session => true';

COMMENT ON FUNCTION @extschema@.lock_slot(text[], integer, interval, boolean) IS
'hold one name together with others, so many sessions at most; error 55P03 when that could not be had within the timeout (default: wait without limit of its own). A shared lock on the name, at transaction level unless session => true';

COMMENT ON FUNCTION @extschema@.unlock_slot(text[]) IS
'release one session-level hold of a slot of a name, as unlock_keys does with shared => true; false, with a warning, when there is none';

COMMENT ON FUNCTION @extschema@.slots_held(text[]) IS
'how many sessions hold a slot of a name, or a shared lock on it, at this moment; locks nothing';

COMMENT ON FUNCTION @extschema@.unlock_keys(text[], boolean) IS
'release one session-level hold of each name; false, with a warning for each, when some were not held so';

COMMENT ON FUNCTION @extschema@.release_keys(text[], boolean) IS
'release every session-level hold of each name, however often it was locked; how many there were';

COMMENT ON FUNCTION @extschema@.holds_keys(text[], boolean) IS
'does this session hold all of the names (shared => true: at least shared), at transaction or session level';

COMMENT ON FUNCTION @extschema@.keys_available(text[], boolean) IS
'does no other session hold a conflicting lock on any of the names at this moment; locks nothing';

COMMENT ON FUNCTION @extschema@.advisory_key_name(bigint) IS
'always NULL: names are recorded by the native extension only';

COMMENT ON VIEW @extschema@.advisory_locks IS
'who holds and who waits for the bigint advisory locks of this database, whoever took them';

COMMENT ON COLUMN @extschema@.advisory_locks.key IS 'the integer, as advisory_key() computes it';
COMMENT ON COLUMN @extschema@.advisory_locks.name IS 'always NULL: names are recorded by the native extension only';
COMMENT ON COLUMN @extschema@.advisory_locks.mode IS 'exclusive or shared';
COMMENT ON COLUMN @extschema@.advisory_locks.granted IS 'true for a holder, false for a waiter';
COMMENT ON COLUMN @extschema@.advisory_locks.pid IS 'the process; NULL for a prepared transaction';
COMMENT ON COLUMN @extschema@.advisory_locks.waiting_since IS 'when the waiter began to wait';
COMMENT ON COLUMN @extschema@.advisory_locks.blocked_by IS 'of a waiter: the processes that it waits for, 0 for a prepared transaction; for a slot: all that hold one';
COMMENT ON COLUMN @extschema@.advisory_locks.usename IS 'whose session it is, as in pg_stat_activity';
COMMENT ON COLUMN @extschema@.advisory_locks.application_name IS 'what its client calls itself, as in pg_stat_activity';
COMMENT ON COLUMN @extschema@.advisory_locks.client_addr IS 'where its client is, as in pg_stat_activity; NULL on a Unix socket, and when not for this user to see';
COMMENT ON COLUMN @extschema@.advisory_locks.state IS 'what it is doing, as in pg_stat_activity; NULL when not for this user to see';
COMMENT ON COLUMN @extschema@.advisory_locks.xact_start IS 'when its transaction began, as in pg_stat_activity; NULL without one, and when not for this user to see';
COMMENT ON COLUMN @extschema@.advisory_locks.query IS 'its current or last statement, as in pg_stat_activity';
COMMENT ON COLUMN @extschema@.advisory_locks.held_since IS 'always NULL: it is noted by the native extension only';
COMMENT ON COLUMN @extschema@.advisory_locks.level IS 'always NULL: it is noted by the native extension only';

$edition$, '@extschema@', quote_ident(home));

-- What 0.1.0 had besides, which nothing calls any more.
FOR replaced IN SELECT oid FROM pg_proc WHERE pronamespace = quote_ident(home)::regnamespace AND proname IN
  ('_advisory_keys_of', '_advisory_keys_mode', '_advisory_keys_level', '_advisory_keys_held', '_advisory_keys_name', '_advisory_keys_holders')
LOOP
  EXECUTE 'DROP FUNCTION ' || replaced;
END LOOP;

-- Others may have created something since they were looked for.
EXECUTE refuse_strangers;
PERFORM set_config('search_path', search_path, true);
END $install$;
