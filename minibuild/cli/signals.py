"""Ctrl-C and friends while a build runs.

The first signal asks the build to stop, which ends its processes and leaves nothing; a second one
breaks off at once. Python runs handlers in the main thread, so only there can they be set.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stopping(cancelled: threading.Event) -> Iterator[None]:
    """Let signals set `cancelled` while the block runs."""

    def stop(number: int, frame: FrameType | None) -> None:
        if cancelled.is_set():
            raise KeyboardInterrupt
        cancelled.set()

    previous = {}
    for number in _SIGNALS:
        # One that is ignored (nohup) stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            previous[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
