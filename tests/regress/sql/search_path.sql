-- Objects that stand in the way on the search path change nothing.
CREATE SCHEMA regress_ak_hostile;
CREATE FUNCTION regress_ak_hostile.trap(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'trap'; END$$;
CREATE FUNCTION regress_ak_hostile.trap_bigint(bigint, integer) RETURNS bigint LANGUAGE plpgsql AS $$BEGIN RAISE 'trap'; END$$;
CREATE FUNCTION regress_ak_hostile.trap_text(text, text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE 'trap'; END$$;
CREATE FUNCTION regress_ak_hostile.trap_interval(interval, interval) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'trap'; END$$;
CREATE OPERATOR regress_ak_hostile.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = regress_ak_hostile.trap);
CREATE OPERATOR regress_ak_hostile.< (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = regress_ak_hostile.trap);
CREATE OPERATOR regress_ak_hostile.<< (LEFTARG = bigint, RIGHTARG = integer, FUNCTION = regress_ak_hostile.trap_bigint);
CREATE OPERATOR regress_ak_hostile.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = regress_ak_hostile.trap_text);
CREATE OPERATOR regress_ak_hostile.< (LEFTARG = interval, RIGHTARG = interval, FUNCTION = regress_ak_hostile.trap_interval);
CREATE OPERATOR regress_ak_hostile.= (LEFTARG = interval, RIGHTARG = interval, FUNCTION = regress_ak_hostile.trap_interval);
CREATE FUNCTION regress_ak_hostile.sha256(bytea) RETURNS bytea LANGUAGE sql AS $$SELECT '\x00'::bytea$$;
CREATE FUNCTION regress_ak_hostile.convert_to(text, name) RETURNS bytea LANGUAGE sql AS $$SELECT '\x00'::bytea$$;
CREATE FUNCTION regress_ak_hostile.array_to_string(anyarray, text) RETURNS text LANGUAGE sql AS $$SELECT 'trap'$$;
CREATE FUNCTION regress_ak_hostile.pg_advisory_lock(bigint) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE 'trap'; END$$;
CREATE FUNCTION regress_ak_hostile.pg_advisory_xact_lock(bigint) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE 'trap'; END$$;
CREATE FUNCTION regress_ak_hostile.pg_try_advisory_lock(bigint) RETURNS boolean LANGUAGE sql AS $$SELECT true$$;
CREATE FUNCTION regress_ak_hostile.pg_try_advisory_xact_lock(bigint) RETURNS boolean LANGUAGE sql AS $$SELECT true$$;
CREATE FUNCTION regress_ak_hostile.pg_advisory_unlock(bigint) RETURNS boolean LANGUAGE sql AS $$SELECT true$$;
CREATE VIEW regress_ak_hostile.pg_locks AS SELECT * FROM pg_catalog.pg_locks WHERE false;
CREATE DOMAIN regress_ak_hostile.text AS pg_catalog.text CHECK (VALUE <> 'order');
CREATE DOMAIN regress_ak_hostile."interval" AS pg_catalog."interval" CHECK (VALUE IS NULL);

SELECT pronamespace::regnamespace AS home FROM pg_proc WHERE proname = 'try_lock_keys' \gset
SET search_path = regress_ak_hostile, pg_catalog, :home;

-- The traps are set.
\set VERBOSITY sqlstate
SELECT sha256('x'), 1::bigint = 1::bigint;
SELECT count(*) FROM pg_locks;
\set VERBOSITY default

BEGIN;
SELECT advisory_key('{order,42}');
SELECT try_lock_keys('{{order,42},{a,b}}', timeout => '1 s', shared => true), lock_keys('{c}', timeout => '1 s');
SELECT claim_keys('{{c},{d}}', 2);
SELECT holds_keys('{c}'), holds_keys('{{order,42},{a,b}}', shared => true), keys_available('{{c},{d}}');
SELECT name, mode FROM public.my_locks;
COMMIT;
SELECT lock_keys('{{a},{b}}', session => true), unlock_keys('{{a},{b}}'), unlock_keys('{a}');
SELECT name, mode FROM public.my_locks;

-- Nor does an empty search path.
SET search_path = '';
SELECT :home.try_lock_keys('{a}', timeout => '1 s'), :home.advisory_key('{order,42}');

RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA regress_ak_hostile CASCADE;
