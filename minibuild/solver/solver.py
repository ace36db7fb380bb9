"""The solver: every vertex of a graph becomes a result, from the cache or by work.

Comes in: vertices, inputs first. Goes out: a `VertexResult` for each. For a vertex that is not in
the cache, its key is locked first: of two builds that want the same step at the same time, in one
process or in two, one does it and the other finds it done.
Read next: `step` and `source.source`, which do the work.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from minibuild.cache.records import Record, RemoteCache, StepKeys
from minibuild.cache.results import Result, VertexResult
from minibuild.digest import Digest
from minibuild.errors import BuildError, Cancelled, explained, located
from minibuild.events import Completed, Planned, Remark, Started, VertexInfo
from minibuild.fileop.digest_cache import MostlyKnown, Unknown
from minibuild.graph.op import (
    Diff,
    Exec,
    File,
    GitSource,
    HttpSource,
    ImageSource,
    LocalSource,
    Merge,
)
from minibuild.graph.vertex import Vertex, topological
from minibuild.progress.writer import ProgressWriter
from minibuild.solver.cachekey import combined_key, image_key
from minibuild.solver.keyring import Keyring
from minibuild.solver.keys import PrecomputedKey, base_key, fast_parts, must_execute
from minibuild.solver.schedule import Scheduler
from minibuild.source.source import Sources
from minibuild.worker.context import BuildContext

if TYPE_CHECKING:
    from minibuild.solver.cache_probe import Foresight, Guess
    from minibuild.solver.copiers import Copiers
    from minibuild.solver.packing import Packing
    from minibuild.solver.step import Steps

DEFAULT_JOBS = 16
"""Steps wait for the network and the disk as often as for a processor, so more than there are."""

Done = Mapping[Digest, VertexResult]


class Solver:
    """Solves the graphs of one build. `known` are vertices that an earlier solver of it did: the
    definition was read from them, so its steps must see the same, also if a branch moved since."""

    def __init__(
        self,
        build: BuildContext,
        sources: Sources,
        *,
        jobs: int = 0,
        salt: str = "",
        packing: "Packing | None" = None,
        remote_cache: RemoteCache | None = None,
        known: Done | None = None,
    ) -> None:
        self._build = build
        self._cache = build.worker.cache
        self._sources = sources
        self._jobs = jobs or DEFAULT_JOBS
        self._keys = Keyring(self._cache, remote_cache, salt)
        self._packing = packing
        self._early: dict[Digest, PrecomputedKey] = {}
        self._copiers: Copiers | None = None
        self._to_copy = 0
        self._steps: Steps | None = None
        self._starting = threading.Lock()
        self._all: tuple[Sequence[Vertex], Sequence[Vertex | None]] = ((), ())
        self._known = known or {}
        self._remote_cache = remote_cache
        self.steps: tuple[StepKeys, ...] = ()
        """The keys of all vertices that have one, solved or not needed after all."""
        self.cached = 0
        self.executed = 0

    def solve(self, targets: Sequence[Vertex | None]) -> dict[Digest, VertexResult]:
        """Everything the targets need, by vertex digest. Raises the first error of a step.

        With `packing`, what no step reads becomes a layer at once; without, all are trees.
        """
        vertices = topological(targets)
        self._all = (vertices, targets)
        self._build.report(
            Planned(
                tuple(
                    VertexInfo(
                        v.digest, v.note.name, tuple(i.digest for i in v.inputs if i), v.note.span
                    )
                    for v in vertices
                    if v.digest not in self._known
                )
            )
        )
        ahead = self._foresee(vertices, targets)
        # The step server is forked from a process with one thread, and only if a step may run.
        left = vertices if ahead is None else ahead.left
        runs = any(isinstance(v.op, Exec) for v in left)

        def before_threads() -> None:
            from minibuild.solver.copiers import Copiers  # a cached build copies nothing

            self._copiers = Copiers()
            self._copiers.start_servers(self._jobs, self._to_copy)
            if runs:
                self._build.worker.executor()

        scheduler = Scheduler(
            self._quick,
            self._work,
            self._build.cancelled,
            self._jobs,
            before_threads,
        )
        try:
            done = scheduler.run(left, None if ahead is None else ahead.solved)
        finally:
            if self._steps is not None:
                self._steps.stop()
            if self._copiers is not None:
                self._copiers.close()
            self._cache.flush()
        known = done if ahead is None else {**ahead.keys, **done}
        self.steps = tuple(self._keys.of(vertices, known))
        return done

    def _foresee(
        self, vertices: Sequence[Vertex], targets: Sequence[Vertex | None]
    ) -> "Foresight | None":
        """What the caches of other machines make needless, if there are any."""
        if self._remote_cache is None:
            return None
        from minibuild.solver.cache_probe import foresee

        ahead = foresee(vertices, targets, self._guess, dict(self._known))
        done = ahead.keys.keys() - {vertex.digest for vertex in ahead.left} - self._known.keys()
        for vertex in vertices:
            if vertex.digest in done:
                self._announce(vertex, ahead.keys[vertex.digest])
        return ahead

    def _guess(self, vertex: Vertex, inputs: list[VertexResult | None]) -> "Guess | None":
        """What can be known of a vertex by the keys of its inputs."""
        from minibuild.solver.cache_probe import Guess

        match vertex.op:
            case LocalSource() as op:
                return Guess(VertexResult((), None, local=op))
            case ImageSource() as op:
                return Guess(self._image(op))
            case Merge() as op:
                return Guess(self._merge(op, inputs))
            case Diff() as op:
                key = self._diff_key(op, inputs)
            case Exec() | File() as op if not must_execute(vertex, inputs):
                progress = self._build.progress(vertex.digest)
                try:
                    parts = fast_parts(self._build, vertex, inputs, progress)
                except BuildError:
                    return None  # A mistake is told by the step that made it.
                key = self._keys.fast(vertex, op, base_key(inputs), parts)
            case _:
                return None
        if (found := self._keys.find(key)) is not None:
            return Guess(found)
        assert self._remote_cache is not None
        canonical = self._remote_cache.canonical(key)
        return (
            None
            if canonical is None
            else Guess(VertexResult((), canonical, cached=True), whole=False)
        )

    # --- what needs no thread ---

    def _quick(self, vertex: Vertex, done: Done) -> VertexResult | None:
        known = self._known.get(vertex.digest)
        if known is not None:
            return known
        inputs = [None if v is None else done[v.digest] for v in vertex.inputs]
        match vertex.op:
            case LocalSource() as op:
                return self._announce(vertex, VertexResult((), None, local=op))
            case Merge() as op:
                return self._announce(vertex, self._merge(op, inputs), _put_together(inputs))
            case Exec() | File():
                return self._try_fast(vertex, inputs)
            case Diff() as op if not any(i.forced for i in inputs if i):
                return self._hit(vertex, self._keys.find(self._diff_key(op, inputs)))
            case ImageSource() as op:
                # Known since the frontend asked for its config; its layers stay where they are.
                return self._announce(vertex, self._image(op))
        return None

    def _image(self, op: ImageSource) -> VertexResult:
        result, diff_ids = self._sources.image(op)
        return VertexResult(result, image_key(diff_ids), cached=True)

    def _merge(self, op: Merge, inputs: Sequence[VertexResult | None]) -> VertexResult:
        """A merge is its inputs' diffs, one list after the other: nothing to do or to keep."""
        result: Result = tuple(key for i in inputs if i is not None for key in i.result)
        return VertexResult(
            result,
            combined_key(op, [i and i.key for i in inputs]),
            forced=any(i.forced for i in inputs if i),
            cached=all(i.cached for i in inputs if i),
            origin=next((i.origin for i in inputs if i and i.origin), ""),
        )

    def _diff_key(self, op: Diff, inputs: Sequence[VertexResult | None]) -> Digest:
        return self._keys.salted(combined_key(op, [i and i.key for i in inputs]))

    def _try_fast(
        self, vertex: Vertex, inputs: Sequence[VertexResult | None]
    ) -> VertexResult | None:
        if must_execute(vertex, inputs) or any(i and i.forced for i in inputs):
            return None
        progress = self._build.progress(vertex.digest)
        # Walking a context is quick; hashing files that changed is not, and is left to a thread,
        # as is a mistake, which belongs to the step that made it.
        digests = MostlyKnown(self._build.worker.store.db)
        since_ns = time.time_ns()
        try:
            parts = fast_parts(self._build, vertex, inputs, progress, digests)
        except Unknown:
            self._to_copy += isinstance(vertex.op, File)
            return None
        except BuildError:
            return None
        assert isinstance(vertex.op, Exec | File)
        key = self._keys.fast(vertex, vertex.op, base_key(inputs), parts)
        found = self._hit(vertex, self._keys.find(key))
        if found is None:
            self._early[vertex.digest] = PrecomputedKey(parts, since_ns, key)
        return found

    # --- what may take long ---

    def _work(self, vertex: Vertex, done: Done) -> VertexResult:
        inputs = [None if v is None else done[v.digest] for v in vertex.inputs]
        progress = self._build.progress(vertex.digest)
        self._build.report(Started(vertex.digest, time.time()))
        try:
            with located(vertex.note.span):
                solved = self._solve(vertex, inputs, progress)
        except BaseException as error:
            error = explained(error)
            self._build.report(
                Completed(
                    vertex.digest,
                    time.time(),
                    error=str(error) or type(error).__name__,
                    cancelled=isinstance(error, Cancelled),
                )
            )
            raise error from error.__cause__
        self.cached += solved.cached
        self.executed += not solved.cached
        if solved.cached and solved.origin:
            progress.remark(f"found in {solved.origin}")
        self._build.report(Completed(vertex.digest, time.time(), cached=solved.cached))
        return solved

    def _solve(
        self, vertex: Vertex, inputs: Sequence[VertexResult | None], progress: ProgressWriter
    ) -> VertexResult:
        match vertex.op:
            case Exec() | File() as op:
                early = self._early.pop(vertex.digest, None)
                return self._stepping().do(vertex, op, inputs, progress, early)
            case Diff() as op:
                from minibuild.solver.run_diff import run_diff

                result = run_diff(self._build, inputs, progress)
                key = self._diff_key(op, inputs)
                # A record is for good, and what other machines have may be gone tomorrow.
                if not any(i.origin for i in inputs if i):
                    self._cache.save({key}, Record(key, result), vertex.note.name)
                return VertexResult(result, key, forced=any(i.forced for i in inputs if i))
            case HttpSource() | GitSource() as op:
                return self._sources.remote(op, progress, ignore_cache=vertex.note.ignore_cache)
        raise AssertionError(f"{vertex!r} needs no work")

    def _stepping(self) -> "Steps":
        from minibuild.solver.step import Steps  # a cached build does none

        with self._starting:
            if self._steps is None:
                assert self._copiers is not None
                parts = (self._build, self._keys, self._packing)
                self._steps = Steps(*parts, *self._all, self._copiers)
            return self._steps

    # --- small things ---

    def _hit(self, vertex: Vertex, found: VertexResult | None) -> VertexResult | None:
        return None if found is None else self._announce(vertex, found)

    def _announce(self, vertex: Vertex, solved: VertexResult, remark: str = "") -> VertexResult:
        now = time.time()
        if solved.origin and not isinstance(vertex.op, Merge):
            remark = f"found in {solved.origin}"
        self.cached += solved.cached
        self._build.report(Started(vertex.digest, now))
        if remark:
            self._build.report(Remark(vertex.digest, remark, now))
        self._build.report(Completed(vertex.digest, now, cached=solved.cached))
        return solved


def _put_together(inputs: Sequence[VertexResult | None]) -> str:
    """What to say of a merge that is new while some of its inputs are not, lest people think that
    an unchanged `COPY --link` was done again."""
    cached = sum(1 for i in inputs if i and i.cached)
    if cached in (0, len(inputs)):
        return ""
    return (
        f"put together anew of {len(inputs)} results, {cached} of them cached; no data was touched"
    )
