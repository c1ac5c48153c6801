-- advisory_leases 0.9.0: leases by name, with fencing tokens. Postgres 15 and later; needs nothing else, and uses the
-- names and keys of advisory_keys.
--
-- Install, as any role with CREATE in the database, in one of two ways:
--   CREATE EXTENSION advisory_leases;
--   psql -v ON_ERROR_STOP=1 -1 -f advisory_leases--0.9.0.sql
-- Everything is in the schema advisory_leases, which this makes. It belongs to a superuser in the first case, and to who
-- ran psql in the second: this role can then read and change all leases and what the functions do, and must not rename the
-- schema, since they would use whatever schema comes to have that name. Uninstall: DROP EXTENSION advisory_leases; or
-- DROP SCHEMA advisory_leases CASCADE;
--
-- The longest ttl is 31 days, unless the owner of the database says otherwise:
--   INSERT INTO advisory_leases.limits VALUES ('1 day');
SET LOCAL search_path = pg_catalog, pg_temp;
DO $$
BEGIN
  IF replace(current_setting('search_path'), '"', '') <> 'pg_catalog, pg_temp' THEN
    RAISE EXCEPTION 'advisory_leases must be installed in one transaction' USING ERRCODE = 'no_active_sql_transaction',
      DETAIL = 'Otherwise names in it could be those of strangers.', HINT = 'Use psql -1.';
  ELSIF to_regclass('advisory_leases.lease') IS NOT NULL THEN
    RAISE EXCEPTION 'advisory_leases is installed in this database already' USING ERRCODE = 'duplicate_schema',
      DETAIL = 'It is in the schema advisory_leases.',
      HINT = 'To install anew, drop the extension, or the schema: that ends all leases, and forgets their tokens.';
  END IF;
END $$;

CREATE SCHEMA advisory_leases;

-- The row of a name stays when its lease has ended, for the token, until it is cleaned up. Room is left in each page, so
-- that renewals need no new index entries; for the same reason no column that they change may have an index. Vacuum would lock
-- everybody out while it gives free pages back.
CREATE TABLE advisory_leases.lease (
  key bigint PRIMARY KEY,
  name text NOT NULL,
  token bigint NOT NULL,
  holder text,
  role regrole NOT NULL,
  taken_at timestamptz NOT NULL,
  renewed_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL
) WITH (fillfactor = 50, vacuum_truncate = false);

-- Append-only. A row that two have added at once is of no harm, and a constraint would have them wait for each other.
CREATE TABLE advisory_leases.epoch (epoch bigint NOT NULL, timeline bigint NOT NULL, place text NOT NULL);
CREATE INDEX ON advisory_leases.epoch (epoch);

CREATE TABLE advisory_leases.limits (max_ttl interval PRIMARY KEY CHECK (max_ttl > '0' AND isfinite(max_ttl)));

-- What all functions for calling begin with. Returns the role that they act for: that of SET ROLE, or of the session, since they
-- themselves run as another. Where Postgres runs the code of one role for another, in maintenance commands and workers, that would be
-- the wrong one: there it refuses DEALLOCATE, which elsewhere has nothing to do. (Not so in what a foreign key sets off.)
CREATE FUNCTION advisory_leases._begin(writes boolean, token bigint) RETURNS regrole
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  BEGIN
    DEALLOCATE "advisory_leases: who calls?";
  EXCEPTION WHEN invalid_sql_statement_name THEN
    NULL;
  END;
  IF writes AND current_setting('transaction_read_only')::boolean THEN
    RAISE EXCEPTION 'leases cannot be changed or fenced in a read-only transaction' USING ERRCODE = 'read_only_sql_transaction',
      DETAIL = CASE WHEN pg_is_in_recovery() THEN 'The server is a standby.' ELSE 'The transaction is read-only.' END,
      HINT = 'Call it on the primary, in a transaction that can write.';
  ELSIF token IS NULL THEN
    RAISE EXCEPTION 'argument "token" must not be null' USING ERRCODE = 'null_value_not_allowed',
      HINT = 'Pass what try_lease_key returned; NULL is no lease.';
  END IF;
  RETURN quote_ident(coalesce(nullif(current_setting('role'), 'none'), session_user))::regrole;
END $$;

