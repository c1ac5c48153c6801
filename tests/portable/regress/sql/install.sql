-- Installing, upgrading and uninstalling the portable edition, and that it and the extension keep away
-- from each other.
\getenv srcdir PG_ABS_SRCDIR
\set install `cat "$PG_ABS_SRCDIR/portable.sql"`
\set VERBOSITY sqlstate

-- Into any schema, and again over itself, also while its locks are held.
CREATE SCHEMA "regress ak schema";
SET search_path = "regress ak schema", public;
:install
SELECT try_lock_keys('{a}', session => true);
:install
SHOW search_path;
SELECT "regress ak schema".unlock_keys('{a}');

-- It works there without being in the search_path, whatever else is.
SET search_path = '';
SELECT "regress ak schema".try_lock_keys('{{a},{b}}', session => true), "regress ak schema".holds_keys('{{b},{a}}'),
    "regress ak schema".keys_available('{a}'), "regress ak schema".unlock_keys('{{a},{b}}'),
    "regress ak schema".advisory_key('{order,42}');
SELECT count(*) FROM "regress ak schema".advisory_locks;
RESET search_path;

-- The extension is refused, in whatever schema.
CREATE SCHEMA regress_ak_schema;
CREATE EXTENSION advisory_keys SCHEMA regress_ak_schema;
\set VERBOSITY default
CREATE EXTENSION advisory_keys SCHEMA "regress ak schema";
\set VERBOSITY sqlstate

-- Who may create objects in a schema may install it there, without being a superuser, and all may call it.
CREATE ROLE regress_ak_owner;
CREATE ROLE regress_ak_guest;
BEGIN;
CREATE SCHEMA regress_ak_owned AUTHORIZATION regress_ak_owner;
GRANT USAGE ON SCHEMA regress_ak_owned TO regress_ak_guest;
SET LOCAL search_path = regress_ak_owned;
SET LOCAL ROLE regress_ak_owner;
:install
SET LOCAL ROLE regress_ak_guest;
SELECT regress_ak_owned.try_lock_keys('{{a},{b}}', timeout => '1 s', session => true),
    regress_ak_owned.holds_keys('{a}'), regress_ak_owned.keys_available('{b}'),
    regress_ak_owned.unlock_keys('{{a},{b}}'), regress_ak_owned.advisory_key('{order,42}');
-- That of the installation itself, until the transaction ends.
SELECT key = regress_ak_owned.advisory_key('{ADVISORY-KEYS,install}') AS of_installation FROM regress_ak_owned.advisory_locks;
ROLLBACK;
DROP ROLE regress_ak_owner, regress_ak_guest;

-- It goes nowhere by itself when the search_path names no schema that exists.
SET search_path = regress_ak_nowhere;
\set VERBOSITY default
:install
\set VERBOSITY sqlstate
RESET search_path;

-- Uninstalling as its file says leaves nothing, and the extension has its way.
\! sed -n '/^-- Uninstall/,/^--$/s/^--   //p' "$PG_ABS_SRCDIR/portable.sql" > "$PG_ABS_SRCDIR/uninstall.sql"
\set uninstall :srcdir '/uninstall.sql'
BEGIN;
\i :uninstall
SET search_path = "regress ak schema";
\i :uninstall
SELECT proname FROM pg_proc WHERE pronamespace <> 'pg_catalog'::regnamespace AND proname ~ 'advisory_key|_keys';
CREATE EXTENSION advisory_keys SCHEMA regress_ak_schema;
SELECT regress_ak_schema.advisory_key('{order,42}');

-- Beside the extension it is refused.
\set VERBOSITY default
:install
ROLLBACK;

SET client_min_messages = warning;
DROP SCHEMA regress_ak_schema, "regress ak schema" CASCADE;
SELECT try_lock_keys('{a}');
