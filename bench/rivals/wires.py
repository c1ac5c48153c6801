"""Clients of four servers, all in the same style: what is sent was made before, and of what is read only so much is looked at as
is needed to know that the lock was granted and released. So the servers are measured, and not the libraries that people use them
with; none is needed either.
"""

import secrets
import socket
import struct
import time

WAIT_AT_MOST = 60
"""Seconds until a server that says nothing is given up."""


class Wire:
    """A connection on a Unix socket, and for each name the requests that lock and release it."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", WAIT_AT_MOST, 0))
        self.socket.connect(path)
        self.locks, self.releases = {}, {}
        self.granted = self.released = b""

    def learn(self, name):
        """Locks and releases a free name: what is answered then is what has to be answered from now on."""
        self.granted = self.ask(self.locks[name])
        self.released = self.ask(self.releases[name])

    def ask(self, request):
        """A request whose answer is not known before."""
        self.socket.sendall(request)
        answer = self.socket.recv(65536)
        while not self.complete(answer):
            answer += self.socket.recv(65536)
        return answer

    def exchange(self, request, answer):
        self.socket.sendall(request)
        got = self.socket.recv(len(answer), socket.MSG_WAITALL)
        if got != answer:
            raise RuntimeError(f"answered with {got!r}, not {answer!r}")

    def lock(self, name):
        self.exchange(self.locks[name], self.granted)

    def release(self, name):
        self.exchange(self.releases[name], self.released)

    def pairs(self, name, count):
        """So many locks and releases, all sent before the first answer is read."""
        self.exchange((self.locks[name] + self.releases[name]) * count, (self.granted + self.released) * count)


class Postgres(Wire):
    """Prepared statements that take the name, or its key, as their parameter."""

    def __init__(self, path, database, lock, release, parameters):
        super().__init__(path)
        options = b"user\0postgres\0database\0" + database.encode() + b"\0\0"
        self.ask(struct.pack("!ii", 8 + len(options), 196608) + options)
        for statement, text in ((b"lock", lock), (b"release", release)):
            self.ask(self.message(b"P", statement + b"\0" + text.encode() + b"\0\0\0") + self.message(b"S"))
        for name, parameter in parameters.items():
            self.locks[name] = self.execute(b"lock", parameter.encode())
            self.releases[name] = self.execute(b"release", parameter.encode())
        self.learn(next(iter(parameters)))

    @staticmethod
    def message(kind, body=b""):
        return kind + struct.pack("!i", 4 + len(body)) + body

    def execute(self, statement, parameter):
        bind = b"\0" + statement + b"\0" + struct.pack("!hhi", 0, 1, len(parameter)) + parameter + struct.pack("!h", 0)
        return self.message(b"B", bind) + self.message(b"E", b"\0\0\0\0\0") + self.message(b"S")

    def complete(self, answer):
        if answer[:1] in b"EN":
            raise RuntimeError(f"Postgres says {answer!r}")
        return answer.endswith(b"Z\0\0\0\5I")


class Redis(Wire):
    """SET NX PX, and the script of Redis' documentation that deletes what is still the client's own. Nobody waits in line there:
    who did not get it asks again after a delay."""

    SCRIPT = b'if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end'

    def __init__(self, path, names, delay):
        super().__init__(path)
        self.delay = delay
        digest = self.ask(self.command(b"SCRIPT", b"LOAD", self.SCRIPT)).split(b"\r\n")[1]
        token = secrets.token_hex(16).encode()
        for name in names:
            self.locks[name] = self.command(b"SET", name.encode(), token, b"NX", b"PX", b"30000")
            self.releases[name] = self.command(b"EVALSHA", digest, b"1", name.encode(), token)
        self.granted, self.refused, self.released = b"+OK\r\n", b"$-1\r\n", b":1\r\n"

    @staticmethod
    def command(*words):
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)

    def complete(self, answer):
        return answer.endswith(b"\r\n")

    def lock(self, name):
        while (answer := self.ask(self.locks[name])) == self.refused:
            time.sleep(self.delay)
        if answer != self.granted:
            raise RuntimeError(f"Redis says {answer!r}")


class MariaDB(Wire):
    """Prepared statements, one for each name."""

    def __init__(self, path, names):
        super().__init__(path)
        self.packets = 1
        self.ask(b"")
        # CLIENT_LONG_PASSWORD, CLIENT_PROTOCOL_41, CLIENT_SECURE_CONNECTION; no password.
        self.ask(self.packet(struct.pack("<IIB23x", 0x8201, 1 << 24, 45) + b"root\0\0", 1))
        for name in names:
            self.locks[name] = self.prepare(f"SELECT GET_LOCK('{name}', {WAIT_AT_MOST}) AS locked")
            self.releases[name] = self.prepare(f"SELECT RELEASE_LOCK('{name}') AS released")
        self.packets = 5
        self.learn(names[0])
        # The row with a 1, before the last packet.
        for answer in (self.granted, self.released):
            if not answer[:-9].endswith(b"\4\0\0\1\0\0\0"):
                raise RuntimeError(f"MariaDB says {answer!r}")

    @staticmethod
    def packet(body, number=0):
        return struct.pack("<I", len(body))[:3] + bytes([number]) + body

    def prepare(self, statement):
        self.packets = 3
        identifier = self.ask(self.packet(b"\x16" + statement.encode()))[5:9]
        return self.packet(b"\x17" + identifier + b"\0" + struct.pack("<I", 1))

    def complete(self, answer):
        """Are that many packets there, the last of which ends it?"""
        packets, at = 0, 0
        while at + 4 <= len(answer):
            at += 4 + int.from_bytes(answer[at:at + 3], "little")
            packets += 1
        if answer[4:5] == b"\xff":
            raise RuntimeError(f"MariaDB says {answer!r}")
        return packets == self.packets and at == len(answer)


class Etcd(Wire):
    """The lock service, under a lease that the client holds all the time; as much of HTTP/2 and protocol buffers as that takes."""

    def __init__(self, path, names):
        super().__init__(path)
        self.stream = -1
        self.buffer = bytearray()
        window = struct.pack("!I", (1 << 31) - 1 - 65535)
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.frame(4, 0, 0, b"\0\4" + struct.pack("!I", (1 << 31) - 1)) +
                            self.frame(8, 0, 0, window))
        lease = secrets.randbits(62) | 1
        self.call(self.request(b"/etcdserverpb.Lease/LeaseGrant", self.field(1, 120) + self.field(2, lease)))
        for name in names:
            self.locks[name] = self.request(b"/v3lockpb.Lock/Lock", self.field(1, name.encode()) + self.field(2, lease))
            # The lock is a key of this name.
            self.releases[name] = self.request(b"/v3lockpb.Lock/Unlock", self.field(1, f"{name}/{lease:x}".encode()))

    @staticmethod
    def frame(kind, flags, stream, body):
        return struct.pack("!I", len(body))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + body

    @staticmethod
    def varint(number):
        digits = bytearray()
        while number > 127:
            digits.append(number & 127 | 128)
            number >>= 7
        return bytes(digits) + bytes([number])

    def field(self, number, value):
        if isinstance(value, int):
            return bytes([number << 3]) + self.varint(value)
        return bytes([number << 3 | 2]) + self.varint(len(value)) + value

    @staticmethod
    def request(path, message):
        headers = b"\x83\x86\x04" + bytes([len(path)]) + path + b"\x01\x09localhost\x0f\x10\x10application/grpc\x00\x02te\x08trailers"
        return headers, b"\0" + struct.pack("!I", len(message)) + message

    def take(self, count):
        while len(self.buffer) < count:
            chunk = self.socket.recv(65536)
            if not chunk:
                raise RuntimeError("etcd has closed the connection")
            self.buffer += chunk
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    def call(self, request):
        """A call is answered with data; one that failed has none."""
        self.stream += 2
        headers, message = request
        self.socket.sendall(self.frame(1, 4, self.stream, headers) + self.frame(0, 1, self.stream, message))
        data = b""
        while True:
            head = self.take(9)
            body = self.take(int.from_bytes(head[:3], "big"))
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
            if kind == 4 and not flags & 1:
                self.socket.sendall(self.frame(4, 1, 0, b""))
            elif kind == 6 and not flags & 1:
                self.socket.sendall(self.frame(6, 1, 0, body))
            elif kind in (3, 7):
                raise RuntimeError(f"etcd refuses: {body!r}")
            elif stream == self.stream:
                data += body if kind == 0 else b""
                if flags & 1:
                    break
        if not data:
            raise RuntimeError("etcd answers with an error")

    def lock(self, name):
        self.call(self.locks[name])

    def release(self, name):
        self.call(self.releases[name])
