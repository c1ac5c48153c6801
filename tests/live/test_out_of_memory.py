"""Memory that runs out under Postgres' own locks: an error, and nobody hangs."""

import os
import subprocess

import psycopg
import pytest

from scene import Background, held_keys, native_only, pid_of
from server import Server

pytestmark = native_only("nothing there looks at the lock table by itself")

MANY = 12_000
"""Locks, of which a copy does not fit into what is left."""


@pytest.fixture(scope="module")
def server():
    with Server(max_locks_per_transaction=300) as server, server.connect() as db:
        db.execute("SELECT count(pg_advisory_lock(i)) FROM generate_series(1, %s) AS i", [MANY])
        yield server


def leave(pid, more):
    """Lets a process have so many bytes more."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        size = next(int(line.split()[1]) for line in status if line.startswith("VmSize"))
    command = ["prlimit", "--pid", str(pid), f"--as={size * 1024 + more}"]
    if os.getuid() == 0:  # who may not limit others' processes
        command = ["runuser", "-u", "postgres", "--", *command]
    subprocess.run(command, check=True)


@pytest.mark.parametrize("call", ["lock_keys('{{u},{v},{w}}')", "claim_keys('{{u},{v},{w}}', 3)"])
def test_while_the_lock_table_is_copied(server, call):
    with server.connect() as db, server.connect() as other:
        db.execute("SET advisory_keys.max_keys_per_session = 2")
        # What it needs but once, it has now.
        db.execute("BEGIN; SELECT claim_keys('{{x},{y}}'); ROLLBACK; SELECT slots_held('{z}')")
        leave(pid_of(db), 600_000)
        attempt = Background(db, f"SELECT {call}")
        with pytest.raises(psycopg.errors.OutOfMemory):
            attempt.result()
        # Whoever holds them in shared memory would keep all others from locking.
        looked = Background(other, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        assert looked.result() == MANY
        assert held_keys(other, pid_of(db)) == []
