"""What a program needs that a test starts: the environment in which it connects to where a connection of the test goes."""

import os

from server import default_bindir


def environment(db, **more):
    """With psql of the Postgres that is tested."""
    return {**os.environ, "PGHOST": db.info.host, "PGPORT": str(db.info.port), "PGUSER": db.info.user, "PGDATABASE": db.info.dbname,
            "PATH": f"{default_bindir()}:{os.environ['PATH']}", **more}
