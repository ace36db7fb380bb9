"""A server of gRPC: connections to sockets, and calls by their names.

Comes in: sockets that listen, and the methods of services. Goes out: answers. Each connection has a
thread that reads and one that writes, each call one of its own; calls of builds wait for others, so
they are not limited to some number of threads. Read next: `buildkit.dispatch`, `control`.
"""

import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from minibuild.buildkit.carry import carry
from minibuild.buildkit.dispatch import CallHandler, answer_call
from minibuild.buildkit.http2 import Connection
from minibuild.serve.listening import ListeningSocket

if TYPE_CHECKING:
    from ssl import SSLContext

    from minibuild.buildkit.secure import SecureSocket

_TURN_S = 0.2
_HANDSHAKE_S = 10.0


class CallServer:
    """The services that clients call. `methods` are by their paths: `/SERVICE/METHOD`."""

    def __init__(self, methods: Mapping[str, CallHandler]) -> None:
        self._methods = methods
        self._stopped = threading.Event()
        self._changed = threading.Condition()
        self._connections: set[Connection] = set()
        self._busy = 0

    def start(self, endpoint: ListeningSocket) -> None:
        """Take connections. What comes later waits in the socket's queue for the next server."""
        endpoint.socket.settimeout(_TURN_S)
        self._run(self._accept, endpoint)

    def stop(self, grace_s: float) -> None:
        """Take no more calls, wait for those that go on, and then end them."""
        self._stopped.set()
        for connection in self._known():
            connection.shut()
        self._wait(grace_s)
        for connection in self._known():
            connection.close("the server has stopped")
        self._wait(grace_s)

    def _known(self) -> list[Connection]:
        with self._changed:
            return list(self._connections)

    def _wait(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._busy, seconds)

    def _run(self, function: Callable[..., None], *arguments: Any) -> None:
        """Run this in a thread that `stop` waits for."""

        def run() -> None:
            try:
                function(*arguments)
            finally:
                with self._changed:
                    self._busy -= 1
                    self._changed.notify_all()

        with self._changed:
            self._busy += 1
        threading.Thread(target=run, daemon=True).start()

    # --- connections ---

    def _accept(self, endpoint: ListeningSocket) -> None:
        while not self._stopped.is_set():
            try:
                found, _ = endpoint.socket.accept()
            except TimeoutError:
                continue
            except OSError:
                time.sleep(_TURN_S)  # There are too many open files.
                continue
            found.settimeout(None)
            threading.Thread(target=self._serve, args=(found, endpoint.tls), daemon=True).start()

    def _serve(self, plain: socket.socket, tls: "SSLContext | None") -> None:
        with plain, suppress(OSError):
            if tls is None:
                self._carry(plain)
                return
            from minibuild.buildkit.secure import SecureSocket

            plain.settimeout(_HANDSHAKE_S)
            with tls.wrap_socket(plain, server_side=True) as secure:
                self._carry(SecureSocket(secure))

    def _carry(self, connected: "socket.socket | SecureSocket") -> None:
        connection = Connection(lambda stream: self._run(answer_call, self._methods, stream))
        with self._changed:
            self._connections.add(connection)
        try:
            carry(connection, connected)
        finally:
            with self._changed:
                self._connections.remove(connection)
