-- The functions in what belongs to tables: keys can be stored and indexed; locks can be taken and
-- asked for where Postgres runs volatile functions.
\set VERBOSITY sqlstate

-- A generated column and an index over the key.
CREATE TABLE account (
    id int PRIMARY KEY,
    key bigint GENERATED ALWAYS AS (advisory_key(ARRAY['acct', id::text])) STORED);
CREATE INDEX account_key ON account (advisory_key(ARRAY['acct', id::text]));
INSERT INTO account SELECT generate_series(1, 1000);
SELECT id, key FROM account WHERE id <= 3;
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT id FROM account WHERE advisory_key(ARRAY['acct', id::text]) = -2191715340870474340;
SELECT id FROM account WHERE advisory_key(ARRAY['acct', id::text]) = -2191715340870474340;
RESET enable_seqscan;
-- Who holds the lock on which row: with core's view and the stored key.
BEGIN;
SELECT lock_keys('{{acct,7},{acct,1}}');
SELECT id FROM account WHERE key IN (SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks WHERE locktype = 'advisory') ORDER BY id;
COMMIT;

-- What locks has no place there.
CREATE INDEX ON account (try_lock_keys(ARRAY['acct', id::text]));
CREATE INDEX ON account (id) WHERE holds_keys(ARRAY['acct', id::text]);
ALTER TABLE account ADD available boolean GENERATED ALWAYS AS (keys_available(ARRAY['acct', id::text])) STORED;
ALTER TABLE account ADD locked boolean GENERATED ALWAYS AS (try_lock_keys(ARRAY['acct', id::text])) STORED;

-- A CHECK constraint: rows only go in under their lock.
CREATE TABLE ledger (account int, CONSTRAINT locked CHECK (holds_keys(ARRAY['acct', account::text])));
INSERT INTO ledger VALUES (1);
BEGIN;
SELECT lock_keys('{acct,1}');
INSERT INTO ledger VALUES (1);
SAVEPOINT one;
INSERT INTO ledger VALUES (1), (2);
ROLLBACK TO SAVEPOINT one;
COMMIT;
INSERT INTO ledger VALUES (1);
SELECT * FROM ledger;

-- A trigger that locks: the lock is held until the end of the transaction.
CREATE FUNCTION lock_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_keys(ARRAY['acct', NEW.account::text]);
    RETURN NEW;
END $$;
CREATE TRIGGER lock_account BEFORE INSERT ON ledger FOR EACH ROW EXECUTE FUNCTION lock_account();
BEGIN;
INSERT INTO ledger VALUES (2), (3);
SELECT * FROM my_locks;
COMMIT;
SELECT * FROM my_locks;

-- A deferred trigger runs while the locks of the transaction are still held.
CREATE FUNCTION assert_locked() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT holds_keys(ARRAY['acct', NEW.account::text]) THEN
        RAISE 'not locked' USING ERRCODE = 'assert_failure';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER assert_locked AFTER INSERT ON ledger
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION assert_locked();
INSERT INTO ledger VALUES (3);
ALTER TABLE ledger DISABLE TRIGGER lock_account;
ALTER TABLE ledger DROP CONSTRAINT locked;
INSERT INTO ledger VALUES (1);
SELECT * FROM ledger;

-- A row security policy: who holds the lock on an account sees it and may change it.
CREATE ROLE regress_ak_clerk;
GRANT SELECT, UPDATE ON account TO regress_ak_clerk;
ALTER TABLE account ENABLE ROW LEVEL SECURITY;
CREATE POLICY locked ON account USING (holds_keys(ARRAY['acct', id::text]));
CREATE POLICY locked_shared ON account FOR SELECT USING (holds_keys(ARRAY['acct', id::text], shared => true));
SET ROLE regress_ak_clerk;
SELECT count(*) FROM account;
BEGIN;
SELECT lock_keys('{acct,3}'), lock_keys('{acct,2}', shared => true);
SELECT id FROM account ORDER BY id;
UPDATE account SET id = id WHERE id < 10 RETURNING id;
COMMIT;
SELECT count(*) FROM account;
RESET ROLE;

DROP TABLE account, ledger;
DROP FUNCTION lock_account(), assert_locked();
DROP ROLE regress_ak_clerk;
