-- A cursor that was opened before a savepoint belongs to what is round it, and so do the locks that a FETCH
-- takes: they outlive ROLLBACK TO.

BEGIN;
DECLARE at_once CURSOR FOR SELECT try_lock_keys('{a}');
DECLARE with_timeout CURSOR FOR SELECT try_lock_keys('{b}', timeout => '1 s');
DECLARE several CURSOR FOR SELECT try_lock_keys('{{acct,1},{acct,2}}');
DECLARE core CURSOR FOR SELECT pg_try_advisory_xact_lock(advisory_key('{c}'));
SAVEPOINT later;
FETCH at_once;
FETCH with_timeout;
FETCH several;
FETCH core;
SELECT * FROM my_locks;
ROLLBACK TO SAVEPOINT later;
SELECT * FROM my_locks;
COMMIT;
