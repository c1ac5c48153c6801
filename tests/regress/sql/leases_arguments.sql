-- What the functions of advisory_leases refuse, each error in all its parts.
SELECT call, outcome('SELECT advisory_leases.' || call) FROM (VALUES
    ($$try_lease_key(NULL, '1 hour')$$),
    ($$try_lease_key('{}', '1 hour')$$),
    ($$try_lease_key('{a,NULL}', '1 hour')$$),
    ($$try_lease_key('[5:6]={a,NULL}', '1 hour')$$),
    ($$try_lease_key('{{a},{b}}', '1 hour')$$),
    ($$try_lease_key('{{{a}}}', '1 hour')$$),
    ($$try_lease_key('{a}', NULL)$$),
    ($$try_lease_key('{a}', '0')$$),
    ($$try_lease_key('{a}', '-1 hour')$$),
    ($$try_lease_key('{a}', '31 days 1 microsecond')$$),
    ($$try_lease_key('{a}', '178000000 years')$$),
    ($$try_lease_key('{a}', '1 hour', repeat('x', 201))$$),
    ($$try_lease_key('{a}', '1 hour', repeat('ä', 200)) > 0$$),
    ($$renew_lease_key(NULL, 1, '1 hour')$$),
    ($$renew_lease_key('{a}', NULL, '1 hour')$$),
    ($$renew_lease_key('{a}', 1, NULL)$$),
    ($$renew_lease_key('{a}', 1, '0')$$),
    ($$renew_lease_key('{{a}}', 1, '1 hour')$$),
    ($$release_lease_key(NULL, 1)$$),
    ($$release_lease_key('{a}', NULL)$$),
    ($$holds_lease_key('{}', 1)$$),
    ($$holds_lease_key('{a}', NULL)$$),
    ($$fence_lease_key('{a,NULL}', 1)$$),
    ($$fence_lease_key('{a}', NULL)$$),
    ($$fence_lease_key(ARRAY[repeat('long', 1000)], 1)$$)
) AS calls (call);

-- Array lower bounds do not matter, parts may be empty, and the join is ambiguous, as for locks.
SELECT advisory_leases.try_lease_key('[7:8]={x,y}', '1 hour') > 0 AS taken, advisory_leases.try_lease_key('{x-y}', '1 hour') AS same_key;
SELECT advisory_leases.try_lease_key('{""}', '1 hour') > 0 AS taken, advisory_leases.try_lease_key('{"",""}', '1 hour') > 0 AS taken;

-- Untyped parameters, as drivers send them.
PREPARE take AS SELECT advisory_leases.try_lease_key($1, $2, $3) > 0 AS taken;
EXECUTE take ('{untyped}', '1 hour', NULL);
PREPARE renew AS SELECT advisory_leases.renew_lease_key($1, $2, ttl => $3);
EXECUTE renew ('{untyped}', 1, '1 hour');

-- Reading is all that a read-only transaction can do.
BEGIN READ ONLY;
SELECT advisory_leases.holds_lease_key('{a}', 1);
SELECT count(*) > 0 AS seen FROM advisory_leases.leases;
SELECT call, outcome('SELECT advisory_leases.' || call) FROM (VALUES
    ($$try_lease_key('{a}', '1 hour')$$), ($$renew_lease_key('{a}', 1, '1 hour')$$), ($$release_lease_key('{a}', 1)$$), ($$fence_lease_key('{a}', 1)$$)
) AS calls (call);
COMMIT;

TRUNCATE advisory_leases.lease;
