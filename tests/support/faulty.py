"""A registry in a few lines that can be told to fail, in each of the ways in which real ones do.

Comes in: blobs, and a list of faults. Goes out: HTTP. `faults` are taken one for each request that
fits, in order; without one the request is served well. `asked` is every request with its range,
`logins` its Authorization.
"""

import hashlib
import http.server
import json
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

_LONG_BYTES = 500_000
LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"


class Fault(NamedTuple):
    """What happens to a request whose line contains `where`.

    `kind` is a status, `cut` (the answer or the upload ends after `at` bytes), `hang`, `loop` (a
    redirect to itself), `wrong` (other bytes than asked for), `norange` (all of it, always).
    `code` is the distribution spec's word in the answer.
    """

    where: str
    kind: str | int
    headers: tuple[tuple[str, str], ...] = ()
    at: int = 0
    code: str = "X"


def digest(data: bytes) -> str:
    """The digest of some bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Faulty(http.server.ThreadingHTTPServer):
    """The server; use as `with Faulty() as server`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"127.0.0.1:{self.server_port}"
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.asked: list[str] = []
        self.logins: list[str] = []
        self.uploads: dict[str, bytearray] = {}
        self.chunk_min = 0
        self.mounts = False
        self.halfway: Callable[[], None] | None = None
        self.over = threading.Event()
        self.taking = threading.Lock()

    def __enter__(self) -> "Faulty":
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()

    def put(self, data: bytes) -> str:
        """Have a blob."""
        self.blobs[digest(data)] = data
        return digest(data)

    def image(self, name: str, *layers: bytes) -> str:
        """Have an image of these layers; returns its full name."""
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
            }
        ).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": self.put(config), "size": len(config)},
            "layers": [
                {"mediaType": LAYER, "digest": self.put(layer), "size": len(layer)}
                for layer in layers
            ],
        }
        data = json.dumps(manifest).encode()
        self.manifests["latest"] = self.manifests[digest(data)] = data
        return f"{self.address}/{name}:latest"

    def fault(self, line: str) -> Fault | None:
        """The next fault for a request, taken off the list."""
        with self.taking:
            for number, fault in enumerate(self.faults):
                if fault.where in line:
                    return self.faults.pop(number)
        return None


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Faulty
    protocol_version = "HTTP/1.1"
    _cut = 0

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PATCH = do_PUT = do_GET

    def _serve(self) -> None:
        line = f"{self.command} {self.path}"
        ranges = self.headers.get("Range") or self.headers.get("Content-Range") or ""
        self.server.asked.append(f"{line} {ranges}".strip())
        self.server.logins.append(self.headers.get("Authorization", ""))
        fault = self.server.fault(line)
        self._cut = fault.at if fault and fault.kind == "cut" else 0
        match fault:
            case None:
                self._well()
            case Fault(kind=int() as status):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                error = {"code": fault.code, "message": "so it is"}
                self._answer(status, json.dumps({"errors": [error]}).encode(), *fault.headers)
            case Fault(kind="hang"):
                self.server.over.wait()
                self.close_connection = True
            case Fault(kind="loop"):
                self.server.faults.insert(0, fault)
                self._answer(307, b"", ("Location", self.path))
            case Fault(kind="norange"):
                del self.headers["Range"]
                self._well()
            case Fault(kind="wrong"):
                self._answer(200, bytes(len(self.server.blobs[self.path.rpartition("/")[2]])))
            case _:
                self._well()

    def _well(self) -> None:
        server, name = self.server, self.path.partition("?")[0].rpartition("/")[2]
        if self.path == "/v2/":
            self._answer(200, b"{}")
        elif "/uploads/" in self.path:
            self._upload(name)
        elif self.command == "PUT":
            data = self.rfile.read(int(self.headers["Content-Length"]))
            server.manifests[name] = server.manifests[digest(data)] = data
            self._answer(201, b"", ("Docker-Content-Digest", digest(data)))
        elif "/manifests/" in self.path and name in server.manifests:
            self._answer(200, server.manifests[name], ("Content-Type", MANIFEST))
        elif "/blobs/" in self.path and name in server.blobs:
            self._blob(server.blobs[name])
        else:
            self._answer(404, b'{"errors":[{"code":"NAME_UNKNOWN","message":"no such thing"}]}')

    def _blob(self, data: bytes) -> None:
        wanted = self.headers.get("Range", "")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        headers = (
            (("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}"),) if wanted else ()
        )
        self._answer(206 if wanted else 200, data[start:], *headers)

    def _upload(self, name: str) -> None:
        server = self.server
        if self.command == "POST":
            if server.mounts and "mount=" in self.path:
                self._answer(201, b"")
                return
            name = f"u{len(server.uploads)}"
            server.uploads[name] = bytearray()
        state = server.uploads[name]
        length = int(self.headers.get("Content-Length", 0))
        if self._cut:
            state += self.rfile.read(self._cut)
            self.close_connection = True
            return
        state += self.rfile.read(length)
        status = 202
        if self.command == "PUT":
            wanted = self.path.partition("digest=")[2]
            status = 201 if digest(bytes(state)) == wanted else 400
            server.blobs[digest(bytes(state))] = bytes(state)
        elif self.command == "GET":
            status = 204
        least = (("OCI-Chunk-Min-Length", str(server.chunk_min)),) if server.chunk_min else ()
        self._answer(
            status,
            b"",
            ("Location", self.path.partition("/uploads/")[0] + f"/uploads/{name}?state=1"),
            ("Range", f"0-{max(0, len(state) - 1)}"),
            *least,
        )

    def _answer(self, status: int, data: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD" or status == 204:
            return
        if self._cut:
            self.wfile.write(data[: self._cut])
            self.close_connection = True
            return
        middle = len(data) // 2 if self.server.halfway and len(data) > _LONG_BYTES else 0
        if middle and self.server.halfway:
            self.wfile.write(data[:middle])
            self.server.halfway()
        self.wfile.write(data[middle:])

    def log_message(self, format: str, *args: Any) -> None:
        pass
