-- The key of a text does not depend on the encoding of the database that it is in.
\set VERBOSITY sqlstate
SELECT current_database() AS utf8_database \gset

-- LATIN1 has one byte for what has two in UTF-8.
CREATE DATABASE regress_ak_latin1 TEMPLATE template0 ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C';
\c regress_ak_latin1
CREATE EXTENSION advisory_keys;
SELECT octet_length(chr(228)) AS bytes, advisory_key(ARRAY[chr(228)]) AS key,
    advisory_key(ARRAY[chr(228), 'x', repeat(chr(228), 100)])
    = ('x' || encode(substr(sha256(convert_to(chr(228) || '-x-' || repeat(chr(228), 100), 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint AS as_contract;
-- Several keys, with and without something to convert.
BEGIN;
SELECT lock_keys(ARRAY[['order', chr(228)], ['order', '42']]);
SELECT holds_keys(ARRAY['order', '42']), holds_keys(ARRAY['order', chr(228)]), holds_keys(ARRAY['order', chr(229)]);
COMMIT;
-- Text in messages is in the client's encoding.
SET client_encoding = 'UTF8';
\set VERBOSITY default
SELECT unlock_keys(ARRAY['order', chr(228)]);
\set VERBOSITY sqlstate

-- EUC_JP has other bytes altogether.
CREATE DATABASE regress_ak_euc_jp TEMPLATE template0 ENCODING 'EUC_JP' LOCALE_PROVIDER libc LOCALE 'C';
\c regress_ak_euc_jp
CREATE EXTENSION advisory_keys;
SELECT octet_length(part) AS bytes, advisory_key(ARRAY[part]) AS key
FROM convert_from('\xC6FCCBDC', 'EUC_JP') AS part;

-- Bytes that stand for nothing in UTF-8 are no key: in WIN1252, 0x81 is not assigned.
CREATE DATABASE regress_ak_win1252 TEMPLATE template0 ENCODING 'WIN1252' LOCALE_PROVIDER libc LOCALE 'C';
\c regress_ak_win1252
CREATE EXTENSION advisory_keys;
SELECT advisory_key(ARRAY[chr(228)]) AS key;
SET client_encoding = 'WIN1252';
SELECT advisory_key(ARRAY['a', chr(129)]);
SELECT try_lock_keys(ARRAY[['a'], [chr(129)]], session => true);
SELECT count(*) AS locked FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();

-- SQL_ASCII says nothing about bytes: they have to be valid UTF-8 already.
CREATE DATABASE regress_ak_sql_ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C';
\c regress_ak_sql_ascii
CREATE EXTENSION advisory_keys;
SELECT advisory_key(ARRAY['order', '42']) AS ascii, advisory_key(ARRAY[chr(195) || chr(164)]) AS valid;
SELECT advisory_key(ARRAY[chr(228)]);
-- Cut off in the middle of a character; overlong; half of a surrogate pair.
SELECT advisory_key(ARRAY['a', chr(195), chr(164)]);
SELECT advisory_key(ARRAY[chr(192) || chr(175)]);
SELECT advisory_key(ARRAY[chr(237) || chr(160) || chr(128)]);
-- Nothing stays locked after the error, and the other functions refuse the text as well.
SELECT lock_keys(ARRAY[['a'], [chr(228)]], session => true);
SELECT unlock_keys(ARRAY[chr(228)]);
SELECT holds_keys(ARRAY[chr(228)]);
SELECT keys_available(ARRAY[chr(228)]);
SELECT count(*) AS locked FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();

\c :utf8_database
SELECT advisory_key(ARRAY[U&'\00E4']) AS key, advisory_key(ARRAY[U&'\65E5\672C']) AS key;
DROP DATABASE regress_ak_latin1;
DROP DATABASE regress_ak_euc_jp;
DROP DATABASE regress_ak_win1252;
DROP DATABASE regress_ak_sql_ascii;
