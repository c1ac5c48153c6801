"""CALL acquire_keys in random nestings of what PL/pgSQL has: blocks, procedures that commit and roll back, functions, loops,
cursors, handlers of errors. Each program does the same with `lock_keys` in its place, which never touches a snapshot; and what
is read under the lock is as new as the lock."""

import os
import random
import threading

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from scene import PORTABLE, name_key, pid_of, scratch_database, wait_until

PROGRAMS = int(os.environ.get("ADVISORY_KEYS_NESTINGS", "100"))
"""How many, in each of four tests."""

SETUP = """
    CREATE TABLE big AS SELECT i, repeat(md5(i::text), 2000) AS t FROM generate_series(1, 5) AS i;
    CREATE TABLE written (n int);
    CREATE TABLE counter AS SELECT 0::bigint AS n;
    CREATE SEQUENCE counted;
    CREATE FUNCTION nested_name() RETURNS text[] LANGUAGE sql AS $$ SELECT ARRAY['nested'] FROM big LIMIT 1 $$;
    -- Whoever has the lock counts up in both; a sequence needs no snapshot.
    CREATE PROCEDURE check_counter() LANGUAGE plpgsql AS $$
    BEGIN
        IF current_setting('transaction_isolation') = 'read committed' AND (SELECT n FROM counter) <> (SELECT last_value FROM counted) THEN
            RAISE 'reads what was before the lock' USING ERRCODE = 'AK099';
        END IF;
    END $$;
"""


class Program:
    """Random statements; what they call is in `routines`."""

    def __init__(self, rng):
        self._rng = rng
        self.routines = []
        self.statements = self._sent()

    def _sent(self):
        """What the client sends."""
        body = self._block(3, ends=True)
        statement = self._rng.choice([
            f"CALL {self._routine('PROCEDURE', body)}()", f"DO $do$ {self._whole(body)} $do$",
            "CALL acquire_keys('{nested}')", "CALL acquire_keys('{nested}', session => true)",
        ])
        return self._rng.choice([
            [statement], [statement], [statement], [f"{statement}; SELECT count(*) FROM big"],
            ["BEGIN", statement, "SELECT count(*) FROM big", "COMMIT"],
            ["BEGIN ISOLATION LEVEL REPEATABLE READ", statement, "COMMIT"],
            ["BEGIN", "SAVEPOINT a", statement, "ROLLBACK TO SAVEPOINT a", statement, "COMMIT"],
        ])

    def _block(self, depth, ends=False):
        """Some statements; `ends`: there may be an end of the transaction among them."""
        return "\n".join(self._statement(depth, ends) for _ in range(self._rng.randint(1, 4)))

    def _statement(self, depth, ends):
        choices = [self._acquire] * 4 + [self._small] * 2
        if depth:
            choices += [self._call] * 3 + [self._inside] * 5
        return self._rng.choice(choices)(depth - 1, ends)

    def _acquire(self, *_):
        return self._rng.choice([
            "CALL acquire_keys('{nested}'); CALL check_counter();",
            "CALL acquire_keys('{nested}', timeout => '1 h'); CALL check_counter();",
            "CALL acquire_keys(nested_name(), session => true); CALL check_counter();",
            "CALL acquire_keys('{{nested},{other}}', NULL, true);",
            "CALL acquire_keys('{never}', timeout => '1 ms');",
        ])

    def _small(self, _, ends):
        end = ["COMMIT;", "ROLLBACK;", "COMMIT AND CHAIN;"] if ends or self._rng.random() < 0.05 else []
        return self._rng.choice(
            end * 2 + ["PERFORM sum(length(t)) FROM big;", "INSERT INTO written VALUES (1);", "n := (SELECT max(length(t)) FROM big);",
                       "PERFORM 1 / (SELECT count(*) - 5 FROM big);"])

    @staticmethod
    def _whole(body):
        return f"DECLARE n bigint; r record; BEGIN\n{body}\nEND"

    def _routine(self, kind, body, rest=""):
        name = f"nested_{len(self.routines)}"
        self.routines.append(f"CREATE {kind} {name}() {rest} LANGUAGE plpgsql AS $r$ {self._whole(body)} $r$")
        return name

    def _call(self, depth, ends):
        rest = self._rng.choice(["", "", "", "SET work_mem = '1MB'", "SECURITY DEFINER"])
        return f"CALL {self._routine('PROCEDURE', self._block(depth, ends and not rest), rest)}();"

    def _inside(self, depth, ends):
        form, may_end = self._rng.choice([
            (lambda body: f"FOR r IN SELECT i FROM big LIMIT 2 LOOP {body} END LOOP;", ends),
            (lambda body: f"FOR i IN 1..2 LOOP {body} END LOOP;", ends),
            (lambda body: f"DECLARE c CURSOR FOR SELECT i FROM big; BEGIN OPEN c; MOVE c; {body} MOVE c; CLOSE c; END;", False),
            (lambda body: f"BEGIN {body} EXCEPTION WHEN OTHERS THEN {self._block(0)} END;", False),
            (lambda body: f"PERFORM {self._routine('FUNCTION', body, 'RETURNS void')}() FROM big LIMIT 2;", False),
            (lambda body: f"EXECUTE 'CALL {self._routine('PROCEDURE', body)}()';", False),
            (lambda body: f"EXECUTE 'DO $in$ BEGIN CALL {self._routine('PROCEDURE', body)}(); END $in$';", False),
            (lambda body: f"CALL {self._in_sql(self._routine('PROCEDURE', body))}();", False),
        ])
        return form(self._block(depth, may_end))

    def _in_sql(self, procedure):
        name = f"nested_{len(self.routines)}"
        self.routines.append(f"CREATE PROCEDURE {name}() LANGUAGE sql AS $r$ CALL {procedure}(); SELECT count(*) FROM big; $r$")
        return name

    def outcome(self, db, calls):
        """What it does, with this in the place of CALL acquire_keys."""
        db.execute("CREATE SCHEMA program; SET search_path = program, public; TRUNCATE written")
        for routine in self.routines:
            db.execute(calls(routine))
        outcomes = []
        for statement in self.statements:
            try:
                db.execute(calls(statement))
                outcomes.append("done")
            except psycopg.Error as error:
                outcomes.append((error.sqlstate, error.diag.message_primary))
        if db.info.transaction_status != TransactionStatus.IDLE:
            db.execute("ROLLBACK")
        outcomes.append(db.execute("SELECT count(*), sum(n) FROM written").fetchone())
        outcomes.append(db.execute("SELECT release_keys('{nested}')").fetchone())
        db.execute("SET client_min_messages = error; DROP SCHEMA program CASCADE; RESET ALL")
        return outcomes


