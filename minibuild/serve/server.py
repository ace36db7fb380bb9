"""The server: a socket, and the services behind it.

Comes in: addresses and a store. Goes out: builds, until the server is stopped, or has had nothing
to do for some time. Each connection has a thread that reads and one that writes, each call one of
its own; calls of builds wait for others, so they are not limited to some number of threads.
Read next: `listening`, `buildkit.dispatch`, `control`.
"""

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from minibuild.buildkit import content
from minibuild.buildkit.dispatch import CallHandler, answer_call, services
from minibuild.buildkit.http2 import Connection
from minibuild.buildkit.pump import pump_socket
from minibuild.buildkit.rpc import check_installed
from minibuild.serve import bridge, control
from minibuild.serve.build import Builder, Show
from minibuild.serve.config import Config
from minibuild.serve.history import Blobs
from minibuild.serve.listening import Certificates, ListeningSocket, listening
from minibuild.session.scratch import scratch_folder

if TYPE_CHECKING:
    from ssl import SSLContext

    from minibuild.buildkit.secure import SecureSocket

_TURN_S = 0.2
_GRACE_S = 5.0
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
            pump_socket(connection, connected)
        finally:
            with self._changed:
                self._connections.remove(connection)


def serve(
    addresses: Sequence[str],
    config: Config,
    show: Show,
    *,
    ready: Callable[[Sequence[str]], None],
    certificates: Certificates,
    idle_s: float | None = None,
    once: bool = False,
) -> None:
    """Serve until a signal. `ready` is called with the addresses. With `idle_s` it also ends when
    nothing was built for so long, with `once` after the first build. Only for a program, and in its
    main thread."""
    check_installed()
    with (
        scratch_folder("minibuild-build-") as folder,
        listening(addresses, certificates, config.environment.variables) as found,
    ):
        builder = Builder(config, folder, show)
        server = _call_server(builder)
        for endpoint in found:
            server.start(endpoint)
        builder.children.prepare()
        try:
            with signals() as stop:
                ready([endpoint.address for endpoint in found])
                _until_done(builder, stop, idle_s, once)
        finally:
            builder.stop()
            server.stop(_GRACE_S)


def _call_server(builder: Builder) -> CallServer:
    """What answers the calls of all services."""
    found = {
        control.NAME: control.Control(builder).methods(),
        bridge.NAME: bridge.Bridge(builder).methods(),
        content.NAME: Blobs(builder.root).methods(),
    }
    return CallServer(dict(services(found)))


@contextmanager
def signals() -> Iterator[int]:
    """A descriptor that can be read once a signal has come that ends the server."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    taken = [n for n in numbers if signal.getsignal(n) is not signal.SIG_IGN]
    # A handler that took a lock could wait for the very code that it interrupts.
    before = {n: signal.signal(n, lambda *_: os.write(writer, b".") and None) for n in taken}
    try:
        yield reader
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


def _until_done(builder: Builder, stop: int, idle_s: float | None, once: bool) -> None:
    last = time.monotonic()
    while not select.select([stop], [], [], _TURN_S)[0]:
        if builder.busy:
            last = time.monotonic()
        elif (once and builder.finished) or (
            idle_s is not None and time.monotonic() - last > idle_s
        ):
            return
