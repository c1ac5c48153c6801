"""A Postgres server of a test's own, for what cannot be done to the one that all tests share:
settings that need a start, restarts and crashes."""

import os
import signal
import subprocess
import tempfile

import psycopg
import pytest

from scene import MAJOR, connections, install, wait_until

MODES = {"preloaded": {"shared_preload_libraries": "advisory_keys"}}
"""How the library gets its shared memory, and the settings for that."""
if MAJOR >= 17:
    MODES["on demand"] = {}


def server_fixture(modes=None, **settings):
    """Makes a fixture: a server for the tests of a module, once in each of the modes if there are any."""
    @pytest.fixture(scope="module", params=modes)
    def server(request):
        with Server(**(modes[request.param] if modes else {}), **settings) as server:
            yield server

    return server


@pytest.fixture
def connect(server):
    """A factory of connections to the server of the module's own, all closed when the test ends."""
    with connections(server.connect) as connect:
        yield connect


def default_bindir():
    """Where the programs of PG_CONFIG are."""
    return subprocess.run([os.environ["PG_CONFIG"], "--bindir"], check=True, capture_output=True, text=True).stdout.strip()


class Server:
    """A new, empty server on a Unix socket, with the extension in its database `postgres`, or what else `install`
    puts there; with the programs in `bindir`, if not those of PG_CONFIG. As a context, it is removed in the end."""

    def __init__(self, bindir=None, install=install, **settings):
        self.bindir = bindir or default_bindir()
        self._make_folder()
        # With checksums, as 18 has them by default: pg_upgrade wants them alike.
        self._run("initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync", "-k")
        self._configure(listen_addresses="", fsync="off", **settings)
        self.start()
        with self.connect() as db:
            install(db)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

    def standby(self, **settings):
        """A server that follows this one."""
        standby = object.__new__(Server)
        standby.bindir = self.bindir
        standby._make_folder()
        standby._run("pg_basebackup", "-R", "-h", self._folder, "-U", "postgres", "--checkpoint=fast", "--no-sync")
        standby._configure(**settings)
        standby.start()
        return standby

    def wait_until_replayed(self, primary):
        """Until this standby has all that the primary has written."""
        with primary.connect() as there, self.connect() as here:
            lsn = there.execute("SELECT pg_current_wal_lsn()").fetchone()
            wait_until(lambda: here.execute("SELECT pg_last_wal_replay_lsn() >= %s", lsn).fetchone()[0], "the standby has it all")

    def promote(self):
        """Makes a primary of this standby."""
        with self.connect() as db:
            db.execute("SELECT pg_promote()")
            wait_until(lambda: not db.execute("SELECT pg_is_in_recovery()").fetchone()[0], "the promotion")

    def _make_folder(self):
        self._folder = tempfile.mkdtemp(prefix="advisory_keys-live.")
        os.chmod(self._folder, 0o755)
        self._data = os.path.join(self._folder, "data")
        if os.getuid() == 0:  # Postgres refuses to run as root
            subprocess.run(["chown", "postgres", self._folder], check=True)

    def _configure(self, **settings):
        # It asks for no password, so nobody else on the machine may connect.
        settings = {"unix_socket_directories": self._folder, "unix_socket_permissions": "0700", **settings}
        lines = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        with open(os.path.join(self._data, "postgresql.conf"), "a", encoding="utf-8") as file:
            file.write(lines)

    def _run(self, program, *arguments, stdout=subprocess.DEVNULL):
        command = [os.path.join(self.bindir, program), "-D", self._data, *arguments]
        if os.getuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        subprocess.run(command, check=True, cwd=self._folder, stdout=stdout)

    def start(self):
        self._run("pg_ctl", "-w", "-s", "-l", os.path.join(self._folder, "server.log"), "start")

    def stop(self, mode="immediate"):
        self._run("pg_ctl", "-w", "-s", "-m", mode, "stop")

    def upgrade_from(self, old):
        """pg_upgrade of another server to this one, which is empty; both are stopped."""
        clusters = ["-b", old.bindir, "-d", old._data, "-B", self.bindir, "-s", self._folder]
        # It says what is wrong on its standard output.
        self._run("pg_upgrade", *clusters, "-U", "postgres", "--no-sync", stdout=None)

    def remove(self):
        if os.path.exists(os.path.join(self._data, "postmaster.pid")):
            self.stop()
        subprocess.run(["rm", "-rf", self._folder], check=True)

    def connect(self, **options):
        defaults = {"host": self._folder, "port": 5432, "user": "postgres", "dbname": "postgres", "autocommit": True}
        return psycopg.connect(**{**defaults, **options})

    def log(self):
        with open(os.path.join(self._folder, "server.log"), encoding="utf-8") as file:
            return file.read()

    def crash_by_killing(self, pid):
        """Kills a backend with SIGKILL: Postgres then ends all others and starts anew by itself."""
        with self.connect() as witness:
            os.kill(pid, signal.SIGKILL)
            # Until the postmaster has noticed, the server goes on as if nothing had happened.
            wait_until(lambda: not self._answers(witness), "the crash")
        wait_until(self._accepts, "the server comes back")

    @staticmethod
    def _answers(connection):
        try:
            connection.execute("SELECT 1")
            return True
        except psycopg.OperationalError:
            return False

    def _accepts(self):
        try:
            with self.connect() as db:
                return self._answers(db)
        except psycopg.OperationalError:
            return False
