-- Installing, moving and removing the extension.
\set VERBOSITY sqlstate

-- Who may create objects in a database may create the extension there, without being a superuser.
CREATE ROLE regress_ak_owner;
CREATE ROLE regress_ak_guest;
BEGIN;
DO $$
BEGIN
    EXECUTE format('GRANT CREATE ON DATABASE %I TO regress_ak_owner', current_database());
END $$;
DROP EXTENSION advisory_keys;
SET ROLE regress_ak_owner;
CREATE SCHEMA regress_ak_schema;
CREATE EXTENSION advisory_keys SCHEMA regress_ak_schema;
SELECT extowner::regrole, extnamespace::regnamespace FROM pg_extension WHERE extname = 'advisory_keys';
SELECT regress_ak_schema.try_lock_keys('{a}', session => true), regress_ak_schema.unlock_keys('{a}');
-- That makes nobody a superuser: the functions belong to the one who installed Postgres.
SELECT count(*) AS not_of_bootstrap_superuser
FROM pg_proc WHERE pronamespace = 'regress_ak_schema'::regnamespace AND proowner <> 10;
ROLLBACK;
-- Others may not.
BEGIN;
DROP EXTENSION advisory_keys;
SET ROLE regress_ak_guest;
CREATE EXTENSION advisory_keys;
ROLLBACK;
DROP ROLE regress_ak_owner, regress_ak_guest;

-- It can be moved to another schema, also while its locks are held, and works there without being in
-- the search path.
BEGIN;
SELECT lock_keys('{a}');
CREATE SCHEMA regress_ak_schema;
ALTER EXTENSION advisory_keys SET SCHEMA regress_ak_schema;
SAVEPOINT moved;
SELECT holds_keys('{a}');
ROLLBACK TO SAVEPOINT moved;
SELECT regress_ak_schema.holds_keys('{a}'), regress_ak_schema.try_lock_keys('{{b},{c}}', timeout => '1 s'),
    regress_ak_schema.keys_available('{b}'), regress_ak_schema.advisory_key('{order,42}');
SELECT regress_ak_schema.lock_keys('{order,42}', session => true), regress_ak_schema.unlock_keys('{order,42}');
SELECT * FROM my_locks;
ROLLBACK;

-- What uses it keeps it from being dropped; locks do not, and are not lost.
CREATE TABLE uses_key (id int, key bigint GENERATED ALWAYS AS (advisory_key(ARRAY['acct', id::text])) STORED);
DROP EXTENSION advisory_keys;
DROP TABLE uses_key;
SELECT lock_keys('{a}', session => true);
BEGIN;
DROP EXTENSION advisory_keys;
SELECT * FROM my_locks;
CREATE EXTENSION advisory_keys;
SELECT holds_keys('{a}');
COMMIT;
SELECT unlock_keys('{a}');

-- A function of another schema that looks like one of the portable edition's, or is only temporary, keeps
-- nobody from installing.
BEGIN;
DROP EXTENSION advisory_keys;
CREATE FUNCTION pg_temp._advisory_keys_lock(text[], interval, boolean, boolean) RETURNS bigint RETURN 1;
CREATE FUNCTION _advisory_keys_lock() RETURNS bigint RETURN 1;
CREATE EXTENSION advisory_keys;
SELECT try_lock_keys('{a}');
ROLLBACK;
-- Nor does one of a role that could not install it.
CREATE ROLE regress_ak_stranger;
BEGIN;
DROP EXTENSION advisory_keys;
CREATE SCHEMA regress_ak_schema AUTHORIZATION regress_ak_stranger;
SET ROLE regress_ak_stranger;
CREATE FUNCTION regress_ak_schema._advisory_keys_lock(text[], interval, boolean, boolean) RETURNS bigint RETURN 1;
RESET ROLE;
CREATE EXTENSION advisory_keys;
ROLLBACK;
DROP ROLE regress_ak_stranger;

-- What is installed is the current version.
SELECT count(*) AS not_current FROM pg_available_extensions
WHERE name = 'advisory_keys' AND installed_version IS DISTINCT FROM default_version;
