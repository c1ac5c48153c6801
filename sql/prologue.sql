\echo Use "CREATE EXTENSION advisory_keys" to load this file. \quit

-- With both editions in one database it would be the search_path that decides which one is called.
DO $$
DECLARE
  home pg_catalog.text;
BEGIN
  SELECT pronamespace::pg_catalog.regnamespace INTO home FROM pg_catalog.pg_proc
    WHERE proname OPERATOR(pg_catalog.=) '_advisory_keys_lock' LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'the portable edition of advisory_keys is installed in this database'
      USING ERRCODE = 'object_not_in_prerequisite_state',
            DETAIL = pg_catalog.format('It is in the schema %s, and has the same functions as the extension.', home),
            HINT = 'Drop it first; its file says how.';
  END IF;
END $$;
