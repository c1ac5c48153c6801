"""pgbouncer between a client and the server under test."""

import os
import shutil
import subprocess
import tempfile

import psycopg

from scene import PATIENCE, wait_until

PGBOUNCER = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"

CONFIG = """\
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
unix_socket_dir = {folder}
listen_port = 6432
auth_type = any
pool_mode = {pool_mode}
max_client_conn = 100
default_pool_size = {pool_size}
"""


class Pooler:
    """One, on a Unix socket."""

    def __init__(self, database, pool_size, user=None, pool_mode="transaction"):
        self._database = database
        self._folder = tempfile.mkdtemp(prefix="advisory_keys-pooler.")
        path = os.path.join(self._folder, "pgbouncer.ini")
        with open(path, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(
                host=os.environ["PGHOST"], port=os.environ.get("PGPORT", "5432"),
                user=user or os.environ["PGUSER"], folder=self._folder, pool_size=pool_size, pool_mode=pool_mode))
        command = [PGBOUNCER, "-q", path]
        if os.getuid() == 0:  # pgbouncer refuses to run as root
            subprocess.run(["chown", "-R", "postgres", self._folder], check=True)
            command = ["runuser", "-u", "postgres", "--", *command]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_until(self._answers, "pgbouncer answers")

    def _answers(self):
        try:
            self.connect().close()
            return True
        except psycopg.OperationalError:
            return False

    def connect(self):
        return psycopg.connect(
            host=self._folder, port=6432, user="anybody", dbname=self._database, autocommit=True, prepare_threshold=None)

    def end(self):
        self._process.terminate()
        self._process.wait(PATIENCE)
        shutil.rmtree(self._folder)
