"""Processes for builds, of which one is always started before it is needed.

Goes out: a process that waits for a build. To start an interpreter and to load minibuild takes
longer than a build that finds all in the cache. So a process whose build succeeded waits for the
next one.
Read next: `rootless.parent`.
"""

import threading
from collections.abc import Callable

from minibuild.rootless.parent import BuildChild

_LOADS = "minibuild.serve.loaded"


class Children:
    """The process that waits. Others are started while it has a build. No client waits for the
    start of a process that it does not need, nor for the end of one that it has the answer of."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._answered = set[BuildChild]()
        self._waiting: BuildChild | None = None
        self._closed = False
        self._at_work: set[threading.Thread] = set()

    def prepare(self) -> None:
        """Start a process, unless one waits."""
        with self._lock:
            if self._waiting is None and not self._closed:
                self._waiting = BuildChild(_LOADS)

    def take(self) -> BuildChild:
        """A process for one build. One that has answered is there sooner than a new one."""
        with self._lock:
            self._lock.wait_for(lambda: self._waiting is not None or not self._answered)
            waiting, self._waiting = self._waiting, None
        return waiting if waiting is not None and waiting.waits() else BuildChild(_LOADS)

    def answered(self, child: BuildChild) -> None:
        """A process has given its answer, and is about to be given back."""
        with self._lock:
            self._answered.add(child)

    def give_back(self, child: BuildChild) -> None:
        """Take a process whose build is done: it waits for another, or ends."""
        with self._lock:
            self._answered.discard(child)
            self._lock.notify_all()
            if self._waiting is None and not self._closed and child.waits():
                self._waiting = child
                return
        self._soon(child.close)
        self._soon(self.prepare)

    def close(self) -> None:
        """End all of them."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, None
            at_work = list(self._at_work)
        if waiting is not None:
            waiting.close()
        for thread in at_work:
            thread.join()

    def _soon(self, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            finally:
                with self._lock:
                    self._at_work.discard(thread)

        thread = threading.Thread(target=run, daemon=True)
        with self._lock:
            self._at_work.add(thread)
            thread.start()
