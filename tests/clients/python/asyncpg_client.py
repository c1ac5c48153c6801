"""asyncpg: always prepared, always binary."""

import asyncio
from datetime import timedelta

import asyncpg

from protocol import own_key, serve


class Client:
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.connection = self.loop.run_until_complete(asyncpg.connect())
        self.transaction = None

    def driver(self):
        return f"asyncpg {asyncpg.__version__}"

    def _run(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def _begin(self):
        if self.transaction is None:
            self.transaction = self.connection.transaction()
            self._run(self.transaction.start())

    def _one(self, statement, *parameters):
        self._begin()
        return self._run(self.connection.fetchval(statement, *parameters))

    def do_key(self, parts):
        return [own_key(*parts), self._run(self.connection.fetchval("SELECT advisory_key($1)", parts))]

    def do_try(self, parts):
        return self._one("SELECT try_lock_keys($1)", parts)

    def do_integer(self, parts):
        return self._one("SELECT pg_try_advisory_xact_lock($1)", own_key(*parts))

    def do_wait(self, milliseconds, parts):
        return self._one("SELECT try_lock_keys($1, timeout => $2)", parts, timedelta(milliseconds=milliseconds))

    def do_slot(self, slots, parts):
        return self._one("SELECT try_lock_slot($1, $2)", parts, slots)

    def do_claim(self, wanted, parts):
        return self._one("SELECT claim_keys($1, wanted => $2)", [[part] for part in parts], wanted)

    def acquire(self, parts):
        self._begin()
        self._run(self.connection.execute("CALL acquire_keys($1)", parts))

    def do_fail(self, parts):
        try:
            self._one("SELECT lock_keys($1, timeout => '0')", parts)
        except asyncpg.PostgresError as error:  # LockNotAvailableError when refused
            self._run(self.transaction.rollback())
            self.transaction = None
            return error.sqlstate

    def commit(self):
        self._run(self.transaction.commit())
        self.transaction = None


serve(Client())
