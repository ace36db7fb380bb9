"""In which order vertices are solved, and how many at once.

Comes in: vertices and two functions, one that is quick and one that may take long. Goes out: what
they returned, for each vertex. A vertex starts as soon as its inputs are done. The quick function
runs in the caller's thread, one vertex after the other: a cached build never starts a thread. What
it declines is work, and work runs in threads of its own, up to `jobs` at a time.

The first failure stops the rest: nothing new is started, `cancelled` is set for what runs, and the
error is raised once every thread is back. Ctrl-C takes the same way.
Read next: `solver`.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from minibuild.digest import Digest
from minibuild.errors import Cancelled
from minibuild.graph.vertex import Vertex

if TYPE_CHECKING:
    from _queue import SimpleQueue

T = TypeVar("T")
Inputs = Mapping[Digest, T]


class _Outcome(Generic[T]):
    """What became of a vertex: no `NamedTuple`, for a generic one is dear to define."""

    __slots__ = ("error", "value", "vertex")

    def __init__(self, vertex: Vertex, value: T | None, error: BaseException | None) -> None:
        self.vertex = vertex
        self.value = value
        self.error = error


class Scheduler(Generic[T]):
    """Solves vertices, inputs first; see the module."""

    def __init__(
        self,
        quick: Callable[[Vertex, Inputs[T]], T | None],
        work: Callable[[Vertex, Inputs[T]], T],
        cancelled: threading.Event,
        jobs: int,
        before_threads: Callable[[], None] = lambda: None,
    ) -> None:
        self._quick = quick
        self._work = work
        self._cancelled = cancelled
        self._jobs = jobs
        # Both are made with the first thread.
        self._tasks: SimpleQueue[Vertex | None] | None = None
        self._outcomes: SimpleQueue[_Outcome[T]] | None = None
        self._before_threads: Callable[[], None] | None = before_threads
        self._waiting: deque[Vertex] = deque()
        self._threads: list[threading.Thread] = []
        self._running: set[Digest] = set()
        self._done: dict[Digest, T] = {}

    def run(self, vertices: Sequence[Vertex], done: Inputs[T] | None = None) -> dict[Digest, T]:
        """Solve all vertices (given inputs first); those of `done` are. Raises the first error
        that is not a consequence of another."""
        self._done.update(done or {})
        missing = {
            v.digest: {i.digest for i in v.inputs if i and i.digest not in self._done}
            for v in vertices
        }
        users: dict[Digest, list[Vertex]] = {}
        for vertex in vertices:
            for needed in missing[vertex.digest]:
                users.setdefault(needed, []).append(vertex)
        ready = deque(v for v in vertices if not missing[v.digest])
        error: BaseException | None = None
        try:
            while ready or self._waiting or self._running:
                while ready:
                    vertex = ready.popleft()
                    if self._cancelled.is_set():
                        raise Cancelled("the build was cancelled")
                    value = self._quick(vertex, self._done)
                    if value is None:
                        self._waiting.append(vertex)
                    else:
                        self._finish(vertex, value, missing, users, ready)
                self._start_waiting()
                if not self._running:
                    continue
                assert self._outcomes is not None
                outcome = self._outcomes.get()
                self._running.discard(outcome.vertex.digest)
                if outcome.error is not None:
                    raise outcome.error
                assert outcome.value is not None
                self._finish(outcome.vertex, outcome.value, missing, users, ready)
        except BaseException as caught:
            error = caught
        if error is not None:
            self._cancelled.set()
        self._end_threads()
        if error is not None:
            raise self._cause(error)
        return self._done

    def _finish(
        self,
        vertex: Vertex,
        value: T,
        missing: dict[Digest, set[Digest]],
        users: dict[Digest, list[Vertex]],
        ready: deque[Vertex],
    ) -> None:
        self._done[vertex.digest] = value
        for user in users.get(vertex.digest, ()):
            left = missing[user.digest]
            left.discard(vertex.digest)
            if not left:
                ready.append(user)

    def _start_waiting(self) -> None:
        if self._waiting and self._before_threads is not None:
            # The last moment at which this process may fork without a second thought.
            self._before_threads()
            self._before_threads = None
            # Not by way of `queue`, which loads what its other queues are made of: 1 ms.
            from _queue import SimpleQueue

            self._tasks, self._outcomes = SimpleQueue(), SimpleQueue()
        while self._waiting and len(self._running) < self._jobs:
            assert self._tasks is not None and self._outcomes is not None
            vertex = self._waiting.popleft()
            self._running.add(vertex.digest)
            # Threads stay: a chain of steps has one, with one connection to the database, and not
            # one for each step (0.6 of 2.9 ms that a step takes of this process).
            if len(self._threads) < len(self._running):
                args = (self._tasks, self._outcomes)
                thread = threading.Thread(target=self._body, args=args, daemon=True)
                self._threads.append(thread)
                thread.start()
            self._tasks.put(vertex)

    def _body(
        self, tasks: "SimpleQueue[Vertex | None]", outcomes: "SimpleQueue[_Outcome[T]]"
    ) -> None:
        while (vertex := tasks.get()) is not None:
            try:
                value = self._work(vertex, self._done)
            except BaseException as error:
                outcomes.put(_Outcome(vertex, None, error))
            else:
                outcomes.put(_Outcome(vertex, value, None))

    def _end_threads(self) -> None:
        """Wait for what runs. There is never more to do than there are threads, so none waits."""
        for _ in self._threads:
            assert self._tasks is not None
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def _cause(self, error: BaseException) -> BaseException:
        """The first real error, of this one and those that came of stopping."""
        while self._outcomes is not None and not self._outcomes.empty():
            other = self._outcomes.get().error
            if isinstance(error, Cancelled) and other and not isinstance(other, Cancelled):
                error = other
        return error
