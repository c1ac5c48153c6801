\echo Use "ALTER EXTENSION advisory_keys UPDATE TO '0.9.0'" to load this file. \quit

CREATE FUNCTION release_keys(keys text[], shared bool DEFAULT false) RETURNS int
VOLATILE PARALLEL RESTRICTED COST 10000
LANGUAGE c
AS 'MODULE_PATHNAME', 'release_keys_wrapper';

COMMENT ON FUNCTION release_keys(text[], boolean) IS
'release every session-level hold of each name, however often it was locked; how many there were';

CREATE FUNCTION claim_keys(keys text[], wanted int DEFAULT 1, shared bool DEFAULT false, session bool DEFAULT false) RETURNS integer[]
VOLATILE PARALLEL RESTRICTED COST 10000
LANGUAGE c
AS 'MODULE_PATHNAME', 'claim_keys_wrapper';

COMMENT ON FUNCTION claim_keys(text[], integer, boolean, boolean) IS
'lock the first names that are free, one in each row, as many as are wanted and without waiting; the numbers of their rows, from 1. Skips what this session holds. At transaction level unless session => true';

CREATE FUNCTION advisory_key_name(key bigint) RETURNS text
VOLATILE PARALLEL RESTRICTED
LANGUAGE c
AS 'MODULE_PATHNAME', 'advisory_key_name_wrapper';

COMMENT ON FUNCTION advisory_key_name(bigint) IS
'the name behind the key of an advisory lock, for roles that recorded it; NULL when it is not known';
