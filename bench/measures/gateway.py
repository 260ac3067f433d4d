"""In charge of a gateway process, and of talking to it with as little of the client's own time as can be."""
import contextlib
import http.client
import os
import socket
import subprocess
import time

from .postgres import Broken

# Far above what is measured: bounds are not what is asked about here.
BOUNDS = {f"GODWIT_{name}_MAX": "15000" for name in
          ("LONGPOLLS", "LONGPOLLS_PER_CLIENT", "CONNECTIONS", "CONNECTIONS_PER_CLIENT")}
STARTING_S = 10


class Gateway:
    def __enter__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % free.getsockname()[1]
        # A statement of a slow build is measured to its end.
        environment = {**os.environ, **BOUNDS, "GODWIT_LISTEN": self.address, "GODWIT_LOG": "error",
                       "GODWIT_STATEMENT_TIMEOUT_MS": "0", "GODWIT_REQUEST_TIMEOUT_MS": "600000"}
        self.process = subprocess.Popen([os.environ["GODWIT_BIN"], "serve"], env=environment)
        self.pid = self.process.pid
        ends = time.monotonic() + STARTING_S
        while time.monotonic() < ends and self.process.poll() is None:
            with contextlib.suppress(OSError), self.connection() as connection:
                connection.get("/health/ready")
                return self
            time.sleep(0.05)
        self.__exit__()
        raise Broken("the gateway did not start: see the lines above")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def connection(self):
        return Connection(self.address)

    def drain(self, path, changes):
        """Seconds until this many changes of a feed have come."""
        host, port = self.address.split(":")
        with socket.create_connection((host, int(port))) as stream:
            begun = time.monotonic()
            stream.sendall(f"GET {path} HTTP/1.1\r\nhost: {self.address}\r\n\r\n".encode())
            # A line ends in }\n, a chunk's head in \r\n: so the lines can be counted without taking chunks apart.
            lines, marks = Counter(b"}\n"), Counter(b'{"next":')
            first = b""
            while lines.count - marks.count < changes:
                read = stream.recv(1 << 20)
                first = first or read
                if not read:
                    raise Broken(f"{path} ended after {lines.count} lines: {first[:400]!r}")
                lines.see(read)
                marks.see(read)
            return time.monotonic() - begun


class Counter:
    """Counts a pattern in a stream, also where it lies across two reads."""

    def __init__(self, pattern):
        self.pattern, self.rest, self.count = pattern, b"", 0

    def see(self, read):
        short = len(self.pattern) - 1
        self.count += (self.rest + read[:short]).count(self.pattern) + read.count(self.pattern)
        self.rest = (self.rest + read[-short:])[-short:]


class Connection(contextlib.AbstractContextManager):
    def __init__(self, address):
        self.http = http.client.HTTPConnection(address)

    def __exit__(self, *_):
        self.http.close()

    def get(self, path):
        return self.ask("GET", path)

    def post(self, path, body):
        return self.ask("POST", path, body)

    def ask(self, method, path, body=None):
        self.http.request(method, path, body, {"content-type": "application/json"})
        answer = self.http.getresponse()
        read = answer.read()
        if answer.status != 200:
            raise Broken(f"{method} {path} was answered with {answer.status}: {read[:400].decode(errors='replace')}")
        return read
