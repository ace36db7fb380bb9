"""Calls of the other side of a connection, answered by functions.

Comes in: a stream, and the methods of services by their paths. Goes out: the answer, on the stream.
Read next: `messages`; `serve.server` and `client.session`, which serve such methods.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from minibuild.buildkit.frames import Headers
from minibuild.buildkit.messages import ANSWER, Messages, status_headers
from minibuild.buildkit.rpc import CANCELLED, UNIMPLEMENTED, UNKNOWN, Failure, api_type
from minibuild.buildkit.stream import Stream
from minibuild.startup.tuples import NamedTuple


class CallHandler(NamedTuple):
    """What answers a call: a function of a message of the kind `request` and the call, which
    returns a message or, if it `streams`, yields many. Nothing is an empty message. A function that
    `takes_many` gets no message, but reads them from the call."""

    function: Callable[[Any, "ServerCall"], Any]
    request: str
    streams: bool = False
    takes_many: bool = False


class ServerCall(Messages):
    """A call of the other side. What is put `afterwards` is done when the answer is on its way."""

    def __init__(self, stream: Stream, kind: str) -> None:
        super().__init__(stream, kind)
        self.afterwards = ExitStack()
        self._has_begun = False

    @property
    def metadata(self) -> Mapping[str, Sequence[str]]:
        """What it says with the call: all values of each key."""
        found: dict[str, list[str]] = {}
        for key, value in self.stream.headers:
            found.setdefault(key, []).append(value)
        return found

    def is_active(self) -> bool:
        """Whether the other side still waits."""
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


def answer_call(methods: Mapping[str, CallHandler], stream: Stream) -> None:
    """Answer a call. `methods` are by their paths: `/SERVICE/METHOD`."""
    path = dict(stream.headers).get(":path", "")
    method = methods.get(path)
    call = ServerCall(stream, "Empty" if method is None else method.request)
    failure = None
    try:
        if method is None:
            raise Failure(f"unknown method {path}", UNIMPLEMENTED)
        _answer(method, call)
    except Failure as error:
        failure = error
    except Exception as error:  # A mistake of ours: the other side hears of it, and others go on.
        import logging

        logging.getLogger(__name__).exception("%s failed", path)
        failure = Failure(f"{type(error).__name__}: {error}", UNKNOWN)
    with call.afterwards, suppress(Failure):  # It is gone.
        call.end(status_headers(failure))


def _answer(method: CallHandler, call: ServerCall) -> None:
    request = None if method.takes_many else next(iter(call), None)
    if request is None and not method.takes_many:
        raise Failure("a message is missing", CANCELLED)
    found = method.function(request, call)
    if not method.streams:
        call.answer(api_type("Empty")() if found is None else found)
        return
    call.begin()
    for message in found:
        call.answer(message)
        if not call.is_active():
            break


def services(
    found: Mapping[str, Mapping[str, CallHandler]],
) -> Iterator[tuple[str, CallHandler]]:
    """The methods of services by their paths."""
    for service, methods in found.items():
        for name, method in methods.items():
            yield f"/{service}/{name}", method
