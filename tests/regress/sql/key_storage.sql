-- However an array is stored or put together, the same parts have the same key.

CREATE TABLE stored (form text, filler "char" DEFAULT 'x', parts text[]);

-- 1-byte length word; the column before it makes the value start at an odd address.
ALTER TABLE stored ALTER parts SET STORAGE MAIN;
INSERT INTO stored VALUES ('short', 'x', '{order,42}'), ('short with NULL bitmap', 'x', '{order,NULL}');
UPDATE stored SET parts[2] = '42' WHERE form = 'short with NULL bitmap';

-- Compressed in the row, by the default method and by lz4 if the server has it.
INSERT INTO stored VALUES ('compressed', 'x', ARRAY[repeat('x', 5000), 'end']);
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)) THEN
        SET LOCAL default_toast_compression = lz4;
    END IF;
    INSERT INTO stored VALUES ('compressed, other method', 'x', ARRAY[repeat('y', 5000), 'end']);
END $$;

-- Out of line, as it is and compressed.
ALTER TABLE stored ALTER parts SET STORAGE EXTERNAL;
INSERT INTO stored VALUES ('out of line', 'x', ARRAY[repeat('z', 9000), 'end']);
ALTER TABLE stored ALTER parts SET STORAGE EXTENDED;
INSERT INTO stored SELECT 'out of line, compressed', 'x', array_agg(md5(i::text) || repeat('-', 30) ORDER BY i) FROM generate_series(1, 1000) AS i;

-- The forms are what they are named for ...
SELECT form, pg_column_size(parts) < 127 AS short, pg_column_compression(parts) IS NOT NULL AS compressed,
    pg_column_size(parts) > 4096 AS out_of_line
FROM stored ORDER BY form COLLATE "C";
-- ... and all are read, as one key and as several.
SELECT form, advisory_key(parts) = key_by_contract(array_to_string(parts, '-')) AS as_contract
FROM stored ORDER BY form COLLATE "C";
SELECT form, try_lock_keys(ARRAY[parts, parts]) AND holds_keys(parts) AS locked
FROM stored ORDER BY form COLLATE "C";

-- Parts that come from stored values, gathered by an aggregate.
CREATE TABLE stored_part (n int, part text);
INSERT INTO stored_part VALUES (1, 'short'), (2, repeat('x', 5000)), (3, (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 500) AS i));
SELECT advisory_key(array_agg(part ORDER BY n)) = key_by_contract(string_agg(part, '-' ORDER BY n)) AS as_contract FROM stored_part;
SELECT count(*) AS as_contract FROM stored_part WHERE advisory_key(ARRAY[part, 'end']) = key_by_contract(part || '-end');

-- PL/pgSQL keeps arrays in an expanded form. It is read, and stays what it was.
CREATE FUNCTION expanded() RETURNS TABLE (step text, as_contract boolean, length int) LANGUAGE plpgsql AS $$
DECLARE
    parts text[] := '{}';
    before text[];
BEGIN
    FOR i IN 1..100 LOOP
        parts := parts || ('part ' || i);
    END LOOP;
    step := 'appended';
    length := cardinality(parts);
    as_contract := advisory_key(parts) = key_by_contract(array_to_string(parts, '-'));
    RETURN NEXT;

    parts[50] := NULL;
    parts[50] := 'once NULL';
    step := 'assigned over NULL';
    as_contract := advisory_key(parts) = key_by_contract(array_to_string(parts, '-'));
    RETURN NEXT;

    parts[102] := 'after a gap';
    parts[101] := 'the gap';
    step := 'assigned after the end';
    length := cardinality(parts);
    as_contract := advisory_key(parts) = key_by_contract(array_to_string(parts, '-'));
    RETURN NEXT;

    before := parts;
    PERFORM lock_keys(parts), holds_keys(parts), keys_available(parts);
    step := 'unchanged by the functions';
    as_contract := parts = before;
    RETURN NEXT;

    parts := parts[2:3];
    step := 'slice';
    length := cardinality(parts);
    as_contract := advisory_key(parts) = key_by_contract('part 2-part 3');
    RETURN NEXT;
END $$;
SELECT * FROM expanded();

-- Large parts: a megabyte, and one byte less and more.
SELECT length - 1048576 AS difference,
    advisory_key(ARRAY[repeat('x', length), 'end']) = key_by_contract(repeat('x', length) || '-end') AS as_contract
FROM unnest(ARRAY[1048575, 1048576, 1048577, 3000000]) AS length;

DROP FUNCTION expanded();
DROP TABLE stored, stored_part;
