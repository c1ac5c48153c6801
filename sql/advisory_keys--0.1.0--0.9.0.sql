\echo Use "ALTER EXTENSION advisory_keys UPDATE TO '0.9.0'" to load this file. \quit

CREATE FUNCTION release_keys(keys text[], shared bool DEFAULT false) RETURNS int
VOLATILE PARALLEL RESTRICTED COST 10000
LANGUAGE c
AS 'MODULE_PATHNAME', 'release_keys_wrapper';

COMMENT ON FUNCTION release_keys(text[], boolean) IS
'release every session-level hold of each name, however often it was locked; how many there were';

CREATE FUNCTION advisory_key_name(key bigint) RETURNS text
VOLATILE PARALLEL RESTRICTED
LANGUAGE c
AS 'MODULE_PATHNAME', 'advisory_key_name_wrapper';

COMMENT ON FUNCTION advisory_key_name(bigint) IS
'the name behind the key of an advisory lock, for roles that recorded it; NULL when it is not known';

CREATE PROCEDURE acquire_keys(keys text[], timeout interval DEFAULT NULL, shared bool DEFAULT false, session bool DEFAULT false)
LANGUAGE c
AS 'MODULE_PATHNAME', 'acquire_keys_wrapper';

COMMENT ON PROCEDURE acquire_keys(text[], interval, boolean, boolean) IS
'lock as lock_keys does, and wait for it without a snapshot, so that VACUUM and CREATE INDEX CONCURRENTLY do not wait for the waiter';
