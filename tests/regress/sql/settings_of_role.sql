-- Session-level locks can be switched off for a role that comes through a transaction pooler, and
-- the role cannot switch them on again.
SELECT current_user AS superuser \gset
CREATE ROLE regress_ak_pooled LOGIN;
ALTER ROLE regress_ak_pooled SET advisory_keys.session_locks = off;

\c - regress_ak_pooled
SELECT lock_keys(ARRAY['a'], session => true);
BEGIN;
SELECT try_lock_keys(ARRAY['a']);
COMMIT;
SHOW advisory_keys.session_locks;
SET advisory_keys.session_locks = on;
SHOW advisory_keys.session_locks;
RESET ALL;
DISCARD ALL;
SHOW advisory_keys.session_locks;

-- Not even before the library is loaded, when Postgres does not know the setting yet. How that is
-- refused depends on when it is loaded.
\c - regress_ak_pooled
SET client_min_messages = error;
DO $$
BEGIN
    SET advisory_keys.session_locks = on;
EXCEPTION WHEN insufficient_privilege THEN
    NULL;
END $$;
SELECT advisory_key(ARRAY['order', '42']);
RESET client_min_messages;
SHOW advisory_keys.session_locks;
SELECT lock_keys(ARRAY['a'], session => true);

-- A superuser who takes on the role keeps its own settings. The session before may not have ended yet.
\c - :superuser
SET ROLE regress_ak_pooled;
SELECT try_lock_keys(ARRAY['a'], timeout => '1 min', session => true), unlock_keys(ARRAY['a']);
RESET ROLE;

-- The same with a warning, for one database.
ALTER ROLE regress_ak_pooled RESET advisory_keys.session_locks;
DO $$
BEGIN
    EXECUTE format('ALTER ROLE regress_ak_pooled IN DATABASE %I SET advisory_keys.session_locks = warn', current_database());
END $$;
\c - regress_ak_pooled
SELECT lock_keys(ARRAY['a'], session => true);
SELECT unlock_keys(ARRAY['a']);

\c - :superuser
DROP ROLE regress_ak_pooled;
