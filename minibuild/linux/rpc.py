"""Calls to another process of ours: a value and open files there, events and an answer back.

Comes in: one end of a `channel`. Goes out: what a call comes to, as if it had been made here: the
same value, the same error. Values are pickled, so both ends are this program in one version, and
what arrives is never from a step or from another account. Read next: `channel`.
"""

import os
import pickle
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from minibuild.errors import Cancelled
from minibuild.linux.channel import Channel, close_all, memory_file
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    import threading

MAX_FILES = 7
"""So many open files go with a call; one more holds the value, if that is long."""

_CALL, _EVENT, _RESULT, _ERROR = b"c", b"e", b"r", b"x"
_INLINE_BYTES = 32 << 10
_POLL_MS = 50


class PeerGone(Exception):
    """The other process has ended."""


class Call(NamedTuple):
    """A call that arrived. The one who takes it closes the files."""

    value: Any
    files: list[int]


class Caller:
    """The end that calls. One call at a time."""

    __slots__ = ("_channel",)

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def call(
        self,
        value: object,
        files: Sequence[int] = (),
        *,
        on_event: Callable[[Any], None],
        cancelled: "threading.Event | None" = None,
        stop: Callable[[], None] | None = None,
    ) -> Any:
        """The answer to a call. Its events go to `on_event`, an error is raised here.

        Once `cancelled` is set, `stop` is called, and the answer is waited for all the same;
        without it `Cancelled` is raised at once. Raises `PeerGone` if the other process ends.
        """
        import select

        try:
            _send(self._channel, _CALL, value, files)
        except OSError as error:
            raise PeerGone from error
        poll = select.poll()
        poll.register(self._channel.fileno(), select.POLLIN)
        told = False
        while True:
            if not told and cancelled is not None and cancelled.is_set():
                told = True
                if stop is None:
                    raise Cancelled("the call was cancelled")
                stop()
            if not poll.poll(None if told or cancelled is None else _POLL_MS):
                continue
            kind, answer, _ = _receive(self._channel)
            if kind == _EVENT:
                on_event(answer)
            elif kind == _RESULT:
                return answer
            else:
                raise answer

    def rest(self) -> Any:
        """The second answer to a call, if its first one is not all. Raises what `call` raises."""
        kind, answer, _ = _receive(self._channel)
        if kind == _ERROR:
            raise answer
        return answer

    def stop(self) -> None:
        """Say that there are no more calls. The answer to the last one can still come."""
        with suppress(OSError):  # It is gone already.
            self._channel.end()

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


class Callee:
    """The end that answers. Events may be sent from many threads."""

    __slots__ = ("_channel",)

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def next(self) -> Call | None:
        """The next call; None if there are no more."""
        try:
            _, value, files = _receive(self._channel)
        except PeerGone:
            return None
        return Call(value, files)

    def event(self, value: object) -> None:
        """Say something before the answer. Raises `OSError` if the caller is gone."""
        _send(self._channel, _EVENT, value)

    def result(self, value: object) -> None:
        """Answer the call."""
        _send(self._channel, _RESULT, value)

    def error(self, error: BaseException) -> None:
        """Answer the call with an error; of one that cannot be sent, its words."""
        _send(self._channel, _ERROR, portable(error))


def portable(error: BaseException) -> BaseException:
    """The error, or one with its words if it cannot be sent."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        notes = getattr(error, "__notes__", [])
        return RuntimeError("\n".join([repr(error), *notes]))
    return error


def _send(channel: Channel, kind: bytes, value: object, files: Sequence[int] = ()) -> None:
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    if len(data) <= _INLINE_BYTES:
        channel.send(kind + data, tuple(files))
        return
    fd = memory_file("call", data)
    try:
        channel.send(kind, (fd, *files))
    finally:
        os.close(fd)


def _receive(channel: Channel) -> tuple[bytes, Any, list[int]]:
    """The kind of a message, its value, and open files. Raises `PeerGone`."""
    try:
        data, files = channel.receive(1 + _INLINE_BYTES)
    except ConnectionError as error:
        raise PeerGone from error
    if not data:
        raise PeerGone
    kind, value = data[:1], data[1:]
    try:
        if value:
            return kind, pickle.loads(value), files
        with os.fdopen(files.pop(0), "rb") as file:
            file.seek(0)
            return kind, pickle.load(file), files
    except BaseException:
        close_all(files)
        raise
