"""When steps of a build start: they go before copies, and one of them is the last.

Comes in: the steps that may have to run, and from threads, which of them they start. Goes out: a
wait for threads that copy, and whether a step is the last.

A copy loads modules and looks at files. Each of these system calls is so short that the interpreter
lock comes back to its thread before the kernel has woken another one. So a step that is started
beside it would have its process some milliseconds later, while a copy has all the time in which
that process runs.
Read next: `step`.
"""

import threading
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager

from minibuild.digest import Digest
from minibuild.graph.op import Exec
from minibuild.graph.vertex import Vertex

_PATIENCE_S = 0.02
"""How long a copy waits: a step may have to wait for another build, or unpack its base."""


class StartOrder:
    """The steps among the `vertices`; `done` is what has a result so far. Safe in threads."""

    __slots__ = ("_changed", "_done", "_starting", "_to_come")

    def __init__(self, vertices: Sequence[Vertex], done: Container[Digest]) -> None:
        self._to_come = {vertex.digest for vertex in vertices if isinstance(vertex.op, Exec)}
        self._done = done
        self._starting: set[int] = set()
        self._changed = threading.Condition()

    def is_last(self, step: Digest) -> bool:
        """Whether no other step will have to be started after this one."""
        with self._changed:
            self._to_come.discard(step)
            return all(other in self._done for other in self._to_come)

    @contextmanager
    def starting(self) -> Iterator[None]:
        """This thread starts a step in the `with` block, until it says that it `has_started`."""
        with self._changed:
            self._starting.add(threading.get_ident())
        try:
            yield
        finally:
            self.has_started()

    def has_started(self) -> None:
        """The step of this thread has its process."""
        with self._changed:
            self._starting.discard(threading.get_ident())
            self._changed.notify_all()

    def wait(self) -> None:
        """Let steps that are being started go first."""
        with self._changed:
            self._changed.wait_for(lambda: not self._starting, _PATIENCE_S)
