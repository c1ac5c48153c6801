"""What an extension is in a database, to be compared with what it is in another."""

import os
import re
import subprocess

from server import default_bindir

UNLIKE = re.compile(r"SELECT pg_catalog\.binary_upgrade_set_next_|SET relfrozenxid = |\\(un)?restrict ")
"""Lines with numbers that are others in every database or dump."""


def description(db, bindir=None):
    """All that makes up the extensions of a database, as its pg_dump sees it for pg_upgrade: the version and each object with its
    labels, owner, comment and privileges."""
    program = os.path.join(bindir or default_bindir(), "pg_dump")
    where = ["-h", db.info.host, "-p", str(db.info.port), "-U", db.info.user, "-d", db.info.dbname]
    dump = subprocess.run([program, "--binary-upgrade", "--schema-only", *where], check=True, capture_output=True, text=True).stdout
    return [line for line in dump.splitlines() if not UNLIKE.match(line)]
