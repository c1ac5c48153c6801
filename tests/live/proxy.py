"""A network between a client and its server that can be cut, in a thread: a Unix socket before another one."""

import contextlib
import os
import selectors
import shutil
import socket
import tempfile
import threading


class Proxy:
    """Clients connect to `folder`, as if that were the server's. What is held back is delivered late, not lost."""

    def __init__(self, server_folder, port=5432):
        self.folder = tempfile.mkdtemp(prefix="advisory_keys-proxy.")
        self.most_connections = 0
        self.requests, self.replies = True, True  # does either go through?
        self._server = os.path.join(server_folder, f".s.PGSQL.{port}")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.path.join(self.folder, f".s.PGSQL.{port}"))
        self._listener.listen()
        self._pairs, self._stranded, self._held_back = [], [], None
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self):
        """Both ends of a line that carries nothing: neither notices."""
        self.requests = self.replies = False

    def hold_answer_to(self, text):
        """Lets nothing back from the next request on that has this text."""
        self._held_back = text

    def strand(self):
        """What is connected now carries nothing any more; what connects anew does."""
        self._stranded = list(self._pairs)

    def mend(self):
        self.requests = self.replies = True

    def end(self):
        self._ended = True
        self._thread.join()
        shutil.rmtree(self.folder)

    def _run(self):
        with selectors.DefaultSelector() as ready:
            self._ready = ready
            ready.register(self._listener, selectors.EVENT_READ)
            while not self._ended:
                for key, _ in ready.select(0.005):
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj in ready.get_map():
                        self._forward(key.fileobj, *key.data)
                self._deliver()
            for pair in list(self._pairs):
                self._close(pair)
            self._listener.close()

    def _accept(self):
        client, server = self._listener.accept()[0], socket.socket(socket.AF_UNIX)
        try:
            server.connect(self._server)
        except OSError:  # it is not there
            client.close()
            server.close()
            return
        pair = {"ends": (client, server), "held": {client: b"", server: b""}}
        self._pairs.append(pair)
        self.most_connections = max(self.most_connections, sum("ended" not in pair for pair in self._pairs))
        self._ready.register(client, selectors.EVENT_READ, (server, pair))
        self._ready.register(server, selectors.EVENT_READ, (client, pair))

    def _forward(self, source, target, pair):
        data = b""
        with contextlib.suppress(OSError):
            data = source.recv(65536)
        if self._held_back and self._held_back in data:
            self._held_back, self.replies = None, False
        if data:
            pair["held"][target] += data
        else:
            pair["ended"] = True
            self._ready.unregister(source)

    def _deliver(self):
        for pair in list(self._pairs):
            client, server = pair["ends"]
            for target, open_way in ((server, self.requests), (client, self.replies)):
                if open_way and pair["held"][target] and pair not in self._stranded:
                    data, pair["held"][target] = pair["held"][target], b""
                    with contextlib.suppress(OSError):
                        target.sendall(data)
            if "ended" in pair and not pair["held"][server]:
                self._close(pair)

    def _close(self, pair):
        self._pairs.remove(pair)
        for end in pair["ends"]:
            with contextlib.suppress(KeyError):
                self._ready.unregister(end)
            end.close()
