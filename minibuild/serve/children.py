"""Processes for builds, of which one is always started before it is needed.

Goes out: a process that waits for its build. To start an interpreter and to load minibuild takes
longer than a build that finds all in the cache.
Read next: `rootless.parent`.
"""

import threading

from minibuild.rootless.parent import BuildChild


class Children:
    """The process that waits. Others are started when it is taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: BuildChild | None = None
        self._closed = False

    def prepare(self) -> None:
        """Start a process, unless one waits."""
        with self._lock:
            if self._waiting is None and not self._closed:
                self._waiting = BuildChild()

    def take(self) -> BuildChild:
        """A process for one build."""
        with self._lock:
            waiting, self._waiting = self._waiting, None
        return waiting if waiting is not None and waiting.waits() else BuildChild()

    def close(self) -> None:
        """End the one that waits."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.close()
