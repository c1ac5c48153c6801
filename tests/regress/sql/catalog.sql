-- What the extension installs, as the catalog says it.

-- One signature for each name.
SELECT proname, pg_get_function_arguments(oid) AS arguments, pg_get_function_result(oid) AS result
FROM pg_proc
WHERE proname IN ('advisory_key', 'try_lock_keys', 'lock_keys', 'acquire_keys', 'claim_keys', 'unlock_keys', 'release_keys', 'holds_keys', 'keys_available',
    'advisory_key_name', 'try_lock_slot', 'lock_slot', 'unlock_slot', 'slots_held')
ORDER BY proname;

-- The key is immutable and can be computed anywhere; the rest is volatile and stays in the session
-- that the lock belongs to, and what locks costs more than any cheap condition. None is strict.
SELECT proname, provolatile AS volatile, proparallel AS parallel, proisstrict AS strict, procost AS cost, prokind AS kind,
    proretset AS set, prosecdef AS definer, proleakproof AS leakproof
FROM pg_proc
WHERE proname IN ('advisory_key', 'try_lock_keys', 'lock_keys', 'acquire_keys', 'claim_keys', 'unlock_keys', 'release_keys', 'holds_keys', 'keys_available',
    'advisory_key_name', 'try_lock_slot', 'lock_slot', 'unlock_slot', 'slots_held')
ORDER BY proname;

-- All that the extension holds: no overloads, VARIADIC or polymorphic arguments, and each with a comment.
CREATE TEMP VIEW members AS
    SELECT pg_proc.*
    FROM pg_depend
    JOIN pg_extension ON refobjid = pg_extension.oid AND extname = 'advisory_keys'
    JOIN pg_proc ON objid = pg_proc.oid
    WHERE refclassid = 'pg_extension'::regclass AND classid = 'pg_proc'::regclass AND deptype = 'e';
SELECT count(*) >= 8 AS has_members FROM members;
SELECT proname AS overloaded FROM members GROUP BY proname HAVING count(*) > 1;
SELECT proname AS variadic FROM members WHERE provariadic <> 0;
SELECT proname AS polymorphic FROM members WHERE EXISTS (
    SELECT FROM pg_type WHERE pg_type.oid = ANY (proargtypes::oid[]) AND typtype = 'p');
SELECT proname AS without_comment FROM members WHERE obj_description(oid, 'pg_proc') IS NULL;
SELECT proname AS of_core_too FROM members WHERE EXISTS (
    SELECT FROM pg_proc AS core WHERE core.proname = members.proname AND core.pronamespace = 'pg_catalog'::regnamespace);

-- As the documentation says of the extension.
SELECT extrelocatable AS relocatable, extconfig AS config, comment IS NOT NULL AS comment
FROM pg_extension JOIN pg_available_extensions ON name = extname WHERE extname = 'advisory_keys';
SELECT superuser, trusted, relocatable, schema, requires
FROM pg_available_extension_versions WHERE name = 'advisory_keys' AND installed;

-- Everybody may call what everybody may call in core, and not what only superusers may do there.
CREATE ROLE regress_ak_nobody;
SELECT proname AS not_for_public FROM members WHERE NOT has_function_privilege('regress_ak_nobody', oid, 'EXECUTE');
SET ROLE regress_ak_nobody;
SELECT try_lock_keys('{a}', session => true), holds_keys('{a}'), keys_available('{a}'), unlock_keys('{a}'),
    release_keys('{a}'), advisory_key_name(1);
RESET ROLE;
-- And the owner can change that.
BEGIN;
REVOKE EXECUTE ON FUNCTION try_lock_keys FROM PUBLIC;
SET ROLE regress_ak_nobody;
SELECT try_lock_keys('{a}');
ROLLBACK;
DROP ROLE regress_ak_nobody;
