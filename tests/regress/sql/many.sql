-- Several keys in one call.

-- one row is one key
BEGIN;
SELECT try_lock_keys('{{acct,1},{acct,2},{acct,3}}');
SELECT count(*) FROM held;
SELECT holds_keys('{acct,1}'), holds_keys('{acct,2}'), holds_keys('{acct,3}'), holds_keys('{acct,1,acct,2,acct,3}');
SELECT holds_keys('{{acct,1},{acct,3}}'), holds_keys('{{acct,1},{acct,4}}');
COMMIT;

-- two dimensions with one row are the same key as one dimension; lower bounds do not matter
BEGIN;
SELECT try_lock_keys('{{acct,1}}'), try_lock_keys('[3:4][-1:0]={{acct,2},{acct,3}}');
SELECT holds_keys('{acct,1}'), holds_keys('{{acct,2},{acct,3}}');
COMMIT;

-- duplicates count once, however they are spelt
SELECT lock_keys('{{acct,1},{acct,1},{acct-1,""}}', session => true);
SELECT lock_keys('{{a-b,c},{a,b-c}}', session => true);
SELECT count(*) FROM held;
SELECT unlock_keys('{{a-b,c},{a,b-c}}');
SELECT unlock_keys('{acct,1}'), unlock_keys('{acct-1,""}');
SELECT count(*) FROM held;

-- holds from before keep their counts
SELECT lock_keys('{acct,1}', session => true);
SELECT lock_keys('{{acct,1},{acct,2}}', session => true);
SELECT unlock_keys('{{acct,1},{acct,2}}');
SELECT holds_keys('{acct,1}'), holds_keys('{acct,2}');
SELECT unlock_keys('{acct,1}');

-- a thousand keys at once, the limit, and one more
BEGIN;
SELECT lock_keys(array_agg(ARRAY['acct', i::text])) FROM generate_series(1, 1000) AS i;
SELECT count(*) FROM held;
SELECT holds_keys(array_agg(ARRAY['acct', i::text])) FROM generate_series(1, 1000) AS i;
COMMIT;
SELECT (failure($$SELECT lock_keys(array_agg(ARRAY['acct', i::text])) FROM generate_series(1, 1001) AS i$$)).*;
SELECT count(*) FROM held;

-- the limit does not stop anyone from looking or releasing
SELECT holds_keys(array_agg(ARRAY['acct', i::text])) FROM generate_series(1, 1001) AS i;
