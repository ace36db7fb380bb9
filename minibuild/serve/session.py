"""A session: services of a client, which the builder calls through the client's own connection.

Comes in: the call `Control/Session`, a stream of bytes both ways. Goes out: calls. Inside the
stream runs a whole HTTP/2 connection in which the client is the server.
Rules: moby/buildkit `session/grpc.go`, `session/manager.go`.
Read next: `filesync`, `client_credentials`; `buildkit.messages`.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from minibuild.buildkit.dispatch import ServerCall
from minibuild.buildkit.http2 import Connection
from minibuild.buildkit.messages import ClientCall
from minibuild.buildkit.pump import pump_call
from minibuild.buildkit.rpc import NOT_FOUND, UNAVAILABLE, UNIMPLEMENTED, CallMetadata, Failure

_METHODS = "x-docker-expose-session-grpc-method"
_UUID = "x-docker-expose-session-uuid"
_SHARED_KEY = "x-docker-expose-session-sharedkey"


class ClientSession:
    """One client's services. `shared_key` names the client's folder, for what is kept of it."""

    def __init__(self, metadata: Mapping[str, Sequence[str]]) -> None:
        self.id = metadata.get(_UUID, [""])[0]
        self.shared_key = metadata.get(_SHARED_KEY, [""])[0]
        self._methods = {method.lower() for method in metadata.get(_METHODS, ())}
        self._connection = Connection()

    def run(self, call: ServerCall) -> None:
        """Carry bytes between the client and the connection, until one of them ends."""
        call.when_broken(self.close)
        call.begin()
        pump_call(self._connection, call)

    def close(self) -> None:
        """End all calls."""
        self._connection.close()

    def offers(self, method: str) -> bool:
        """Whether the client has a service, by its name and that of the method."""
        return method.lower() in self._methods

    def call(self, method: str, request: Any, response: str, metadata: CallMetadata = ()) -> Any:
        """Send one message, get one. Raises `Failure`."""
        (answer,) = self.calls(method, [request], response, metadata)
        return answer

    def calls(
        self, method: str, requests: Iterable[Any], response: str, metadata: CallMetadata = ()
    ) -> Iterator[Any]:
        """Send one message in each of several calls, all before the first answer is there. Raises
        `Failure`."""
        opened = []
        for request in requests:
            opened.append(self.open(method, response, metadata))
            opened[-1].send(request)
            opened[-1].finish()
        for call in opened:
            answer = next(iter(call), None)
            if answer is None:
                raise Failure("the client did not answer", UNAVAILABLE)
            yield answer

    def open(self, method: str, response: str, metadata: CallMetadata = ()) -> ClientCall:
        """Begin a call with messages both ways; `response` is the kind of those that come. Raises
        `Failure`."""
        return ClientCall(self._connection, method, metadata, response)


def is_absent(failure: Failure) -> bool:
    """Whether a client says that it has no such thing, or no such service."""
    return failure.code in (NOT_FOUND, UNIMPLEMENTED)


class ClientSessions:
    """The sessions that are open. Calls may come before the session that they name."""

    def __init__(self) -> None:
        self._open: dict[str, ClientSession] = {}
        self._changed = threading.Condition()

    def add(self, session: ClientSession) -> None:
        """A session has begun."""
        with self._changed:
            self._open[session.id] = session
            self._changed.notify_all()

    def remove(self, session: ClientSession) -> None:
        """A session has ended."""
        with self._changed:
            if self._open.get(session.id) is session:
                del self._open[session.id]

    def __bool__(self) -> bool:
        return bool(self._open)

    def get(self, name: str, wait_s: float = 5.0) -> ClientSession:
        """The session of this id. Raises `Failure`."""
        with self._changed:
            self._changed.wait_for(lambda: name in self._open, wait_s)
            session = self._open.get(name)
        if session is None:
            raise Failure(f"no active session for {name}")
        return session
