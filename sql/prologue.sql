\echo Use "CREATE EXTENSION advisory_keys" to load this file. \quit

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
