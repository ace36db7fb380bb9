"""A stream of HTTP/2: one call, with headers and bytes both ways.

Comes in: what its connection read for it. Goes out: what is written. Read next: `messages`.
"""

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from minibuild.buildkit import frames
from minibuild.buildkit.frames import Headers, invalid
from minibuild.buildkit.rpc import UNAVAILABLE, Failure

if TYPE_CHECKING:
    from minibuild.buildkit.http2 import Connection


class Stream:
    """One call: headers and bytes both ways. The attributes are for its connection, whose lock
    guards them; `headers` can be read once something has come, those at the end once all was."""

    __slots__ = (
        "_calls", "_connection", "_deliver", "_error", "_is_closed", "_is_whole", "_parts",
        "_taken", "_waiting", "changed", "headers", "number", "trailers", "unsent", "window",
    )  # fmt: skip

    def __init__(self, connection: "Connection", number: int, window: int) -> None:
        self._connection = connection
        self.changed = threading.Condition(connection.lock)
        self._calls: list[Callable[[], None]] = []
        self._deliver: Callable[[], None] | None = None
        self._parts: list[bytes] = []
        self._waiting = self._taken = 0
        self._is_whole = self._is_closed = False
        self._error: Failure | None = None
        self.number = number
        self.headers: list[tuple[str, str]] = []
        self.trailers: Headers | None = None
        self.unsent = bytearray()
        self.window = window

    def begin(self, headers: Headers) -> None:
        """Send the headers of an answer."""
        with self.changed:
            if not self._is_closed:
                self._connection.send_headers(self.number, headers)

    def write(self, data: bytes, *, wait: bool = True) -> bool:
        """Send bytes. Waits while many of them are on their way. Returns whether the other side
        still listens."""
        with self.changed:
            if not self._is_closed:
                self.unsent += data
                self._connection.send_data(self)
            while wait and not self._is_closed and self._is_full:
                self.changed.wait()
            return not self._is_closed

    def finish(self, trailers: Headers = ()) -> None:
        """Say that nothing more is sent; a server says with what headers it ends."""
        with self.changed:
            if not self._is_closed:
                self.trailers = trailers
                self._connection.send_data(self)

    def read(self) -> bytes:
        """Wait for bytes: all that have come. Empty at the end. Raises `Failure` if the stream
        broke off."""
        with self.changed:
            while not self._parts and not self._is_whole and self._error is None:
                self.changed.wait()
            if self._error is not None:
                raise self._error
            data = b"".join(self._parts)
            self._parts.clear()
            self._waiting = 0
            self._taken += len(data)
            if self._taken > frames.OUR_WINDOW >> 1 and not self._is_whole:
                self._connection.send(frames.WINDOW, self.number, self._taken)
                self._taken = 0
            return data

    def cancel(self) -> None:
        """End it, if it has not ended."""
        with self.changed:
            if not self._is_closed:
                self._connection.send(frames.RESET, self.number, frames.CANCEL)
                self.fail(Failure("the call was cancelled", UNAVAILABLE))

    @property
    def is_active(self) -> bool:
        """Whether it has not ended."""
        return not self._is_closed

    def when_broken(self, call: Callable[[], None]) -> bool:
        """Let this be called once the other side ends it. False if that is too late."""
        with self.changed:
            self._calls.append(call)
            return not self._is_closed

    def deliver_to(self, call: Callable[[], None]) -> None:
        """Let this be called each time that there is something to read again, and at the end."""
        with self.changed:
            self._deliver = call
            count = bool(self._parts) + (self._is_whole or self._error is not None)
        for _ in range(count):
            call()

    # --- for its connection ---

    def add(self, data: bytes, is_end: bool) -> None:
        """Bytes have come."""
        self._waiting += len(data)
        if self._waiting + self._taken > frames.OUR_WINDOW:
            raise invalid("more than the window has room for")
        if data:
            if not self._parts:
                self._tell()
            self._parts.append(data)
        if is_end:
            self._tell()
            self._is_whole = True
            if not self._connection.is_server:  # An answer is the end; a request is not.
                self._close()

    def _tell(self) -> None:
        self.changed.notify_all()
        if self._deliver is not None:
            self._connection.later.append(self._deliver)

    def has_sent_all(self) -> None:
        """The end was sent."""
        if self._connection.is_server:
            if not self._is_whole:
                self._connection.send(frames.RESET, self.number, frames.NO_ERROR)
            self._close()

    def fail(self, error: Failure) -> None:
        """The other side, or the connection, has ended it."""
        self._error = error
        self._close(self._calls if self._deliver is None else (*self._calls, self._deliver))

    def _close(self, calls: Sequence[Callable[[], None]] = ()) -> None:
        self._is_closed = True
        self.unsent.clear()
        self._connection.ended(self, calls)
        self.changed.notify_all()

    @property
    def _is_full(self) -> bool:
        return len(self.unsent) > frames.MAX_WAITING or self._connection.is_full
