-- The key of a name is part of the contract: it never changes, in no edition and in no version.

-- The examples of the documentation, and a few more; computed outside of Postgres.
SELECT advisory_key(parts) AS key, advisory_key(parts) = expected AS as_expected, parts
FROM (VALUES
    (ARRAY['SIGNUP-EMAIL', 'a@b.c'], -2004191643861057014),
    (ARRAY['order', '42'], 4321398832972926703),
    (ARRAY['a', 'b'], -3151566640859967343),
    (ARRAY['acct', '1'], -5028650592454756410),
    (ARRAY[''], -2039914840885289964),
    (ARRAY['', ''], 4139898923029504249)
) AS golden (parts, expected);

-- Every one of them is the first 8 bytes of the SHA-256 of the joined parts.
SELECT parts, advisory_key(parts) = key_by_contract(array_to_string(parts, '-')) AS as_contract
FROM (VALUES
    ('{order,42}'::text[]),
    ('{""}'),
    ('{"",""}'),
    ('{"","",x}'),
    ('{" a ",A}'),
    (ARRAY[E'line\nbreak', E'tab\t', 'quote"', 'comma,', E'back\\slash']),
    ('{"{a,b}",NULLs,"null"}')
) AS example (parts);

-- Many parts.
SELECT advisory_key(array_agg(i::text ORDER BY i)) = key_by_contract(string_agg(i::text, '-' ORDER BY i)) AS as_contract
FROM generate_series(1, 10000) AS i;

-- The join is ambiguous, as documented: these are one name.
SELECT count(DISTINCT advisory_key(parts)) AS one
FROM (VALUES ('{a-b,c}'::text[]), ('{a,b-c}'), ('{a-b-c}'), ('{a,b,c}')) AS same (parts);

-- An empty part counts: these are six names.
SELECT count(DISTINCT advisory_key(parts)) AS six
FROM (VALUES ('{""}'::text[]), ('{"",""}'), ('{a}'), ('{a,""}'), ('{"",a}'), ('{"",a,""}')) AS different (parts);

-- Lower bounds do not matter, and neither does an array's origin.
SELECT parts, advisory_key(parts) = advisory_key(ARRAY['order', '42']) AS same
FROM (VALUES
    ('[5:6]={order,42}'::text[]),
    ('[-5:-4]={order,42}'),
    ('[2147483645:2147483646]={order,42}'),
    ((ARRAY['x', 'order', '42', 'y'])[2:3]),
    ((ARRAY['x', 'order', '42', NULL])[2:3]),
    (string_to_array('order/42', '/')),
    (array_cat('{}', '{order,42}'))
) AS shape (parts);

-- Bytes are compared: blanks, case and Unicode forms are significant.
SELECT count(DISTINCT advisory_key(ARRAY['order', part])) AS five
FROM (VALUES ('a'), ('a '), (' a'), ('A'), (E'a\n')) AS different (part);
SELECT advisory_key(ARRAY[U&'\00E4']) AS nfc, advisory_key(ARRAY[U&'a\0308']) AS nfd;
SELECT advisory_key(ARRAY[U&'\65E5\672C']) AS kanji, advisory_key(ARRAY[U&'\+01F600']) AS emoji;
SELECT count(*) AS as_contract
FROM (VALUES (U&'\00E4'), (U&'a\0308'), (U&'\FFFD'), (U&'\202Ex'), (U&'\+10FFFF'), (E'\x1F')) AS text (part)
WHERE advisory_key(ARRAY[part, part]) = key_by_contract(part || '-' || part);

-- A collation under which two strings are equal does not make them one name.
SELECT advisory_key(ARRAY['a' COLLATE "C"]) = advisory_key(ARRAY['a' COLLATE "POSIX"]) AS same;

-- Lengths around the ends of SHA-256 blocks, in one part and in two.
SELECT length, advisory_key(ARRAY[repeat('x', length)]) AS key,
    advisory_key(ARRAY[repeat('x', length)]) = key_by_contract(repeat('x', length)) AS one_part,
    advisory_key(ARRAY['y', repeat('x', length - 2)]) = key_by_contract('y-' || repeat('x', length - 2)) AS two_parts
FROM unnest(ARRAY[55, 56, 57, 63, 64, 65, 119, 120, 121, 127, 128]) AS length;
SELECT count(*) AS all_lengths FROM generate_series(0, 600) AS length
WHERE advisory_key(ARRAY[repeat('x', length)]) = key_by_contract(repeat('x', length))
  AND advisory_key(ARRAY[repeat('x', length), repeat('y', 600 - length)])
      = key_by_contract(repeat('x', length) || '-' || repeat('y', 600 - length));
