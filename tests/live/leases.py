"""The add-on advisory_leases in a database of its own: as an extension, or by psql where the portable edition is tested."""

import os
import pathlib
import subprocess

from scene import PORTABLE

LEASES_SQL = next((pathlib.Path(__file__).parents[2] / "leases").glob("advisory_leases--*.sql"))
BINDIR = subprocess.run([os.environ["PG_CONFIG"], "--bindir"], check=True, capture_output=True, text=True).stdout.strip()


def install_leases(db):
    if not PORTABLE:
        db.execute("CREATE EXTENSION advisory_leases")
        return
    subprocess.run([f"{BINDIR}/psql", "-X1q", "-v", "ON_ERROR_STOP=1", "-o", os.devnull, "-f", LEASES_SQL],
                   env=environment(db), check=True)


def environment(db, **more):
    """Of programs that connect to where this connection goes."""
    return {**os.environ, "PGHOST": db.info.host, "PGPORT": str(db.info.port), "PGUSER": db.info.user, "PGDATABASE": db.info.dbname,
            "PATH": f"{BINDIR}:{os.environ['PATH']}", **more}