def with_lock_keys(text):
    # Outside of PL/pgSQL it is SELECT.
    return text.replace("CALL acquire_keys", "SELECT lock_keys" if text.startswith("CALL acquire_keys") else "PERFORM lock_keys")


class Competitor:
    """Holds the name whenever nobody else does, counts up, and lets go when it sees somebody wait for it."""

    def __init__(self, connect, pid):
        self.waits = self.waits_without_snapshot = 0
        self._holder, self._observer, self._pid, self._ended = connect(), connect(), pid, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._ended.is_set():
            if not self._holder.execute("SELECT try_lock_keys('{nested}', timeout => '50ms', session => true)").fetchone()[0]:
                continue
            # In one transaction, so that who does not wait sees both or none.
            self._holder.execute("UPDATE counter SET n = nextval('counted')")
            while not self._ended.is_set() and (xmin := self._xmin_of_waiter()) is False:
                pass
            self.waits += not self._ended.is_set()
            self.waits_without_snapshot += not self._ended.is_set() and xmin is None
            self._holder.execute("SELECT unlock_keys('{nested}')")

    def _xmin_of_waiter(self):
        """False if nobody waits for the name."""
        row = self._observer.execute(
            "SELECT backend_xmin FROM pg_locks JOIN pg_stat_activity USING (pid)"
            " WHERE pid = %s AND NOT pg_locks.granted AND (classid::int8 << 32) | objid::int8 = %s",
            [self._pid, name_key("nested")]).fetchone()
        return row[0] if row else False

    def end(self):
        self._ended.set()
        self._thread.join()


@pytest.mark.parametrize("seed", range(4))
def test_it_does_what_lock_keys_does(connect, seed):
    rng = random.Random(os.environ.get("ADVISORY_KEYS_SEED", "") + str(seed))
    with scratch_database("nested") as database:
        db, never = connect(dbname=database), connect(dbname=database)
        db.execute(SETUP)
        never.execute("SELECT lock_keys('{never}', session => true)")
        competitor = Competitor(lambda: connect(dbname=database), pid_of(db))
        wait_until(lambda: db.execute("SELECT is_called FROM counted").fetchone()[0], "the competitor has begun")
        try:
            for number in range(PROGRAMS):
                program = Program(rng)
                acquired = program.outcome(db, lambda text: text)
                locked = program.outcome(db, with_lock_keys)
                assert acquired == locked, (number, program.routines, program.statements)
                assert "AK099" not in str(acquired), (number, program.routines, program.statements)
        finally:
            competitor.end()
    assert competitor.waits > PROGRAMS
    assert PORTABLE or competitor.waits_without_snapshot > PROGRAMS / 10
