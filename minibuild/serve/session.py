"""A session: services of a client, which the builder calls through the client's own connection.

Comes in: the call `Control/Session`, a stream of bytes both ways. Goes out: a channel of gRPC.
Inside the stream runs a whole HTTP/2 connection in which the client is the server. gRPC for Python
dials addresses only, so it dials a socket in a private folder, and the bytes of that go to and fro.
Rules: moby/buildkit `session/grpc.go`, `session/manager.go`. Read next: `filesync`, `lending`.
"""

import os
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from minibuild.buildkit.rpc import (
    NOT_FOUND,
    OPTIONS,
    UNIMPLEMENTED,
    Failure,
    Metadata,
    Types,
)

_CHUNK_BYTES = 32 << 10
_DIAL_S = 10.0
_METHODS = "x-docker-expose-session-grpc-method"
_UUID = "x-docker-expose-session-uuid"
_SHARED_KEY = "x-docker-expose-session-sharedkey"


class Session:
    """One client's services. `shared_key` names the client's folder, for what is kept of it."""

    def __init__(self, types: Types, metadata: Mapping[str, Sequence[str]]) -> None:
        self.types = types
        self.id = metadata.get(_UUID, [""])[0]
        self.shared_key = metadata.get(_SHARED_KEY, [""])[0]
        self.closed = threading.Event()
        self._methods = {method.lower() for method in metadata.get(_METHODS, ())}
        self._channel: Any = None

    def run(self, incoming: Iterable[Any]) -> Iterator[Any]:
        """Carry bytes between the client and the channel, until one of them ends."""
        from tempfile import TemporaryDirectory

        import grpc

        with TemporaryDirectory(prefix="minibuild-session-") as folder:
            path = os.path.join(folder, "s")
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(path)
                listener.listen(1)
                listener.settimeout(_DIAL_S)
                self._channel = grpc.insecure_channel(
                    f"unix:{path}", options=[*OPTIONS, ("grpc.default_authority", "localhost")]
                )
                grpc.channel_ready_future(self._channel)  # makes it dial
                connection, _ = listener.accept()
        connection.settimeout(None)
        upward = threading.Thread(target=self._carry_up, args=(incoming, connection), daemon=True)
        upward.start()
        try:
            with connection:
                while data := connection.recv(_CHUNK_BYTES):
                    yield self.types["BytesMessage"](data=data)
        finally:
            self.close()

    @staticmethod
    def _carry_up(incoming: Iterable[Any], connection: socket.socket) -> None:
        """From the client to the channel. The stream ends with an error if the client dies."""
        try:
            for message in incoming:
                connection.sendall(message.data)
        except Exception:  # gRPC raises its own kinds; all mean "it is over"
            pass
        finally:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End all calls."""
        self.closed.set()
        if self._channel is not None:
            self._channel.close()

    def offers(self, method: str) -> bool:
        """Whether the client has a service, by its name and that of the method."""
        return method.lower() in self._methods

    def call(self, method: str, request: Any, response: Any, metadata: Metadata = ()) -> Any:
        """Send one message, get one. Raises `Failure`."""
        import grpc

        made = self._channel.unary_unary(
            method, type(request).SerializeToString, response.FromString
        )
        try:
            return made(request, metadata=metadata)
        except grpc.RpcError as error:
            raise failure(error) from None

    def stream(
        self, method: str, requests: Iterator[Any], kinds: tuple[Any, Any], metadata: Metadata
    ) -> Any:
        """Open a stream both ways. `kinds` are the classes of messages sent and received."""
        sent, received = kinds
        made = self._channel.stream_stream(method, sent.SerializeToString, received.FromString)
        return made(requests, metadata=metadata)

    def messages(
        self, method: str, requests: Iterator[Any], kinds: tuple[Any, Any], metadata: Metadata
    ) -> Iterator[Any]:
        """What comes in such a stream. Raises `Failure`."""
        import grpc

        try:
            yield from self.stream(method, requests, kinds, metadata)
        except grpc.RpcError as error:
            raise failure(error) from None


def failure(error: Any) -> Failure:
    """The error of a call to a client."""
    return Failure(error.details() or "the client did not answer", error.code().value[0])


def is_absent(failure: Failure) -> bool:
    """Whether a client says that it has no such thing, or no such service."""
    return failure.code in (NOT_FOUND, UNIMPLEMENTED)


class Sessions:
    """The sessions that are open. Calls may come before the session that they name."""

    def __init__(self) -> None:
        self._open: dict[str, Session] = {}
        self._changed = threading.Condition()

    def add(self, session: Session) -> None:
        """A session has begun."""
        with self._changed:
            self._open[session.id] = session
            self._changed.notify_all()

    def remove(self, session: Session) -> None:
        """A session has ended."""
        with self._changed:
            if self._open.get(session.id) is session:
                del self._open[session.id]

    def __bool__(self) -> bool:
        return bool(self._open)

    def get(self, name: str, wait_s: float = 5.0) -> Session:
        """The session of this id. Raises `Failure`."""
        with self._changed:
            self._changed.wait_for(lambda: name in self._open, wait_s)
            session = self._open.get(name)
        if session is None:
            raise Failure(f"no active session for {name}")
        return session
