"""As much of a Docker daemon as its clients ask for when another builder builds: who it is, and
`docker load`. What was loaded is kept.
"""

import http.server
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def _answer(self, body: bytes = b"{}") -> None:
        self.send_response(200)
        self.send_header("Api-Version", "1.45")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        if self.path.endswith("/_ping"):
            self._answer(b"OK")
        elif self.path.endswith(("/version", "/info")):
            self._answer(b'{"ApiVersion": "1.45", "Version": "26", "ServerVersion": "26"}')
        else:
            self._answer()

    def do_POST(self) -> None:
        self.server.loaded.append(b"".join(self._body()))
        self._answer(b'{"stream": "Loaded image\\n"}')

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding") != "chunked":
            yield self.rfile.read(int(self.headers.get("Content-Length", 0)))
            return
        while size := int(self.rfile.readline().strip(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path: str) -> None:
        super().__init__(path, _Handler)
        self.loaded: list[bytes] = []


@contextmanager
def dockerd(path: str) -> Iterator[list[bytes]]:
    """Serve at a socket while the block runs. Yields the archives that were loaded."""
    with _Server(path) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.loaded
        finally:
            server.shutdown()
