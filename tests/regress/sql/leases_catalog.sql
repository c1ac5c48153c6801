-- What advisory_leases installs, as the catalog says it.
CREATE TEMP VIEW functions AS SELECT * FROM pg_proc WHERE pronamespace = 'advisory_leases'::regnamespace;
CREATE TEMP VIEW relations AS SELECT * FROM pg_class WHERE relnamespace = 'advisory_leases'::regnamespace AND relkind IN ('r', 'v', 'S', 'm', 'p', 'f');

-- One signature for each name.
SELECT proname, pg_get_function_arguments(oid) AS arguments, pg_get_function_result(oid) AS result
FROM functions WHERE proname !~ '^_' ORDER BY proname;
SELECT proname AS overloaded FROM functions GROUP BY proname HAVING count(*) > 1;
SELECT proname AS variadic_or_polymorphic FROM functions WHERE provariadic <> 0
    OR EXISTS (SELECT FROM pg_type WHERE pg_type.oid = ANY (proargtypes::oid[]) AND typtype = 'p');
SELECT proname AS of_core_too FROM functions JOIN pg_proc AS core USING (proname) WHERE core.pronamespace = 'pg_catalog'::regnamespace;

-- Those for calling run as the owner, and wait for no lock. No search_path decides what any of them runs.
SELECT proname, provolatile AS volatile, proparallel AS parallel, proisstrict AS strict, procost AS cost, prosecdef AS definer,
    proleakproof AS leakproof, proconfig AS settings
FROM functions ORDER BY proname;
SELECT proname AS by_search_path FROM functions
WHERE prosqlbody IS NULL AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false);

-- What is for all, and what for the owner of the database; the rest is the owner's alone.
SELECT 'schema' AS what, nspname AS name, coalesce(nullif(grantee, 0)::regrole::text, 'PUBLIC') AS grantee, string_agg(privilege_type, ', ' ORDER BY privilege_type)
FROM pg_namespace, aclexplode(nspacl) WHERE nspname = 'advisory_leases' AND grantee <> nspowner GROUP BY name, grantee
UNION ALL SELECT 'relation', relname, coalesce(nullif(grantee, 0)::regrole::text, 'PUBLIC'), string_agg(privilege_type, ', ' ORDER BY privilege_type)
FROM relations, aclexplode(relacl) WHERE grantee <> relowner GROUP BY relname, grantee
UNION ALL SELECT 'function', proname, coalesce(nullif(grantee, 0)::regrole::text, 'PUBLIC'), string_agg(privilege_type, ', ' ORDER BY privilege_type)
FROM functions, aclexplode(coalesce(proacl, acldefault('f', proowner))) WHERE grantee <> proowner GROUP BY proname, grantee
ORDER BY 1 DESC, 2, 3;
SELECT DISTINCT nspowner = relowner AND relowner = proowner AS one_owner
FROM pg_namespace, relations, functions WHERE nspname = 'advisory_leases';

-- A renewal changes no column that has an index; conditions on the view are not asked before it has left out the rows of others.
SELECT indexrelid::regclass AS index, indrelid::regclass AS "table", indkey AS columns, indisunique AS "unique" FROM pg_index
WHERE indrelid IN (SELECT oid FROM relations) ORDER BY 1;
SELECT relname, relkind AS kind, reloptions AS options, relrowsecurity AS rls FROM relations ORDER BY relname;
SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute
WHERE attrelid = 'advisory_leases.leases'::regclass AND attnum > 0 ORDER BY attnum;

-- All that is for users has a comment.
SELECT proname AS without_comment FROM functions WHERE proname !~ '^_' AND obj_description(oid, 'pg_proc') IS NULL;
SELECT relname AS without_comment FROM relations WHERE obj_description(oid, 'pg_class') IS NULL;
SELECT attname AS without_comment FROM pg_attribute
WHERE attrelid = 'advisory_leases.leases'::regclass AND attnum > 0 AND col_description(attrelid, attnum) IS NULL;
SELECT obj_description('advisory_leases'::regnamespace, 'pg_namespace') IS NOT NULL AS schema_has_comment;

-- As an extension it belongs to that, and pg_dump takes its rows along; by psql it belongs to none.
SELECT extname, extrelocatable AS relocatable, extnamespace::regnamespace AS schema, extconfig::regclass[] AS config
FROM pg_extension WHERE extname = 'advisory_leases';
