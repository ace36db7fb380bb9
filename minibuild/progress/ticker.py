"""A clock for renderers: calls a function every so often until it is closed.

Events come when something happens; a screen has to change also when nothing does. The thread is
started late (a build that is answered from the cache is over before) and is a daemon, so that it
can never keep a program alive. Read next: `tty`.
"""

import threading
from collections.abc import Callable
from contextlib import suppress


class Ticker:
    """Calls `tick` every `interval_s` seconds from a thread of its own, once started."""

    __slots__ = ("_interval_s", "_stop", "_thread", "_tick")

    def __init__(self, tick: Callable[[], None], interval_s: float) -> None:
        self._tick = tick
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start ticking; starting twice is the same as once."""
        if self._thread is None and not self._stop.is_set():
            thread = threading.Thread(target=self._run, name="progress", daemon=True)
            with suppress(RuntimeError):  # No more threads: what happens is shown all the same.
                thread.start()
                self._thread = thread

    def close(self) -> None:
        """Stop, and wait for a tick that is under way."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._tick()
