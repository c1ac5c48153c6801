-- Other types of arrays are read as the text[] that Postgres casts them to.

-- Equal to the text: no byte is lost.
CREATE DOMAIN key_parts AS text[] CHECK (cardinality(VALUE) = 2);
CREATE DOMAIN key_part AS text CHECK (VALUE <> '');
SELECT advisory_key(ARRAY['order', '42']::varchar[]) = key_by_contract('order-42') AS "varchar",
    advisory_key(ARRAY['order', '42']::varchar(9)[]) = key_by_contract('order-42') AS "varchar(9)",
    advisory_key(ARRAY['order', '42']::key_parts) = key_by_contract('order-42') AS domain_over_array,
    advisory_key(ARRAY['order', '42']::key_part[]::text[]) = key_by_contract('order-42') AS array_of_domain,
    advisory_key(ARRAY['order', '42']::name[]) = key_by_contract('order-42') AS name,
    advisory_key('{order,42}') = key_by_contract('order-42') AS untyped;

-- char(n) loses its trailing blanks when it becomes text, as everywhere in Postgres.
SELECT advisory_key(ARRAY['order ', '42  ']::char(9)[]) = key_by_contract('order-42') AS "char(n) drops blanks",
    advisory_key(ARRAY['order ', '42  ']) = key_by_contract('order -42  ') AS "text keeps blanks",
    advisory_key(ARRAY['order ', '42  ']::varchar(9)[]) = key_by_contract('order -42  ') AS "varchar keeps blanks";

-- What is no text is not taken for text: numbers have to be cast by the caller, who knows the format.
SELECT outcome($$SELECT advisory_key(ARRAY[1, 2])$$) LIKE '42883: %' AS no_integers,
    outcome($$SELECT advisory_key('order'::text)$$) LIKE '42883: %' AS no_plain_text,
    advisory_key(ARRAY[1, 2]::text[]) = key_by_contract('1-2') AS cast_integers;

DROP DOMAIN key_parts, key_part;
