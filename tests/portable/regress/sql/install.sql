-- Installing, upgrading and uninstalling the portable edition, and that it and the extension keep away
-- from each other.
\getenv srcdir PG_ABS_SRCDIR
\set file :srcdir '/portable.sql'
\set VERBOSITY sqlstate

-- Into any schema, and again over itself, also while its locks are held.
CREATE SCHEMA "regress ak schema";
SET search_path = "regress ak schema", public;
\set ECHO none
\o /dev/null
\i :file
\o
\set ECHO all
SELECT try_lock_keys('{a}', session => true);
\set ECHO none
\o /dev/null
\i :file
\o
\set ECHO all
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

-- Uninstalling as its file says leaves nothing, and the extension has its way.
\! sed -n '/^-- Uninstall/,/^--$/s/^--   //p' "$PG_ABS_SRCDIR/portable.sql" > "$PG_ABS_SRCDIR/uninstall.sql"
\set uninstall :srcdir '/uninstall.sql'
BEGIN;
\i :uninstall
SET search_path = "regress ak schema";
\i :uninstall
SELECT count(*) FROM pg_proc WHERE proname LIKE '%advisory\_keys%' OR proname LIKE '%lock\_keys';
CREATE EXTENSION advisory_keys SCHEMA regress_ak_schema;
SELECT regress_ak_schema.advisory_key('{order,42}');

-- Beside the extension it is refused: this is how its file begins.
\set check `sed -n '/^DO/,/^END/p' "$PG_ABS_SRCDIR/portable.sql"`
\set VERBOSITY default
:check
ROLLBACK;

SET client_min_messages = warning;
DROP SCHEMA regress_ak_schema, "regress ak schema" CASCADE;
SELECT try_lock_keys('{a}');
