-- What is no key, no timeout or no flag is an error that says what is wrong and what to do; it is
-- never answered with NULL, and never with a lock.
\pset format unaligned
\pset tuples_only on

-- A NULL array, in each function.
SELECT outcome($$SELECT advisory_key(NULL)$$);
SELECT outcome($$SELECT try_lock_keys(NULL)$$);
SELECT outcome($$SELECT lock_keys(NULL)$$);
SELECT outcome($$SELECT unlock_keys(NULL)$$);
SELECT outcome($$SELECT holds_keys(NULL)$$);
SELECT outcome($$SELECT keys_available(NULL)$$);

-- A NULL flag.
SELECT outcome($$SELECT try_lock_keys('{a}', shared => NULL)$$);
SELECT outcome($$SELECT try_lock_keys('{a}', session => NULL)$$);
SELECT outcome($$SELECT lock_keys('{a}', shared => NULL)$$);
SELECT outcome($$SELECT lock_keys('{a}', session => NULL)$$);
SELECT outcome($$SELECT unlock_keys('{a}', shared => NULL)$$);
SELECT outcome($$SELECT holds_keys('{a}', shared => NULL)$$);
SELECT outcome($$SELECT keys_available('{a}', shared => NULL)$$);
-- For the timeout alone NULL has a meaning.
SELECT outcome($$SELECT try_lock_keys('{a}', timeout => NULL)$$);
SELECT outcome($$SELECT lock_keys('{a}', timeout => NULL)$$);

-- A NULL part: where it is.
SELECT outcome($$SELECT advisory_key('{NULL}')$$);
SELECT outcome($$SELECT advisory_key('{a,b,NULL}')$$);
SELECT outcome($$SELECT try_lock_keys('{a,NULL}')$$);
SELECT outcome($$SELECT lock_keys('{{a,b},{c,NULL},{NULL,d}}')$$);
SELECT outcome($$SELECT unlock_keys('{NULL,b}')$$);
SELECT outcome($$SELECT holds_keys('{{NULL}}')$$);
SELECT outcome($$SELECT keys_available('{a,NULL}')$$);
-- The word in quotes, and nothing, are parts like others.
SELECT outcome($$SELECT holds_keys('{"NULL",""}')$$);

-- No part.
SELECT outcome($$SELECT advisory_key('{}')$$);
SELECT outcome($$SELECT try_lock_keys('{}')$$);
SELECT outcome($$SELECT lock_keys('{}')$$);
SELECT outcome($$SELECT unlock_keys('{}')$$);
SELECT outcome($$SELECT holds_keys('{}')$$);
SELECT outcome($$SELECT keys_available('{}')$$);
SELECT outcome($$SELECT lock_keys('{{},{}}')$$) LIKE '22%';
SELECT outcome($$SELECT lock_keys((ARRAY['a', 'b'])[3:4])$$);
SELECT outcome($$SELECT lock_keys(array_remove('{a}', 'a'))$$);

-- Too many dimensions.
SELECT outcome($$SELECT advisory_key('{{a,b}}')$$);
SELECT outcome($$SELECT advisory_key('{{a},{b}}')$$);
SELECT outcome($$SELECT advisory_key('{{{a}}}')$$);
SELECT outcome($$SELECT try_lock_keys('{{{a}}}')$$);
SELECT outcome($$SELECT lock_keys('{{{{a,b},{c,d}}}}')$$);
SELECT outcome($$SELECT unlock_keys('{{{a}}}')$$);
SELECT outcome($$SELECT holds_keys('{{{a}}}')$$);
SELECT outcome($$SELECT keys_available('{{{{{{a}}}}}}')$$);

-- A timeout below zero, also in sum; a month is 30 days, a day 24 hours.
SELECT outcome($$SELECT try_lock_keys('{a}', timeout => '-1 us')$$);
SELECT outcome($$SELECT lock_keys('{a}', timeout => '-1 s')$$);
SELECT outcome($$SELECT lock_keys('{a}', timeout => '1 day -24:00:01')$$);
SELECT outcome($$SELECT lock_keys('{a}', timeout => '1 mon -31 days')$$);
SELECT outcome($$SELECT lock_keys('{a}', timeout => '-178000000 years')$$);
-- Zero and more, also in sum.
SELECT outcome($$SELECT try_lock_keys('{a}', timeout => '0')$$);
SELECT outcome($$SELECT try_lock_keys('{a}', timeout => '1 day -24:00:00')$$);
SELECT outcome($$SELECT try_lock_keys('{a}', timeout => '-1 day 24:00:01')$$);
SELECT outcome($$SELECT try_lock_keys('{a}', timeout => '1 mon -30 days')$$);
SELECT outcome($$SELECT try_lock_keys('{a}', timeout => '1 us')$$);
SELECT outcome($$SELECT try_lock_keys('{a}', timeout => '178000000 years')$$);
SELECT outcome($$SELECT try_lock_keys('{a}', timeout => '178000000 years 2147483647 days 2562047788 hours')$$);
-- Where the server has infinite intervals (17 and later): for ever, and below zero.
SELECT CASE WHEN current_setting('server_version_num')::int >= 170000
    THEN outcome($$SELECT try_lock_keys('{a}', timeout => 'infinity')$$) ELSE 'true' END;
SELECT CASE WHEN current_setting('server_version_num')::int >= 170000
    THEN split_part(outcome($$SELECT try_lock_keys('{a}', timeout => '-infinity')$$), ':', 1) ELSE '22023' END;

-- More keys than one call may lock.
SET advisory_keys.max_keys_per_call = 2;
SELECT outcome($$SELECT try_lock_keys('{{a},{b}}')$$);
SELECT outcome($$SELECT try_lock_keys('{{a},{b},{c}}')$$);
SELECT outcome($$SELECT lock_keys('{{a},{b},{c}}')$$);
-- One key of many parts is one key; and what locks nothing has no such limit.
SELECT outcome($$SELECT lock_keys('{a,b,c}')$$);
SELECT outcome($$SELECT holds_keys('{{a},{b},{c}}')$$);
SELECT outcome($$SELECT keys_available('{{a},{b},{c}}')$$);
RESET advisory_keys.max_keys_per_call;
SELECT outcome($$SELECT lock_keys(array_agg(ARRAY[n::text])) FROM generate_series(1, 1001) AS n$$);
SET advisory_keys.max_keys_per_call = 1001;
SELECT outcome($$SELECT lock_keys(array_agg(ARRAY[n::text])) FROM generate_series(1, 1001) AS n$$);
RESET advisory_keys.max_keys_per_call;

-- Several mistakes at once are one error; nothing is locked by any of the above.
SELECT outcome($$SELECT lock_keys('{}', timeout => '-1 s', shared => NULL, session => NULL)$$) LIKE '22%';
SELECT count(*) FROM my_locks;
