"""Steps that are prepared while the step below them runs.

Comes in: a step whose process runs, and the vertices that wait for nothing else. Goes out: one of
them with its key, its lock, a snapshot and a process, which waits until the step below has ended.
All that depends on how that step is defined and on where it writes, not on what it writes. So in a
chain of short steps a build does not wait for one after the other.

A step is prepared where that is simple: a RUN without mounts, on the root filesystem of another.
Others start when the step below is done. So does one whose preparation fails, which meets the
same trouble again and reports it. If the step below fails, or the build is cancelled, what was
prepared is dropped. If this process is killed, the snapshot is swept as any other in the making.
Read next: `exec`.
"""

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from minibuild.cache.results import VertexResult
from minibuild.digest import Digest
from minibuild.errors import BuildError
from minibuild.graph.op import Exec
from minibuild.graph.vertex import Vertex
from minibuild.snapshot.api import SnapshotID
from minibuild.solver.exec import ExecRun
from minibuild.solver.keys import ReadyVertex, step_key
from minibuild.solver.lookup import Lookup
from minibuild.solver.start_order import StartOrder
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.context import BuildContext


class PreparedStep:
    """A step that is prepared, under its lock; it has no record. From its release on it is among
    those that are `running`, until a thread takes it from there to wait for its end."""

    def __init__(self, steps: "PreparedSteps", vertex: Vertex, op: Exec, key: Digest) -> None:
        self.op = op
        self.key = key
        last = steps.starts.is_last(vertex.digest)
        self.run = ExecRun(steps.build, vertex, op, last=last)
        self.lock = ExitStack()
        self.released = 0.0
        self._vertex = vertex
        self._running = steps.running

    def release(self) -> None:
        """Let it run: the step below has ended well. What cannot go on is dropped."""
        with suppress(BuildError, OSError):
            self.released = time.time()
            if self.run.release():
                self._running[self._vertex.digest] = self
                return
        self.drop()

    def drop(self) -> None:
        """Leave nothing of it."""
        self._running.pop(self._vertex.digest, None)
        self.run.drop()
        self.lock.close()


class PreparedSteps(NamedTuple):
    """What prepares the steps of a build. `running` are those that no thread waits for yet."""

    build: BuildContext
    lookup: Lookup
    starts: StartOrder
    running: dict[Digest, PreparedStep]

    def prepare_one(
        self, waiting: Sequence[Vertex], below: ReadyVertex, key: Digest, root: SnapshotID
    ) -> PreparedStep | None:
        """Prepare one of the vertices that are `waiting` for `below`, which has this key and writes
        to this snapshot. None if there is none that can be prepared, and has to run."""
        for vertex in waiting:
            op, inputs = vertex.op, [v and v.digest for v in vertex.inputs]
            if isinstance(op, Exec) and not op.mounts and inputs == [below.vertex.digest]:
                known = VertexResult((), key, key, forced=below.must_execute)
                return self._prepare(ReadyVertex(vertex, (known,)), op, root)
        return None

    def _prepare(self, ready: ReadyVertex, op: Exec, root: SnapshotID) -> PreparedStep | None:
        build, key = self.build, step_key(op, ready.base_key, (), self.lookup.version)
        made = PreparedStep(self, ready.vertex, op, key)
        with suppress(BuildError, OSError), ExitStack() as stack:
            stack.callback(made.drop)
            # What another build does at the moment is waited for later.
            made.lock.enter_context(build.worker.store.lock(f"key-{key[7:39]}", _at_once()))
            found = None if ready.must_execute else self.lookup.find_step(key, op)
            if found is None and made.run.begin_early(ready, root):
                stack.pop_all()
                return made
        return None


def _at_once() -> threading.Event:
    """What ends each wait as it begins."""
    event = threading.Event()
    event.set()
    return event
