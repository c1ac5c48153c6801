"""Leader election by a lease: of all processes that run this, one at a time works, and whatever it writes carries its token.

    PGHOST=… PGDATABASE=… python3 leader.py --ttl 15 http://127.0.0.1:8000/

With psycopg 3. Why it does what it does stands in docs/leader-election.md.
"""

import argparse
import contextlib
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from datetime import timedelta

import psycopg

KEY = ["leader", "importer"]


def clock():
    """Seconds of a clock that nobody sets, and that goes on while the machine sleeps, if there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lease:
    """A lease, kept by a thread of its own. Whoever works asks for the token before each step."""

    def __init__(self, key, ttl):
        self._key, self._ttl = key, ttl
        self._lock = threading.Lock()
        self._token, self._ends = None, 0
        self._begin_candidacy()
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        """Nothing works any more: the lease is given back."""
        self._leave.set()
        self._thread.join(self._ttl)

    def token(self):
        """The token, while the lease is ours for at least another fifth of the ttl; else None."""
        with self._lock:
            return self._token if clock() < self._ends else None

    def _keep(self):
        while not self._leave.is_set():
            try:
                with psycopg.connect(autocommit=True, prepare_threshold=None, connect_timeout=max(2, int(self._ttl / 3))) as db:
                    self._warnings = []
                    db.add_notice_handler(lambda warning: self._warnings.append(warning.message_primary))
                    while not self._leave.is_set():
                        self._beat(db)
                        self._leave.wait(self._ttl / 3)
                    if (token := self.token()) is not None:
                        self._ask(db, "SELECT advisory_leases.release_lease_key(%s, %s)", self._key, token)
            except psycopg.Error as error:
                print(error, file=sys.stderr, flush=True)
                self._in_doubt = True
                self._leave.wait(self._ttl / 10)

    def _beat(self, db):
        sent, token = clock(), self.token()
        if token is None:
            granted = token = self._take(db)
        else:
            granted = self._renew(db, token)
        with self._lock:
            if not granted:
                self._ends = 0
            elif token != self._token or clock() < self._ends:  # a token that has ended for us stays so
                self._token, self._ends = token, sent + self._ttl * 0.8

    def _take(self, db):
        token = None
        if self._in_doubt:  # a lost answer may have been a token
            token = self._ask(db, "SELECT token FROM advisory_leases.leases WHERE holder = %s", self._holder)
        if token is None or not self._renew(db, token):
            take = "SELECT advisory_leases.try_lease_key(%s, %s, %s)"
            token = self._ask(db, take, self._key, timedelta(seconds=self._ttl), self._holder)
        if token is not None:
            self._begin_candidacy()
        return token

    def _renew(self, db, token):
        return self._ask(db, "SELECT advisory_leases.renew_lease_key(%s, %s, %s)", self._key, token, timedelta(seconds=self._ttl))

    def _begin_candidacy(self):
        """The next token is for a holder that nobody has been before, this process included."""
        self._holder, self._in_doubt = f"{socket.gethostname()} {os.getpid()} {uuid.uuid4()}", False

    def _ask(self, db, statement, *arguments):
        """The answer, committed; an error if it does not come in time."""
        line = socket.socket(fileno=os.dup(db.fileno()))

        def hang_up():
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(self._ttl / 3, hang_up)
        timer.start()
        try:
            row = db.execute(statement, arguments).fetchone()
        finally:
            timer.cancel()
            timer.join()
            line.close()
        if self._warnings:  # committed here, but perhaps not on the standby
            raise psycopg.OperationalError(self._warnings[0])
        return row and row[0]


def work(url, token, patience):
    """One step: a write that the outside system refuses if it knows of a greater token. It fits into a fifth of the ttl."""
    value = f"{socket.gethostname()} {os.getpid()}".encode()
    request = urllib.request.Request(url, value, {"Fencing-Token": str(token)}, method="PUT")
    try:
        urllib.request.urlopen(request, timeout=patience).close()
    except urllib.error.HTTPError as error:
        print("refused" if error.code == 412 else error, token, flush=True)
    except OSError as error:
        print(error, file=sys.stderr, flush=True)


def main():
    arguments = argparse.ArgumentParser(description="Works while it leads.")
    arguments.add_argument("--ttl", type=float, default=15, help="of the lease, in seconds")
    arguments.add_argument("url", help="of what is written to")
    options = arguments.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())

    with Lease(KEY, options.ttl) as lease:
        leads = None
        while True:
            token = lease.token()
            if token != leads:
                print("leads" if token else "stepped down", token or leads, flush=True)
                leads = token
            if token:
                work(options.url, token, options.ttl / 5)
            time.sleep(options.ttl / 50)


if __name__ == "__main__":
    main()
