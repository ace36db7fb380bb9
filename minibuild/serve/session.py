"""A session: services of a client, which the builder calls through the client's own connection.

Comes in: the call `Control/Session`, a stream of bytes both ways. Goes out: calls. Inside the
stream runs a whole HTTP/2 connection in which the client is the server.
Rules: moby/buildkit `session/grpc.go`, `session/manager.go`; the frames of messages and the status
of a call: grpc/grpc `doc/PROTOCOL-HTTP2.md`. Read next: `filesync`, `lending`; `buildkit.http2`.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from minibuild.buildkit.http2 import UNAVAILABLE, Connection, Stream
from minibuild.buildkit.rpc import (
    NOT_FOUND,
    UNIMPLEMENTED,
    UNKNOWN,
    Failure,
    Metadata,
    Types,
)

_HEAD_BYTES = 5
"""Before each message: whether it is compressed, and its length."""
_MAX_MESSAGE = 64 << 20
_METHODS = "x-docker-expose-session-grpc-method"
_UUID = "x-docker-expose-session-uuid"
_SHARED_KEY = "x-docker-expose-session-sharedkey"


class Session:
    """One client's services. `shared_key` names the client's folder, for what is kept of it."""

    def __init__(self, types: Types, metadata: Mapping[str, Sequence[str]]) -> None:
        self.types = types
        self.id = metadata.get(_UUID, [""])[0]
        self.shared_key = metadata.get(_SHARED_KEY, [""])[0]
        self._methods = {method.lower() for method in metadata.get(_METHODS, ())}
        self._connection = Connection()

    def run(self, incoming: Iterable[Any]) -> Iterator[Any]:
        """Carry bytes between the client and the connection, until one of them ends."""
        threading.Thread(target=self._carry_up, args=(incoming,), daemon=True).start()
        try:
            while data := self._connection.outgoing():
                yield self.types["BytesMessage"](data=data)
        finally:
            self.close()

    def _carry_up(self, incoming: Iterable[Any]) -> None:
        """From the client. The stream ends with an error if the client dies."""
        try:
            for message in incoming:
                self._connection.receive(message.data)
        except Failure as failure:
            self._connection.close(failure.message)
        except Exception:  # gRPC raises its own kinds; all mean "it is over"
            pass
        finally:
            self.close()

    def close(self) -> None:
        """End all calls."""
        self._connection.close()

    def offers(self, method: str) -> bool:
        """Whether the client has a service, by its name and that of the method."""
        return method.lower() in self._methods

    def call(self, method: str, request: Any, response: Any, metadata: Metadata = ()) -> Any:
        """Send one message, get one. Raises `Failure`."""
        made = self.open(method, response, metadata)
        made.send(request)
        made.finish()
        for answer in made:
            return answer
        raise Failure("the client did not answer", UNAVAILABLE)

    def open(self, method: str, response: Any, metadata: Metadata = ()) -> "SessionCall":
        """Begin a call with messages both ways; `response` is the class of those that come. Raises
        `Failure`."""
        return SessionCall(self._connection.open(method, metadata), response)


class SessionCall:
    """A call that goes on: messages to a service of the client, and from it."""

    def __init__(self, stream: Stream, response: Any) -> None:
        self._stream = stream
        self._parse = response.FromString

    def send(self, *messages: Any, wait: bool = True) -> bool:
        """Send messages. Returns whether the client still listens. With `wait` this takes as long
        as many of them are on their way."""
        return self._stream.write(b"".join(map(_framed, messages)), wait=wait)

    def finish(self) -> None:
        """Say that nothing more is sent."""
        self._stream.finish()

    def cancel(self) -> None:
        """End it, if it has not ended."""
        self._stream.cancel()

    def __iter__(self) -> Iterator[Any]:
        """What the client sends, to its end. Raises `Failure` if it ends with an error."""
        for data in self.batches():
            yield from map(self._parse, data)

    def batches(self) -> Iterator[list[bytes]]:
        """The same as serialised messages, all that have come each time."""
        rest = b""
        while data := self._stream.read():
            data = rest + data if rest else data
            position, end, found = 0, len(data), []
            while end - position >= _HEAD_BYTES:
                start = position + _HEAD_BYTES
                after = start + int.from_bytes(data[position + 1 : start], "big")
                if data[position] or after - start > _MAX_MESSAGE:
                    raise Failure("the client sent a message that was not agreed on", UNKNOWN)
                if after > end:
                    break
                found.append(data[start:after])
                position = after
            rest = data[position:]
            if found:
                yield found
        self._check_status()

    def _check_status(self) -> None:
        from urllib.parse import unquote

        headers = self._stream.headers
        status = headers.get("grpc-status", "")
        code = int(status) if status.isdecimal() else UNKNOWN
        if code:
            message = unquote(headers.get("grpc-message", ""))
            raise Failure(message or "the client did not answer", code)


def _framed(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return b"\0" + len(data).to_bytes(4, "big") + data


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
