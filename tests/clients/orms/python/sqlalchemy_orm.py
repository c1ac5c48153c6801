from datetime import timedelta

import sqlalchemy
from sqlalchemy import create_engine, func, select, text
from sqlalchemy.orm import Session

from scene import PARTS, answer, check, error_of, is_free

engine = create_engine("postgresql+psycopg://", pool_size=1, max_overflow=0)


def execute(statement, parameters=None):
    with engine.begin() as connection:
        return connection.scalar(text(statement), parameters or {"parts": PARTS})


facts = check(
    version=sqlalchemy.__version__,
    names={"engine": engine, "Session": Session, "text": text},
    refuse=lambda: execute("SELECT lock_keys(:parts, timeout => '0')"),
    lock=lambda: execute("SELECT lock_keys(:parts, session => true)"),
    unlock=lambda: execute("SELECT release_keys(:parts)"),
)

# Autocommit: the lock ends with its statement.
with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
    assert connection.scalar(text("SELECT try_lock_keys(:parts)"), {"parts": PARTS}) is True
    assert is_free()

# A tuple, numbers, both.
for parts, message in ((tuple(PARTS), "malformed array literal"), ([1, 2], "try_lock_keys(smallint[]) does not exist"), (["a", 1], "mixed types")):
    assert message in str(error_of(lambda parts=parts: execute("SELECT try_lock_keys(:parts)", {"parts": parts})))

# What type a timeout has.
with engine.begin() as connection:
    assert connection.scalar(select(func.try_lock_keys(PARTS, timedelta(seconds=5)))) is True
    assert "(unknown, character varying) does not exist" in str(error_of(lambda: connection.scalar(select(func.try_lock_keys(PARTS, "5s")))))
answer(facts)
