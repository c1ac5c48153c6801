"""SQLAlchemy: `acquire(session, *ids)` raises when the lock is taken."""

import sqlalchemy
from sqlalchemy import create_engine, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from protocol import own_key, serve


class LockTaken(Exception):
    """Somebody else holds the lock."""


def acquire(session, *ids):
    """Locks a name until the end of the session's transaction, or raises LockTaken."""
    if not session.scalar(select(func.try_lock_keys(list(ids)))):
        raise LockTaken("-".join(ids))


class Client:
    def __init__(self):
        self.session = Session(create_engine("postgresql+psycopg://"))

    def driver(self):
        return f"sqlalchemy {sqlalchemy.__version__}"

    def do_key(self, parts):
        key = self.session.scalar(select(func.advisory_key(parts)))
        self.session.rollback()
        return [own_key(*parts), key]

    def do_try(self, parts):
        try:
            acquire(self.session, *parts)
            return True
        except LockTaken:
            return False

    def do_integer(self, parts):
        return self.session.scalar(select(func.pg_try_advisory_xact_lock(own_key(*parts))))

    def do_wait(self, milliseconds, parts):
        statement = sqlalchemy.text("SELECT try_lock_keys(:parts, timeout => :timeout)")
        return self.session.scalar(statement, {"parts": parts, "timeout": f"{milliseconds}ms"})

    def do_slot(self, slots, parts):
        return self.session.scalar(select(func.try_lock_slot(parts, slots)))

    def do_claim(self, wanted, parts):
        return self.session.scalar(select(func.claim_keys([[part] for part in parts], wanted)))

    def acquire(self, parts):
        self.session.execute(sqlalchemy.text("CALL acquire_keys(:parts)"), {"parts": parts})

    def do_fail(self, parts):
        try:
            self.session.execute(sqlalchemy.text("SELECT lock_keys(:parts, timeout => '0')"), {"parts": parts})
        except DBAPIError as error:
            self.session.rollback()
            return error.orig.sqlstate

    def commit(self):
        self.session.commit()


serve(Client())
