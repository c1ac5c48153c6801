"""The programs that tests start, with what they need to connect to where a connection of the test goes."""

import os
import subprocess

from server import default_bindir


def environment(db, **more):
    """With psql of the Postgres that is tested."""
    return {**os.environ, "PGHOST": db.info.host, "PGPORT": str(db.info.port), "PGUSER": db.info.user, "PGDATABASE": db.info.dbname,
            "PATH": f"{default_bindir()}:{os.environ['PATH']}", **more}


def program(name, *options, check=True, **more):
    """Runs one of the Postgres that is tested; what it said."""
    return subprocess.run([f"{default_bindir()}/{name}", *options], check=check, capture_output=True, **more)
