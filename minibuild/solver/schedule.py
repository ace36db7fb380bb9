"""In which order vertices are solved, and how many at once.

Comes in: vertices and two functions, one that is quick and one that may take long. Goes out: what
they returned, for each vertex. A vertex starts as soon as its inputs are done. The quick function
runs in the caller's thread, one vertex after the other: a cached build never starts a thread. What
it declines is work, and work runs in threads of its own, up to `jobs` at a time. It gets to know
which vertices wait for it alone: what of them does not need its result can be prepared meanwhile.

The first failure stops the rest: nothing new is started, `cancelled` is set for what runs, and the
error is raised once every thread is back. Ctrl-C takes the same way.
Read next: `solver`.
"""

import threading
from collections import deque
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Generic, TypeVar, cast

from minibuild.digest import Digest
from minibuild.errors import Cancelled
from minibuild.graph.vertex import Vertex

_TURN_S = 0.1
T = TypeVar("T")
H = TypeVar("H")
_Outcome = tuple[Vertex, T | None, BaseException | None]
"""What became of a vertex."""
Done = Mapping[Digest, T]
"""What vertices came to, by their digests."""


class Declined(Generic[H]):
    """A vertex that takes work, what the quick function found out for it, and the vertices that are
    `waiting` for it alone. No `NamedTuple`, for a generic one is dear to define."""

    __slots__ = ("hint", "vertex", "waiting")

    def __init__(self, vertex: Vertex, hint: H) -> None:
        self.vertex = vertex
        self.hint = hint
        self.waiting: Sequence[Vertex] = ()


class Scheduler(Generic[T, H]):
    """Solves vertices, inputs first; see the module.

    `start_work` is called once, with the vertices that were declined first, just before there are
    threads: the last moment at which this process may fork. It returns the function that works.
    `done` is what vertices came to so far. With `after` vertices are done one by one, and it is
    called after each.
    """

    def __init__(
        self,
        quick: Callable[[Vertex, Done[T]], T | Declined[H]],
        start_work: Callable[[Sequence[Declined[H]]], Callable[[Declined[H], Done[T]], T]],
        cancelled: threading.Event,
        jobs: int,
        after: Callable[[Vertex, T], None] | None = None,
    ) -> None:
        self._after = after
        self._quick = quick
        self._start_work = start_work
        self._cancelled = cancelled
        self._jobs = jobs
        self._pool: _Pool[T, H] | None = None
        self._waiting: deque[Declined[H]] = deque()
        self._running: set[Digest] = set()
        self.done: dict[Digest, T] = {}

    def run(self, vertices: Sequence[Vertex], done: Done[T] | None = None) -> dict[Digest, T]:
        """Solve all vertices (given inputs first); those of `done` are. Raises the first error
        that is not a consequence of another."""
        self.done.update(done or {})
        together = [vertices] if self._after is None else [[vertex] for vertex in vertices]
        error: BaseException | None = None
        try:
            for some in together:
                self._run(_Order(some, self.done.keys()))
        except BaseException as caught:
            error = caught
            self._cancelled.set()
        if self._pool is not None:
            error = self._pool.end(error)
        if error is not None:
            raise error
        return self.done

    def _run(self, order: "_Order") -> None:
        while True:
            self._try_quick(order)
            self._hand_out(order)
            if self._pool is None or not self._running:
                break
            vertex, value = self._pool.outcome()
            self._running.discard(vertex.digest)
            self._finish(order, vertex, value)

    def _try_quick(self, order: "_Order") -> None:
        """Do all that is ready and quick."""
        while order.ready:
            vertex = order.ready.popleft()
            if self._cancelled.is_set():
                raise Cancelled("the build was cancelled")
            value = self._quick(vertex, self.done)
            if isinstance(value, Declined):
                self._waiting.append(value)
            else:
                self._finish(order, vertex, value)

    def _finish(self, order: "_Order", vertex: Vertex, value: T) -> None:
        self.done[vertex.digest] = value
        order.finish(vertex)
        if self._after is not None:
            self._after(vertex, value)

    def _hand_out(self, order: "_Order") -> None:
        """Give what waits to threads, as many as may run."""
        if self._waiting and self._pool is None:
            self._pool = _Pool(self._start_work(self._waiting), self.done)
        while self._pool is not None and self._waiting and len(self._running) < self._jobs:
            declined = self._waiting.popleft()
            declined.waiting = order.waiting(declined.vertex)
            self._running.add(declined.vertex.digest)
            self._pool.add(declined, len(self._running))