-- The key of a name, as advisory_key() has it.
CREATE FUNCTION advisory_leases._key(key text[]) RETURNS bigint
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF array_ndims(key) = 1 AND array_position(key, NULL) IS NULL THEN
    RETURN ('x' || encode(substr(sha256(convert_to(array_to_string(key, '-'), 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint;
  ELSIF key IS NULL THEN
    RAISE EXCEPTION 'argument "key" must not be null' USING ERRCODE = 'null_value_not_allowed',
      HINT = 'Pass the parts of the key, for example ARRAY[''order'', ''42''].';
  ELSIF array_ndims(key) IS NULL THEN
    RAISE EXCEPTION 'a key needs at least one part' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = 'The array is empty.', HINT = 'Pass the parts of the key, for example ARRAY[''order'', ''42''].';
  ELSIF array_ndims(key) > 1 THEN
    RAISE EXCEPTION 'a lease has one key' USING ERRCODE = 'array_subscript_error',
      DETAIL = concat('The array has ', array_ndims(key), ' dimensions.'),
      HINT = 'Pass the parts of one key as a one-dimensional array.';
  END IF;
  RAISE EXCEPTION 'a part of a key must not be null' USING ERRCODE = 'null_value_not_allowed',
    DETAIL = concat('Part ', array_position(key, NULL) - array_lower(key, 1) + 1, ' is null.'),
    HINT = 'Use coalesce(), or leave the part out.';
END $$;

-- A ttl in seconds, so that no time zone makes a day of it longer; as such it is compared, too.
CREATE FUNCTION advisory_leases._seconds(ttl interval) RETURNS interval
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  most CONSTANT interval := coalesce((SELECT l.max_ttl FROM advisory_leases.limits AS l ORDER BY l.max_ttl LIMIT 1), '31 days');
BEGIN
  IF ttl IS NULL THEN
    RAISE EXCEPTION 'argument "ttl" must not be null' USING ERRCODE = 'null_value_not_allowed',
      HINT = 'A lease always ends: pass how long it lasts unless it is renewed.';
  ELSIF extract(epoch FROM ttl) <= 0 THEN
    RAISE EXCEPTION 'ttl must be more than 0' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = concat('It is ', ttl, '.'), HINT = 'Pass how long the lease lasts unless it is renewed, for example ''30 s''.';
  ELSIF extract(epoch FROM ttl) > extract(epoch FROM most) THEN
    RAISE EXCEPTION 'ttl is too long' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = concat('It is ', ttl, ', and may be ', most, ' at most.'),
      HINT = 'Take a shorter lease and renew it, or have the owner of the database change advisory_leases.limits.';
  END IF;
  RETURN make_interval(secs => extract(epoch FROM ttl)::float8);
END $$;

-- The least token that may be given now: the time in milliseconds, above it an epoch, which grows whenever another server or
-- timeline goes on with these rows, since its clock may be behind.
CREATE FUNCTION advisory_leases._token() RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  here CONSTANT text := (SELECT concat(system_identifier, '/', oid) FROM pg_control_system(), pg_database WHERE datname = current_database());
  line CONSTANT bigint := ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint;
  last_here text;
  last_line bigint;
  number bigint;
BEGIN
  SELECT e.epoch, e.timeline, e.place INTO number, last_line, last_here FROM advisory_leases.epoch AS e ORDER BY e.epoch DESC LIMIT 1;
  IF number IS NULL OR last_here <> here OR last_line <> line THEN
    number := coalesce(number, 0) + line - CASE WHEN last_here = here AND last_line < line THEN last_line ELSE 0 END;
    INSERT INTO advisory_leases.epoch VALUES (number, line, here);
  END IF;
  RETURN number * 17592186044416 + floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint;
END $$;

-- Removes those of the next keys whose lease, of a role whose rights the caller has, has ended, and had begun an hour ago or more: within an hour the clock may go back,
-- and the next token of the name is greater nevertheless. Keys are hashes, so the next ones are as good as any. It looks no further than
-- a 16th of them, since rows of others that are not committed do not count for the limit. Until the caller's transaction ends, nobody can take
-- those names, which is why strangers' are left alone.
CREATE FUNCTION advisory_leases._clean_up(beside bigint, fresh bigint, me regrole) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET enable_bitmapscan = off AS $$
DECLARE
  ended CONSTANT bigint[] := ARRAY(
    SELECT n.key FROM (
      SELECT l.key, l.token, l.role, l.expires_at FROM advisory_leases.lease AS l WHERE l.key > beside AND l.key <= beside | 1152921504606846975 ORDER BY l.key LIMIT 64) AS n
    WHERE n.expires_at < clock_timestamp() AND n.token < fresh - 3600000 AND pg_has_role(me, n.role, 'USAGE'));
  removed bigint;
BEGIN
  DELETE FROM advisory_leases.lease AS l WHERE l.key = ANY (ARRAY(
    SELECT o.key FROM advisory_leases.lease AS o
      WHERE o.key = ANY (ended) AND o.expires_at < clock_timestamp() AND o.token < fresh - 3600000 FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS removed = ROW_COUNT;
  IF removed < cardinality(ended) THEN
    -- One may have been taken between the look and the lock, for which its holder must not have to wait.
    RAISE EXCEPTION USING ERRCODE = 'lock_not_available';
  END IF;
EXCEPTION WHEN lock_not_available THEN
  NULL;
END $$;

CREATE FUNCTION advisory_leases.try_lease_key(key text[], ttl interval, holder text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 10000 SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '10ms' SET enable_seqscan = off AS $$
DECLARE
  me CONSTANT regrole := advisory_leases._begin(true, 0);
  k CONSTANT bigint := advisory_leases._key(key);
  joined CONSTANT text := left(array_to_string(key, '-'), 1000);
  lasts CONSTANT interval := advisory_leases._seconds(ttl);
  previous bigint;
  expiry timestamptz;
  is_new boolean;
  at timestamptz;
  fresh bigint;
BEGIN
  IF length(holder) > 200 THEN
    RAISE EXCEPTION 'holder is too long' USING ERRCODE = 'string_data_right_truncation',
      DETAIL = concat('It has ', length(holder), ' characters, and may have 200.'), HINT = 'Pass a short text that tells who holds the lease.';
  END IF;
  SELECT l.expires_at INTO expiry FROM advisory_leases.lease AS l WHERE l.key = k;
  is_new := NOT FOUND;
  IF expiry > clock_timestamp() THEN
    RETURN NULL;
  END IF;
  fresh := advisory_leases._token();
  -- A failure gives back the lock on a row that somebody else has taken in the meantime.
  BEGIN
    at := clock_timestamp();
    IF is_new THEN
      -- Waits for who takes the same name, as long as lock_timeout says.
      INSERT INTO advisory_leases.lease VALUES (k, joined, fresh, holder, me, at, at, at + lasts) ON CONFLICT DO NOTHING;
    ELSE
      SELECT l.token INTO previous FROM advisory_leases.lease AS l WHERE l.key = k FOR UPDATE SKIP LOCKED;
      fresh := greatest(previous + 1, fresh);
      UPDATE advisory_leases.lease AS l
        SET name = joined, token = fresh, holder = try_lease_key.holder, role = me, taken_at = at, renewed_at = at, expires_at = at + lasts
        WHERE l.key = k AND l.token = previous AND l.expires_at <= clock_timestamp();
    END IF;
    IF NOT FOUND THEN
      RAISE EXCEPTION USING ERRCODE = 'lock_not_available';
    END IF;
  EXCEPTION WHEN lock_not_available THEN
    RETURN NULL;
  END;
  -- What a client is told must survive a crash of the server.
  IF current_setting('synchronous_commit') IN ('off', 'local', 'remote_write') THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
  -- Now and then. In stricter isolation it would be a serialization failure that another has just taken one of those names.
  IF is_new AND mod(k, 16) = 0 AND current_setting('transaction_isolation') = 'read committed' THEN
    PERFORM advisory_leases._clean_up(k, fresh, me);
  END IF;
  RETURN fresh;
END $$;

CREATE FUNCTION advisory_leases.renew_lease_key(key text[], token bigint, ttl interval) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 10000 SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '10ms' SET enable_seqscan = off AS $$
DECLARE
  me CONSTANT regrole := advisory_leases._begin(true, token);
  k CONSTANT bigint := advisory_leases._key(key);
  lasts CONSTANT interval := advisory_leases._seconds(ttl);
  at CONSTANT timestamptz := clock_timestamp();
BEGIN
  UPDATE advisory_leases.lease AS l SET renewed_at = at, expires_at = at + lasts
    WHERE l.key = k AND l.token = renew_lease_key.token AND l.expires_at > clock_timestamp() AND pg_has_role(me, l.role, 'USAGE');
  IF NOT FOUND THEN
    RAISE no_data_found;
  END IF;
  IF current_setting('synchronous_commit') IN ('off', 'local', 'remote_write') THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
  RETURN true;
EXCEPTION
  WHEN no_data_found THEN
    RETURN false;
  WHEN lock_not_available THEN
    RAISE EXCEPTION 'could not renew the lease' USING ERRCODE = 'lock_not_available',
      DETAIL = 'Another transaction has changed it, and has not ended.', HINT = 'Try again, while the ttl lasts.';
END $$;

CREATE FUNCTION advisory_leases.release_lease_key(key text[], token bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 10000 SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '10ms' SET enable_seqscan = off AS $$
DECLARE
  me CONSTANT regrole := advisory_leases._begin(true, token);
  k CONSTANT bigint := advisory_leases._key(key);
BEGIN
  UPDATE advisory_leases.lease AS l SET expires_at = clock_timestamp()
    WHERE l.key = k AND l.token = release_lease_key.token AND l.expires_at > clock_timestamp()
      AND (pg_has_role(me, l.role, 'USAGE') OR pg_has_role(me, 'pg_database_owner', 'USAGE'));
  IF NOT FOUND THEN
    RAISE no_data_found;
  END IF;
  RETURN true;
EXCEPTION
  WHEN no_data_found THEN
    RETURN false;
  WHEN lock_not_available THEN
    RAISE EXCEPTION 'could not release the lease' USING ERRCODE = 'lock_not_available',
      DETAIL = 'Another transaction has changed it, and has not ended.', HINT = 'Try again, while the ttl lasts.';
END $$;

CREATE FUNCTION advisory_leases.holds_lease_key(key text[], token bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 1000 SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
  me CONSTANT regrole := advisory_leases._begin(false, token);
  k CONSTANT bigint := advisory_leases._key(key);
BEGIN
  RETURN EXISTS (SELECT FROM advisory_leases.lease AS l
    WHERE l.key = k AND l.token = holds_lease_key.token AND l.expires_at > clock_timestamp() AND pg_has_role(me, l.role, 'USAGE'));
END $$;

CREATE FUNCTION advisory_leases.fence_lease_key(key text[], token bigint) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 10000 SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '10ms' SET enable_seqscan = off AS $$
DECLARE
  me CONSTANT regrole := advisory_leases._begin(true, token);
  k CONSTANT bigint := advisory_leases._key(key);
BEGIN
  -- Takeover and cleanup lock FOR UPDATE, renewal and release FOR NO KEY UPDATE.
  PERFORM FROM advisory_leases.lease AS l
    WHERE l.key = k AND l.token = fence_lease_key.token AND l.expires_at > clock_timestamp() AND pg_has_role(me, l.role, 'USAGE')
    FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the lease is lost' USING ERRCODE = 'object_not_in_prerequisite_state',
      DETAIL = concat('No unexpired lease of "', left(array_to_string(key, '-'), 100), '" (', k, ') has the token ', token, ' and a role of yours.'),
      HINT = 'Roll back and stop what the lease was for; take it anew before going on.';
  END IF;
END $$;

-- OFFSET keeps conditions of who asks, and so the planner's estimates for them, from the rows of others.
CREATE VIEW advisory_leases.leases WITH (security_barrier) AS
  SELECT l.name, l.key, l.token, l.holder, pg_get_userbyid(l.role) AS role, l.taken_at, l.renewed_at, l.expires_at,
      l.expires_at <= clock_timestamp() AS expired
    FROM advisory_leases.lease AS l
    WHERE pg_has_role(l.role, 'USAGE') OR pg_has_role('pg_read_all_stats', 'USAGE') OR pg_has_role('pg_database_owner', 'USAGE')
    OFFSET 0;

-- Nothing is anybody's but what is granted here, whatever default privileges have granted.
DO $$
DECLARE
  revoke text;
BEGIN
  FOR revoke IN
    SELECT DISTINCT concat('REVOKE ALL ON ', object, ' FROM ', coalesce(nullif(grantee, 0)::regrole::text, 'PUBLIC'))
      FROM (
        SELECT 'SCHEMA advisory_leases', nspacl, nspowner FROM pg_namespace WHERE nspname = 'advisory_leases'
        UNION ALL SELECT concat('TABLE ', oid::regclass), relacl, relowner FROM pg_class
          WHERE relnamespace = 'advisory_leases'::regnamespace AND relkind IN ('r', 'v')
        UNION ALL SELECT concat('FUNCTION ', oid::regprocedure), coalesce(proacl, acldefault('f', proowner)), proowner FROM pg_proc
          WHERE pronamespace = 'advisory_leases'::regnamespace
      ) AS objects (object, acl, owner), aclexplode(acl) WHERE grantee <> owner
  LOOP
    EXECUTE revoke;
  END LOOP;
END $$;
GRANT USAGE ON SCHEMA advisory_leases TO PUBLIC;
GRANT SELECT ON advisory_leases.leases TO PUBLIC;
GRANT EXECUTE ON FUNCTION advisory_leases.try_lease_key, advisory_leases.renew_lease_key, advisory_leases.release_lease_key,
  advisory_leases.holds_lease_key, advisory_leases.fence_lease_key TO PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON advisory_leases.limits TO pg_database_owner;
-- For pg_dump.
GRANT SELECT ON advisory_leases.lease, advisory_leases.epoch TO pg_database_owner;

-- As an extension, pg_dump takes the rows along; it does so anyway with what psql has made.
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_extension WHERE extname = 'advisory_leases') THEN
    PERFORM pg_extension_config_dump('advisory_leases.lease', '');
    PERFORM pg_extension_config_dump('advisory_leases.epoch', '');
    PERFORM pg_extension_config_dump('advisory_leases.limits', '');
  END IF;
END $$;

COMMENT ON SCHEMA advisory_leases IS 'leases by name, with fencing tokens; the schema must keep its name';
COMMENT ON TABLE advisory_leases.lease IS 'one row for each name that is, or was not long ago, leased; see the view leases';
COMMENT ON TABLE advisory_leases.epoch IS 'which server and timeline went on with the leases, one epoch after the other';
COMMENT ON TABLE advisory_leases.limits IS 'the longest ttl; 31 days while this is empty';
COMMENT ON FUNCTION advisory_leases._begin(boolean, bigint) IS 'for the functions of this schema only: the role that they act for';
COMMENT ON FUNCTION advisory_leases._key(text[]) IS 'for the functions of this schema only: the key of a name';
COMMENT ON FUNCTION advisory_leases._seconds(interval) IS 'for the functions of this schema only: a ttl, checked';
COMMENT ON FUNCTION advisory_leases._token() IS 'for the functions of this schema only: the least token that may be given now';
COMMENT ON FUNCTION advisory_leases._clean_up(bigint, bigint, regrole) IS 'for the functions of this schema only: removes leases that have ended';
COMMENT ON FUNCTION advisory_leases.try_lease_key(text[], interval, text) IS
'lease one name for ttl; the token, greater than all that were committed for this name before, or NULL: it is leased, or another transaction is at it';
COMMENT ON FUNCTION advisory_leases.renew_lease_key(text[], bigint, interval) IS
'let a lease last ttl from now; false: it is lost, even if nobody has taken it since it expired';
COMMENT ON FUNCTION advisory_leases.release_lease_key(text[], bigint) IS
'end a lease, when the transaction commits; false: it is lost. The owner of the database may release any';
COMMENT ON FUNCTION advisory_leases.holds_lease_key(text[], bigint) IS 'is this lease held and not expired; locks nothing';
COMMENT ON FUNCTION advisory_leases.fence_lease_key(text[], bigint) IS
'nobody takes the name over until this transaction ends, or rolls back to a savepoint before the call, even if the lease expires; error 55000 when it is lost';
COMMENT ON VIEW advisory_leases.leases IS
'the leases of the roles whose rights one has; all for pg_read_all_stats and the owner of the database';
COMMENT ON COLUMN advisory_leases.leases.name IS 'the parts of the name, joined with ''-'', at most 1000 characters';
COMMENT ON COLUMN advisory_leases.leases.key IS 'the key of the name, as advisory_key() computes it';
COMMENT ON COLUMN advisory_leases.leases.token IS 'the fencing token: of two leases of one name, the later has the greater';
COMMENT ON COLUMN advisory_leases.leases.holder IS 'what the holder said about itself';
COMMENT ON COLUMN advisory_leases.leases.role IS 'the role that took it, and whose rights it takes to renew, release and fence';
COMMENT ON COLUMN advisory_leases.leases.taken_at IS 'when it was taken';
COMMENT ON COLUMN advisory_leases.leases.renewed_at IS 'when it was taken or last renewed';
COMMENT ON COLUMN advisory_leases.leases.expires_at IS 'when it ends, or was released, by the server''s clock';
COMMENT ON COLUMN advisory_leases.leases.expired IS 'has it ended; the row is kept for a while';
