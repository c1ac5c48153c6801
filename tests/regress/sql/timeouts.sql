-- What a timeout may be. Waiting itself is in the isolation suite.

SELECT f.sqlstate, f.message, f.hint, count(*) AS spellings
FROM unnest(ARRAY['-1s', '-1 microsecond', '-1 month', '1 day -24:00:01', '-178000000 years']) AS timeout,
     unnest(ARRAY['lock_keys', 'try_lock_keys']) AS name,
     failure(format('SELECT %s(''{a}'', timeout => %L)', name, timeout)) AS f
GROUP BY 1, 2, 3;

SELECT timeout, try_lock_keys('{a}', timeout => timeout::interval) AS locked
FROM unnest(ARRAY[NULL, '0', '1 microsecond', '0.4 ms', '5s', '1 month', '1 month -30 days', '-1 day 24:00:01',
                  '24.9 days', '178000000 years']) AS timeout;

-- infinity is an interval since Postgres 17; before, this is the longest there is
DO $$
DECLARE longest interval := CASE WHEN current_setting('server_version_num')::int >= 170000
    THEN 'infinity' ELSE '178000000 years' END;
BEGIN
    RAISE NOTICE 'longest: %', try_lock_keys('{a}', timeout => longest);
    BEGIN
        PERFORM try_lock_keys('{a}', timeout => - longest);
    EXCEPTION WHEN invalid_parameter_value THEN
        RAISE NOTICE 'its negative: %', SQLERRM;
    END;
END $$;

SET lock_timeout = '1234ms';
SELECT try_lock_keys('{a}', timeout => '5s'), try_lock_keys('{b}', timeout => NULL);
SHOW lock_timeout;
RESET lock_timeout;
