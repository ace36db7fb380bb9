"""Processes for builds, of which one is always started before it is needed.

Goes out: a process that waits for a build. To start an interpreter and to load minibuild takes
longer than a build that finds all in the cache. So a process whose build succeeded waits for the
next one.
Read next: `rootless.parent`.
"""

import threading
from collections.abc import Callable, Sequence

from minibuild.events import Event
from minibuild.rootless.parent import BuildChild
from minibuild.session.request import BuildRequest, BuildResult

Rest = Callable[[], BuildResult]
"""Waits until a process has done all of a build. Returns the result with its provenance."""
_LOADS = "minibuild.serve.preload"


class Children:
    """The process that waits. Others are started while it has a build. No client waits for the
    start of a process that it does not need, nor for the end of one that it has the answer of. The
    store of their builds is in `root`."""

    def __init__(self, root: str) -> None:
        self._root = root
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

    def build(
        self,
        request: BuildRequest,
        report: Callable[[Sequence[Event]], None],
        cancelled: threading.Event,
    ) -> tuple[BuildResult, Rest]:
        """Do a build. Returns its result when the outputs are there, and what waits for the rest of
        it; that is to be called. Raises what `builder.run_build` raises."""
        child = self.take()
        try:
            made = child.build(request, root=self._root, report=report, cancelled=cancelled)
        except BaseException:
            self.give_back(child)
            raise
        self.answered(child)

        def rest() -> BuildResult:
            try:
                return child.rest()
            finally:
                self.give_back(child)

        return made, rest

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