class _Order:
    """Which vertices are `ready`: those whose inputs are done."""

    def __init__(self, vertices: Sequence[Vertex], done: Container[Digest]) -> None:
        self._missing = {
            v.digest: {i.digest for i in v.inputs if i and i.digest not in done} for v in vertices
        }
        self._users: dict[Digest, list[Vertex]] = {}
        for vertex in vertices:
            for needed in self._missing[vertex.digest]:
                self._users.setdefault(needed, []).append(vertex)
        self.ready = deque(v for v in vertices if not self._missing[v.digest])

    def waiting(self, vertex: Vertex) -> list[Vertex]:
        """The vertices that lack this one and no other."""
        users = self._users.get(vertex.digest, ())
        return [user for user in users if len(self._missing[user.digest]) == 1]

    def finish(self, vertex: Vertex) -> None:
        """Note that a vertex is done."""
        for user in self._users.get(vertex.digest, ()):
            missing = self._missing[user.digest]
            missing.discard(vertex.digest)
            if not missing:
                self.ready.append(user)


class _Pool(Generic[T, H]):
    """The threads that work. They stay: a chain of steps has one, with one connection to the
    database, and not one for each step (0.6 of 2.9 ms that a step takes of this process)."""

    def __init__(self, work: Callable[[Declined[H], Done[T]], T], done: dict[Digest, T]) -> None:
        # Not by way of `queue`, which loads what its other queues are made of: 1 ms.
        from _queue import SimpleQueue

        self._work = work
        self._done = done
        self._tasks: SimpleQueue[Declined[H] | None] = SimpleQueue()
        self._outcomes: SimpleQueue[_Outcome[T]] = SimpleQueue()
        self._ended: SimpleQueue[None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def add(self, declined: Declined[H], running: int) -> None:
        """Have one more vertex done; with it `running` are."""
        if len(self._threads) < running:
            thread = threading.Thread(target=self._body, daemon=True)
            try:
                thread.start()
                self._threads.append(thread)
            except RuntimeError:  # No more of them for this user: those that there are will do.
                if not self._threads:
                    raise
        self._tasks.put(declined)

    def _body(self) -> None:
        try:
            while (declined := self._tasks.get()) is not None:
                self._outcomes.put(self._outcome_of(declined))
        finally:
            self._ended.put(None)

    def _outcome_of(self, declined: Declined[H]) -> _Outcome[T]:
        try:
            return declined.vertex, self._work(declined, self._done), None
        except BaseException as error:
            return declined.vertex, None, error

    def outcome(self) -> tuple[Vertex, T]:
        """The next vertex that is done, and what it came to. Raises its error."""
        vertex, value, error = self._next()
        if error is not None:
            raise error
        return vertex, cast(T, value)

    def _next(self) -> _Outcome[T]:
        """Wait in turns: a signal that comes just before a wait is handled after it."""
        from _queue import Empty

        while True:
            try:
                return self._outcomes.get(timeout=_TURN_S)
            except Empty:
                if not any(thread.is_alive() for thread in self._threads):
                    raise MemoryError from None  # What else should end them?

    def end(self, error: BaseException | None) -> BaseException | None:
        """Wait for what runs; what ends well is done. There is never more to do than there are
        threads, so none waits. Returns the first real error, of this one and those that came of
        stopping."""
        from minibuild.oci.parallel import wait_for

        for _ in self._threads:
            self._tasks.put(None)
        interrupts: list[BaseException] = []
        wait_for(self._threads, self._ended, interrupts)
        error = error or (interrupts[0] if interrupts else None)
        while error is not None and not self._outcomes.empty():
            vertex, value, other = self._outcomes.get()
            if other is None:
                self._done[vertex.digest] = cast(T, value)
            if isinstance(error, Cancelled) and other and not isinstance(other, Cancelled):
                error = other
        return error
