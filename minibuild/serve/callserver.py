"""A server of gRPC: connections to sockets, and calls by their names.

Comes in: sockets that listen, and the methods of services. Goes out: answers. Each connection has a
thread that reads and one that writes, each call one of its own; calls of builds wait for others, so
they are not limited to some number of threads. Read next: `buildkit.messages`, `control`.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from minibuild.buildkit.frames import Headers
from minibuild.buildkit.http2 import Connection
from minibuild.buildkit.messages import ANSWER, Messages, status_headers
from minibuild.buildkit.rpc import CANCELLED, UNIMPLEMENTED, UNKNOWN, Failure, Types
from minibuild.buildkit.stream import Stream
from minibuild.serve.listening import ListeningSocket
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from ssl import SSLContext

    from minibuild.serve.secure import SecureSocket

_READ_BYTES = 256 << 10
_TURN_S = 0.2
_HANDSHAKE_S = 10.0


class Method(NamedTuple):
    """What answers a call: a function of a message of the class `request` and the call, which
    returns a message or, if it `streams`, yields many. A function that `takes_many` gets no
    message, but reads them from the call."""

    function: Callable[[Any, "ServerCall"], Any]
    request: Any
    streams: bool = False
    takes_many: bool = False


class ServerCall(Messages):
    """A call of a client."""

    def __init__(self, stream: Stream, kind: Any) -> None:
        super().__init__(stream, kind)
        self._has_begun = False

    @property
    def metadata(self) -> Mapping[str, Sequence[str]]:
        """What the client says with the call: all values of each key."""
        found: dict[str, list[str]] = {}
        for key, value in self.stream.headers:
            found.setdefault(key, []).append(value)
        return found

    def is_active(self) -> bool:
        """Whether the client still waits."""
        return self.stream.is_active

    def when_broken(self, call: Callable[[], None]) -> bool:
        """Let this be called if the client goes away. False if it has gone already."""
        return self.stream.when_broken(call)

    def begin(self, metadata: Headers = ()) -> None:
        """Send the headers, once."""
        if not self._has_begun:
            self._has_begun = True
            self.stream.begin((*ANSWER, *metadata))

    def answer(self, message: Any) -> None:
        """Send a message."""
        self.begin()
        self.send(message)

    def end(self, status: Headers) -> None:
        """Send the status, behind all that was sent."""
        self.stream.finish(status if self._has_begun else (*ANSWER, *status))


class CallServer:
    """The services that clients call. `methods` are by their paths: `/SERVICE/METHOD`."""

    def __init__(self, methods: Mapping[str, Method], types: Types) -> None:
        self._methods = methods
        self._types = types
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
            from minibuild.serve.secure import SecureSocket

            plain.settimeout(_HANDSHAKE_S)
            with tls.wrap_socket(plain, server_side=True) as secure:
                self._carry(SecureSocket(secure))

    def _carry(self, connected: "socket.socket | SecureSocket") -> None:
        """Carry bytes between a socket and a connection, until one of them ends."""
        connection = Connection(lambda stream: self._run(self._call, stream))
        with self._changed:
            self._connections.add(connection)
        writing = threading.Thread(target=_write, args=(connection, connected), daemon=True)
        writing.start()
        try:
            while data := connected.recv(_READ_BYTES):
                connection.receive(data)
        except Failure as failure:
            connection.close(failure.message)
        finally:
            connection.close()
            writing.join()
            with self._changed:
                self._connections.remove(connection)

    # --- calls ---

    def _call(self, stream: Stream) -> None:
        path = dict(stream.headers).get(":path", "")
        method = self._methods.get(path)
        call = ServerCall(stream, self._types["Empty"] if method is None else method.request)
        failure = None
        try:
            if method is None:
                raise Failure(f"unknown method {path}", UNIMPLEMENTED)
            _answer(method, call)
        except Failure as error:
            failure = error
        except Exception as error:  # A mistake of ours: the client hears of it, and others go on.
            import logging

            logging.getLogger(__name__).exception("%s failed", path)
            failure = Failure(f"{type(error).__name__}: {error}", UNKNOWN)
        with suppress(Failure):  # It is gone.
            call.end(status_headers(failure, self._types))


def _answer(method: Method, call: ServerCall) -> None:
    request = None if method.takes_many else next(iter(call), None)
    if request is None and not method.takes_many:
        raise Failure("a message is missing", CANCELLED)
    found = method.function(request, call)
    if not method.streams:
        call.answer(found)
        return
    call.begin()
    for message in found:
        call.answer(message)
        if not call.is_active():
            break


def _write(connection: Connection, connected: "socket.socket | SecureSocket") -> None:
    with suppress(OSError):
        while data := connection.outgoing():
            connected.sendall(data)
    connection.close()
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def services(found: Mapping[str, Mapping[str, Method]]) -> Iterator[tuple[str, Method]]:
    """The methods of services by their paths."""
    for service, methods in found.items():
        for name, method in methods.items():
            yield f"/{service}/{name}", method
