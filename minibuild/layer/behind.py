"""Work on full buffers in a thread of its own, in order, while the next ones are filled.

Comes in: full buffers. Goes out: empty ones. To make a tar takes many short calls, and hashing
and writing take long ones outside of the interpreter lock, so the two share two processors well.
The thread starts with the first buffer: most layers are smaller than one. Read next: `writer`.
"""

import threading
from collections.abc import Callable
from typing import Any

_AHEAD = 2
"""Buffers that are with the thread. More would be more memory and no faster."""


class Behind:
    """Runs `work`, which takes a buffer and a length and returns a buffer to fill, in a thread."""

    __slots__ = ("_empty", "_error", "_full", "_spare", "_thread", "_work")

    def __init__(self, work: Callable[[bytearray, int], bytearray]) -> None:
        self._work = work
        self._thread: threading.Thread | None = None
        self._full: Any = None
        self._empty: Any = None
        self._spare = _AHEAD
        self._error: BaseException | None = None

    def feed(self, buffer: bytearray, length: int) -> bytearray:
        """Hand over a buffer; returns one to fill. Raises what the work on another one raised."""
        if self._thread is None:
            self._start()
        self._full.put((buffer, length))
        if self._spare:
            self._spare -= 1
            return bytearray(len(buffer))
        empty: bytearray = self._empty.get()
        if self._error is not None:
            raise self._error
        return empty

    def finish(self) -> None:
        """Wait for all that was handed over. Raises what the work on it raised."""
        self.close()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._full.put(None)
            self._thread.join()
            self._thread = None

    def _start(self) -> None:
        import queue

        self._full, self._empty = queue.SimpleQueue(), queue.SimpleQueue()
        thread = threading.Thread(target=self._run, name="layer", daemon=True)
        thread.start()
        self._thread = thread

    def _run(self) -> None:
        while (item := self._full.get()) is not None:
            buffer, length = item
            try:
                if self._error is None:
                    buffer = self._work(buffer, length)
            except BaseException as error:
                self._error = error
            self._empty.put(buffer)
