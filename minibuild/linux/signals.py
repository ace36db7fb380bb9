"""Ctrl-C and friends while something runs that takes long.

The first signal asks for the end in two ways. In the main thread it is an exception, as Python
raises it by itself for Ctrl-C: whatever the thread waits for, it stops. All other threads look at
an event. Either way what is half made is removed. That has to be done within a second: then the
process ends, as it does at a second signal, and the next start removes what is left.
Read next: `dispositions`.
"""

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from minibuild.errors import Cancelled

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GRACE_S = 0.7
_SAME_S = 0.2
"""How soon a second signal is the first one again: timeout(1) sends it to the process and to its
group, and a terminal to the group of one that passes it on."""

_LAST_WORD = b"cancelled\n"


class Stopped(Cancelled):
    """A signal ended it; the exit code is what a shell reports for that signal."""

    def __init__(self, number: int) -> None:
        word = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
        super().__init__(f"cancelled{word}")
        self.exit_code = 128 + number  # type: ignore[misc]


@contextmanager
def stopping(cancelled: threading.Event, last_word: bytes = _LAST_WORD) -> Iterator[None]:
    """Let signals set `cancelled` and end the block, which raises `Stopped` then. Only for a
    program, and in its main thread: the process has a second left after a signal. If it needs
    more, it ends with the last word on standard error."""
    received: list[tuple[int, float]] = []

    def stop(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if received:
            first, then = received[0]
            if now - then > _SAME_S:
                _end(first, last_word)
            return
        received.append((number, now))
        try:
            # Setting an event takes a lock, which this very thread may hold at this moment.
            _thread.start_new_thread(_give_time, (cancelled, number, last_word))
        except RuntimeError:  # No more threads for this user.
            cancelled.set()
        sys.unraisablehook = _unraisable
        raise KeyboardInterrupt

    previous = {}
    for number in _SIGNALS:
        # One that is ignored (nohup) stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            previous[number] = signal.signal(number, stop)
    try:
        yield
    except BaseException as error:
        if received:
            raise Stopped(received[0][0]) from error
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _unraisable(args: "sys.UnraisableHookArgs") -> None:
    """What Python shows of an exception that no code can catch. The one of a signal may come while
    a module is imported, into a callback; then the process ends when its time is over."""
    if not isinstance(args.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(args)


def _give_time(cancelled: threading.Event, number: int, last_word: bytes) -> None:
    """Have all threads end, and the process in any case."""
    cancelled.set()
    time.sleep(_GRACE_S)
    _end(number, last_word)


def _end(number: int, last_word: bytes) -> None:
    """End the process, which may be stuck at writing to a pipe that is full."""
    import select

    try:
        _, free, _ = select.select((), (2,), (), 0)
        if free:
            os.write(2, last_word)
    finally:
        os._exit(128 + number)
