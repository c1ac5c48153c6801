"""An outside system that fences: it keeps a value, and refuses to write it under a token smaller than one that it has seen.

    python3 fenced.py 8000
    curl -X PUT -H 'Fencing-Token: 7' -d hello http://127.0.0.1:8000/

It forgets all of it when it ends. A real one keeps the token where it keeps the value, and compares and writes in one transaction.
"""

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Fenced(ThreadingHTTPServer):
    """The value, and the greatest token so far."""

    daemon_threads = True

    def __init__(self, port):
        super().__init__(("127.0.0.1", port), Handler)
        self._lock = threading.Lock()
        self.token, self.value = 0, b""

    def write(self, token, value):
        """Was it written?"""
        with self._lock:
            if token < self.token:
                return False
            self.token, self.value = token, value
            return True


class Handler(BaseHTTPRequestHandler):
    """GET reads, PUT with the header Fencing-Token writes: 204, or 412 if a greater token has been seen."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.value)))
        self.end_headers()
        self.wfile.write(self.server.value)

    def do_PUT(self):
        value = self.rfile.read(int(self.headers["Content-Length"]))
        written = self.server.write(int(self.headers["Fencing-Token"]), value)
        self.send_response(204 if written else 412)
        self.end_headers()

    def log_message(self, *arguments):
        pass


if __name__ == "__main__":
    Fenced(int(sys.argv[1])).serve_forever()
