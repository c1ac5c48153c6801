"""psycopg 3."""

import psycopg

from protocol import own_key, serve


class Client:
    def __init__(self):
        self.connection = psycopg.connect()

    def driver(self):
        return f"psycopg {psycopg.__version__}"

    def _one(self, statement, *parameters, **options):
        return self.connection.execute(statement, parameters, **options).fetchone()[0]

    def do_key(self, parts):
        ask = "SELECT advisory_key(%s)"
        keys = [own_key(*parts), self._one(ask, parts), self._one(ask, parts, prepare=True)]
        keys.append(self._one("SELECT advisory_key(%b)", parts, binary=True))
        self.connection.rollback()
        return keys

    def do_try(self, parts):
        return self._one("SELECT try_lock_keys(%s)", parts)

    def do_integer(self, parts):
        return self._one("SELECT pg_try_advisory_xact_lock(%s)", own_key(*parts))

    def do_wait(self, milliseconds, parts):
        return self._one("SELECT try_lock_keys(%s, timeout => %s)", parts, f"{milliseconds}ms")

    def do_slot(self, slots, parts):
        return self._one("SELECT try_lock_slot(%s, %s)", parts, slots)

    def do_claim(self, wanted, parts):
        return self._one("SELECT claim_keys(%s, wanted => %s)", [[part] for part in parts], wanted)

    def acquire(self, parts):
        self.connection.execute("CALL acquire_keys(%s)", [parts])

    def do_fail(self, parts):
        try:
            self._one("SELECT lock_keys(%s, timeout => '0')", parts)
        except psycopg.Error as error:  # psycopg.errors.LockNotAvailable when refused
            self.connection.rollback()
            return error.sqlstate

    def commit(self):
        self.connection.commit()


serve(Client())
