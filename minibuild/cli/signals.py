"""Ctrl-C and friends while a build runs.

The first signal asks the build to stop, which ends its processes and leaves nothing; a second one
breaks off at once. Whatever error the build then ends with, the signal is the reason. Python runs
handlers in the main thread, so only there can they be set.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from minibuild.errors import BuildError, Cancelled

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Cancelled):
    """A signal ended it; the exit code is what a shell reports for that signal."""

    def __init__(self, number: int) -> None:
        word = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
        super().__init__(f"cancelled{word}")
        self.exit_code = 128 + number  # type: ignore[misc]


@contextmanager
def stopping(cancelled: threading.Event) -> Iterator[None]:
    """Let signals set `cancelled` while the block runs. Raises `Stopped` if one did."""
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        cancelled.set()

    previous = {}
    for number in _SIGNALS:
        # One that is ignored (nohup) stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            previous[number] = signal.signal(number, stop)
    try:
        yield
    except BuildError as error:
        if received:
            raise Stopped(received[0]) from error
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
