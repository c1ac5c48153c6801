"""A program in the database that relies on the functions in every way that Postgres keeps: a view, functions, a trigger, a default,
a generated column and an index. None of its code is aware of the edition or of its version."""

import psycopg
import pytest

from scene import name_key

APPLICATION = """
    CREATE TABLE account (
        id int PRIMARY KEY,
        balance int DEFAULT 0,
        key bigint GENERATED ALWAYS AS (advisory_key(ARRAY['account', id::text])) STORED,
        bank bigint DEFAULT advisory_key('{bank}')
    );
    CREATE INDEX account_by_key ON account (advisory_key(ARRAY['account', id::text]));
    INSERT INTO account (id) VALUES (1), (2);
    CREATE VIEW busy_accounts AS SELECT id FROM account WHERE NOT keys_available(ARRAY['account', id::text]);
    CREATE VIEW account_locks AS SELECT id, mode, granted FROM account JOIN advisory_locks USING (key);
    CREATE FUNCTION is_busy(id int) RETURNS boolean BEGIN ATOMIC SELECT NOT keys_available(ARRAY['account', id::text]); END;
    CREATE FUNCTION lock_account(id int) RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM lock_keys(ARRAY['account', id::text]);
        RETURN holds_keys(ARRAY['account', id::text]);
    END $$;
    CREATE FUNCTION refuse_if_locked() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NOT try_lock_keys(ARRAY['account', NEW.id::text]) THEN
            RAISE lock_not_available;
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER refuse_if_locked BEFORE UPDATE ON account FOR EACH ROW EXECUTE FUNCTION refuse_if_locked();
"""


def create_application(db):
    db.execute(APPLICATION)


def check_application(db, other):
    """It works, in two sessions of one database."""
    db.execute("INSERT INTO account (id) VALUES (3)")
    keys = db.execute("SELECT id, key, bank FROM account ORDER BY id").fetchall()
    assert keys == [(id, name_key("account", str(id)), name_key("bank")) for id in (1, 2, 3)]
    db.execute("SET enable_seqscan = off")
    query = "SELECT id FROM account WHERE advisory_key(ARRAY['account', id::text]) = %s"
    assert "account_by_key" in str(db.execute("EXPLAIN " + query, [name_key("account", "2")]).fetchall())
    assert db.execute(query, [name_key("account", "2")]).fetchall() == [(2,)]
    with other.transaction():
        assert other.execute("SELECT lock_account(2)").fetchone() == (True,)
        assert db.execute("SELECT id FROM busy_accounts").fetchall() == [(2,)]
        assert db.execute("SELECT is_busy(1), is_busy(2)").fetchone() == (False, True)
        assert db.execute("SELECT * FROM account_locks").fetchall() == [(2, "exclusive", True)]
        db.execute("UPDATE account SET balance = 1 WHERE id = 1")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            db.execute("UPDATE account SET balance = 1 WHERE id = 2")
    db.execute("UPDATE account SET balance = 1 WHERE id = 2")
    db.execute("DELETE FROM account WHERE id = 3")
