"""The log of the server under test: the file that ADVISORY_KEYS_SERVER_LOG names."""

import os

import pytest

from scene import own_context, wait_until


class ServerLog:
    """What the server logs from now on."""

    def __init__(self):
        self._path = os.environ["ADVISORY_KEYS_SERVER_LOG"]
        self._start = os.path.getsize(self._path)

    def text(self):
        with open(self._path, "rb") as log:
            log.seek(self._start)
            return log.read().decode(errors="replace")

    def report(self, beginning):
        """The lines of the report whose first line has this text, once it is there as a whole."""
        wait_until(lambda: "STATEMENT:" in self.text().partition(beginning)[2], f"{beginning!r} in the log")
        return own_context(self.text().partition(beginning)[2].partition("STATEMENT:")[0])


@pytest.fixture
def server_log():
    return ServerLog()
