-- An array has one key, in whatever physical form it comes.

-- lower bounds
SELECT advisory_key('[5:6]={order,42}'), advisory_key('[-7:-6]={order,42}'), advisory_key('[0:1]={order,42}');

-- slices, concatenation, functions
SELECT advisory_key((ARRAY['x', 'order', '42', NULL])[2:3]),
       advisory_key(ARRAY['order'] || '42'::text),
       advisory_key(string_to_array('order/42', '/'));

-- types that become text[]
CREATE DOMAIN parts AS text[];
SELECT advisory_key('{order,42}'::varchar[]), advisory_key('{order,42}'::parts),
       advisory_key('{order,42}'::name[]::text[]);
DROP DOMAIN parts;

-- a NULL bitmap that has no NULL left
DO $$
DECLARE a text[] := ARRAY['order', NULL];
BEGIN
    a[2] := '42';
    RAISE NOTICE 'overwritten NULL: %', advisory_key(a);
END $$;

-- expanded arrays, built in a loop; the variable is not modified
DO $$
DECLARE a text[] := '{}'; expected bigint;
BEGIN
    FOR i IN 1..1000 LOOP
        a := a || i::text;
    END LOOP;
    expected := key_by_definition(a);
    RAISE NOTICE 'expanded: % %', advisory_key(a) = expected, advisory_key(a) = expected;
    a[1] := 'x';
    RAISE NOTICE 'changed: %, % parts', advisory_key(a) = key_by_definition(a), cardinality(a);
END $$;

-- stored: 1-byte length word, 4-byte length word, compressed, out of line, both
CREATE TABLE stored (form text, parts text[]);
INSERT INTO stored VALUES ('short', ARRAY['order', '42']), ('plain', ARRAY[repeat(md5('a'), 10)]);
INSERT INTO stored VALUES ('compressed', ARRAY[repeat('x', 6000), 'y']);
INSERT INTO stored SELECT 'out of line', array_agg(md5(i::text)) FROM generate_series(1, 3000) AS i;
ALTER TABLE stored ALTER parts SET STORAGE EXTERNAL;
INSERT INTO stored VALUES ('external', ARRAY[repeat('x', 6000), 'y']);
SELECT form, pg_column_size(parts) < 120 AS short, pg_column_size(parts) < octet_length(parts::text) / 2 AS compressed,
       advisory_key(parts) = key_by_definition(parts) AS key
FROM stored ORDER BY form;

-- two dimensions of them are several keys
SELECT keys_available(array_agg(parts || '{}'::text[])) FROM stored WHERE cardinality(parts) = 2;
DROP TABLE stored;
