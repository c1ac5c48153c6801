-- Anyone may lock, as with core's functions; a trusted extension may be created by the owner of a
-- database.

CREATE ROLE regress_keys_nobody;
SET ROLE regress_keys_nobody;
SELECT try_lock_keys('{a}', session => true), holds_keys('{a}'), keys_available('{a}'), unlock_keys('{a}'), advisory_key('{a}') IS NOT NULL;
SELECT lock_keys('{a}');
RESET ROLE;

CREATE ROLE regress_keys_owner;
CREATE SCHEMA regress_keys_schema AUTHORIZATION regress_keys_owner;
SELECT format('GRANT CREATE ON DATABASE %I TO regress_keys_owner', current_database()) \gexec
BEGIN;
DROP EXTENSION advisory_keys;
SET LOCAL ROLE regress_keys_owner;
CREATE EXTENSION advisory_keys SCHEMA regress_keys_schema;
SELECT regress_keys_schema.try_lock_keys('{a}');
RESET ROLE;
ROLLBACK;

-- a function that runs with its owner's rights locks for the session that calls it
CREATE FUNCTION definer_lock() RETURNS boolean LANGUAGE sql SECURITY DEFINER AS $$ SELECT try_lock_keys('{a}') $$;
SET ROLE regress_keys_nobody;
BEGIN;
SELECT definer_lock(), holds_keys('{a}');
COMMIT;
RESET ROLE;
DROP FUNCTION definer_lock;

SELECT format('REVOKE CREATE ON DATABASE %I FROM regress_keys_owner', current_database()) \gexec
DROP SCHEMA regress_keys_schema;
DROP ROLE regress_keys_owner;
DROP ROLE regress_keys_nobody;
