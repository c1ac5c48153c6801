-- Leases in one session: the add-on advisory_leases, beside either edition.
SET search_path = advisory_leases, public;

-- Taken once, not again, not even by the same session; another name is another lease.
SELECT try_lease_key('{order,42}', '1 hour', 'first') AS token \gset
SELECT :token > 17592186044416 AS has_epoch, try_lease_key('{order,42}', '1 hour'), try_lease_key('{order,43}', '1 hour') IS NOT NULL AS another;

-- What is seen of it, under the key that the lock functions have for the name.
SELECT name, key = advisory_key('{order,42}') AS same_key, token = :token AS same_token, holder, role = current_user AS mine,
    taken_at = renewed_at AS not_renewed, expires_at - taken_at AS lasts, expired
FROM leases WHERE key = advisory_key('{order,42}');

-- Held, renewed and fenced by the token alone.
SELECT holds_lease_key('{order,42}', :token), holds_lease_key('{order,42}', :token + 1), holds_lease_key('{order,44}', :token);
SELECT renew_lease_key('{order,42}', :token, '2 hours'), renew_lease_key('{order,42}', :token + 1, '2 hours'),
    renew_lease_key('{order,44}', :token, '2 hours');
SELECT expires_at - renewed_at AS lasts, renewed_at > taken_at AS renewed FROM leases WHERE name = 'order-42';
SELECT fence_lease_key('{order,42}', :token);
SELECT outcome(format('SELECT advisory_leases.fence_lease_key(%L, %s)', '{order,42}', 1));
SELECT outcome(format('SELECT advisory_leases.fence_lease_key(%L, %s)', '{order,44}', 2));

-- A shorter ttl counts from now as well.
SELECT renew_lease_key('{order,42}', :token, '1 minute');
SELECT expires_at - renewed_at AS lasts FROM leases WHERE name = 'order-42';

-- Released, it is nobody's, and the next token is greater.
SELECT release_lease_key('{order,42}', :token + 1), release_lease_key('{order,42}', :token), release_lease_key('{order,42}', :token);
SELECT holds_lease_key('{order,42}', :token), renew_lease_key('{order,42}', :token, '1 hour');
SELECT name, expired FROM leases WHERE name = 'order-42';
SELECT try_lease_key('{order,42}', '1 hour') AS next \gset
SELECT :next > :token AS greater, release_lease_key('{order,42}', :token) AS old_token, holds_lease_key('{order,42}', :next);

-- An expired lease is lost to its holder, whether or not somebody takes it.
SELECT try_lease_key('{short}', '1 microsecond') AS token \gset
SELECT holds_lease_key('{short}', :token), renew_lease_key('{short}', :token, '1 hour'), release_lease_key('{short}', :token);
SELECT outcome(format('SELECT advisory_leases.fence_lease_key(%L, %s)', '{short}', 0));
SELECT try_lease_key('{short}', '1 hour') > :token AS taken_over;

-- Tokens grow even where the clock does not.
UPDATE lease SET token = token + 1000000000, expires_at = clock_timestamp() WHERE name = 'short' RETURNING token \gset
SELECT try_lease_key('{short}', '1 hour') - :token AS next;

-- What a rollback undoes was never held.
BEGIN;
SELECT try_lease_key('{rolled,back}', '1 hour') IS NOT NULL AS taken;
ROLLBACK;
SELECT count(*) FROM leases WHERE name = 'rolled-back';
BEGIN;
SELECT release_lease_key('{order,42}', :next);
SAVEPOINT s;
SELECT try_lease_key('{order,42}', '1 hour') > :next AS again;
ROLLBACK TO s;
SELECT holds_lease_key('{order,42}', :next);
ROLLBACK;
SELECT holds_lease_key('{order,42}', :next);

-- The longest ttl is for the owner of the database to say.
INSERT INTO limits VALUES ('1 day');
SELECT outcome($$SELECT advisory_leases.try_lease_key('{long}', '25 hours')$$);
SELECT outcome(format('SELECT advisory_leases.renew_lease_key(%L, %s, %L)', '{order,42}', :next, '1 day 1 second')) ~ '^22023' AS refused;
SELECT try_lease_key('{long}', '1 day') > 0 AS taken;
DELETE FROM limits;

-- A day is 24 hours in every time zone, and a month is 30 days.
SET TimeZone = 'Europe/Berlin';
SELECT try_lease_key('{dst}', '31 days') > 0 AS taken;
SELECT extract(epoch FROM expires_at - taken_at) / 86400 = 31 AS days FROM leases WHERE name = 'dst';
SELECT renew_lease_key('{dst}', token, '1 month') FROM leases WHERE name = 'dst';
SELECT extract(epoch FROM expires_at - renewed_at) / 86400 = 30 AS days FROM leases WHERE name = 'dst';

-- A grant survives a crash, whatever the session prefers; a transaction without one keeps what it says.
SET synchronous_commit = off;
BEGIN;
SELECT try_lease_key('{durable}', '1 hour') AS token \gset
SHOW synchronous_commit;
COMMIT;
SHOW synchronous_commit;
BEGIN;
SELECT renew_lease_key('{durable}', :token, '1 hour');
SHOW synchronous_commit;
COMMIT;
BEGIN;
SELECT try_lease_key('{durable}', '1 hour'), renew_lease_key('{durable}', 1, '1 hour'), release_lease_key('{durable}', :token);
SHOW synchronous_commit;
COMMIT;
SET synchronous_commit = remote_apply;
BEGIN;
SELECT try_lease_key('{durable}', '1 hour') > :token AS taken;
SHOW synchronous_commit;
COMMIT;
RESET synchronous_commit;

-- The epoch is noted once, and grows where the timeline or the place is another, as after a failover or a restore.
SELECT count(*), min(epoch) FROM epoch;
UPDATE epoch SET timeline = timeline - 1;
SELECT try_lease_key('{failed,over}', '1 hour') >> 44 AS epoch;
UPDATE epoch SET place = 'elsewhere';
SELECT try_lease_key('{restored}', '1 hour') >> 44 AS epoch;
SELECT try_lease_key('{settled}', '1 hour') >> 44 AS epoch;
SELECT epoch, count(*) FROM epoch GROUP BY epoch ORDER BY epoch;

TRUNCATE lease, epoch;
