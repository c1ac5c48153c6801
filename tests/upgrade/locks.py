"""Locks that are held and waited for while something happens."""

from scene import Background, name_key, pid_of, wait_until_waiting


class Locks:
    """One is held at session level, one at that of the transaction, and one by a prepared transaction; and for each somebody waits.
    `held` are their names."""

    def __init__(self, connect):
        self.session, self.transaction, preparing, self._observer = (connect() for _ in range(4))
        self.session.execute("SELECT lock_keys('{session}', session => true)")
        self.transaction.execute("BEGIN")
        self.transaction.execute("SELECT lock_keys('{transaction}')")
        preparing.execute("BEGIN")
        preparing.execute("SELECT lock_keys('{prepared}')")
        preparing.execute("PREPARE TRANSACTION 'prepared'")
        preparing.close()
        self.held = ["session", "transaction", "prepared"]
        self._waiting = [self._wait_for(name, connect()) for name in self.held]

    def after_restart(self, connect):
        """The server was started anew: only the prepared transaction is still there."""
        self.held, self._observer = ["prepared"], connect()
        self._waiting = [self._wait_for("prepared", connect())]

    def _wait_for(self, name, db):
        """Each level waits for the other."""
        if name == "session":
            db.execute("BEGIN")
        waiting = Background(db, f"SELECT lock_keys('{{{name}}}', session => {name != 'session'}) IS NOT NULL")
        wait_until_waiting(self._observer, pid_of(db))
        return waiting

    def check(self, db):
        """Another session sees them held and waited for."""
        keys = [name_key(name) for name in self.held]
        assert db.execute("SELECT bool_or(pg_try_advisory_lock(key)) FROM unnest(%s::bigint[]) AS key", [keys]).fetchone() == (False,)
        count = """SELECT count(*) FILTER (WHERE granted), count(*) FILTER (WHERE NOT granted) FROM pg_locks
            WHERE locktype = 'advisory' AND objsubid = 1 AND (classid::int8 << 32) | objid::int8 = ANY (%s)"""
        assert db.execute(count, [keys]).fetchone() == (len(keys), len(keys))

    def end(self, db):
        """All holders end, by what Postgres itself has for that, and all who wait have their turn."""
        if "session" in self.held:
            assert self.session.execute("SELECT pg_advisory_unlock(%s)", [name_key("session")]).fetchone() == (True,)
            self.transaction.execute("COMMIT")
        db.execute("COMMIT PREPARED 'prepared'")
        for waiting in self._waiting:
            waiting.result()
