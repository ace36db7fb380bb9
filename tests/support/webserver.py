"""A web server on loopback: files with validators, and git repositories.

Comes in: contents by path. Goes out: addresses, and what was asked for. Read next: `faulty`, for
registries that fail.
"""

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class WebServer:
    """What the server has, and what was asked for: `seen` are pairs of path and status."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.files: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.repositories: dict[str, Path] = {}
        self.seen: list[tuple[str, int]] = []
        self.headers: list[dict[str, str]] = []

    def url(self, path: str) -> str:
        """The address of a path."""
        return f"http://127.0.0.1:{self.port}{path}"

    def put(self, path: str, data: bytes, *, etag: str = "", modified: str = "") -> str:
        """Serve a file, and return its address."""
        headers = {"ETag": etag, "Last-Modified": modified}
        self.files[path] = data, {key: value for key, value in headers.items() if value}
        return self.url(path)

    def git(self, path: str, folder: Path) -> str:
        """Serve a repository by git's own program, and return its address."""
        self.repositories[path] = folder
        return self.url(path)


class _Handler(BaseHTTPRequestHandler):
    web: WebServer

    def log_message(self, *arguments: object) -> None:
        """Nothing: tests read `seen`."""

    def do_GET(self) -> None:
        """Answer with a file, or with what git says."""
        path, _, query = self.path.partition("?")
        for prefix, folder in list(self.web.repositories.items()):  # A test may add some meanwhile.
            if path.startswith(prefix + "/"):
                self._git(folder, path.removeprefix(prefix), query)
                return
        self.web.headers.append(dict(self.headers))
        data, headers = self.web.files.get(path, (b"", None))
        if headers is None:
            self._answer(path, 404, b"", {})
            return
        same = "ETag" in headers and self.headers.get("If-None-Match") == headers["ETag"]
        since = self.headers.get("If-Modified-Since")
        if same or (since is not None and since == headers.get("Last-Modified")):
            self._answer(path, 304, b"", headers)
            return
        self._answer(path, 200, data, headers)

    do_POST = do_GET  # git asks so

    def _answer(self, path: str, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.web.seen.append((path, status))
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data)

    def _git(self, folder: Path, path: str, query: str) -> None:
        """git-http-backend(1), a CGI program (RFC 3875)."""
        self.web.headers.append(dict(self.headers))
        length = int(self.headers.get("Content-Length") or 0)
        done = _run(
            ["git", "-c", "safe.directory=*", "http-backend"],
            input=self.rfile.read(length),
            env={
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": f"{folder}/.git",
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(length),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            },
        )
        if done.returncode or not done.stdout:  # What git says to an empty reply tells nothing.
            why = f"git http-backend ended with {done.returncode}: ".encode() + done.stderr
            self._answer(path, 500, why, {"Content-Type": "text/plain"})
            return
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        self._answer(path, int(headers.pop("Status", "200").split()[0]), body, headers)


def _run(words: list[str], **options: Any) -> "subprocess.CompletedProcess[bytes]":
    """Run a program, also on a machine that has too many for a moment (EAGAIN of fork)."""
    for _ in range(50):
        try:
            return subprocess.run(words, capture_output=True, **options)
        except BlockingIOError:
            time.sleep(0.1)
    return subprocess.run(words, capture_output=True, **options)


class _Server(ThreadingHTTPServer):
    """One that answers also while the machine has no more threads, and accepts late."""

    request_queue_size = 128

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, or in this one: else the client gets an empty reply."""
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # can't start new thread
            self.process_request_thread(request, client_address)


@contextmanager
def serving() -> Iterator[WebServer]:
    """A server for as long as the block runs."""

    class Handler(_Handler):
        pass

    server = _Server(("127.0.0.1", 0), Handler)
    Handler.web = WebServer(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield Handler.web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
