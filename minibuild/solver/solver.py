"""The solver: every vertex of a graph becomes a result, from the cache or by work.

Comes in: vertices, inputs first. Goes out: a `Solution` with a `VertexResult` for each of them.
Each vertex is looked up first, in this thread; only what no look-up finds is work, in threads.
Read next: `lookup`, then `step`.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from minibuild.cache.records import RemoteCache, StepKeys
from minibuild.cache.results import VertexResult
from minibuild.digest import Digest
from minibuild.errors import BuildError, located
from minibuild.events import Completed, Planned, Remark, Started, VertexInfo, Warned
from minibuild.fileop.digest_cache import DigestCache, QuickDigestCache, Unknown
from minibuild.graph.op import Exec, File, LocalSource, Merge, MountOutput
from minibuild.graph.vertex import Vertex, topological
from minibuild.linux.namespace import needs_user_namespace
from minibuild.solver.inputs import (
    ReadParts,
    find_revision,
    read_fast_parts,
    revision_key,
    save_revision,
)
from minibuild.solver.keys import ReadyVertex
from minibuild.solver.layers import LayerPlan, Packing
from minibuild.solver.lookup import Answer, Lookup, PrecomputedKey, Probe, probe
from minibuild.solver.schedule import Declined, Scheduler
from minibuild.source.source import Sources
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.context import BuildContext

if TYPE_CHECKING:
    from minibuild.solver.stepper import Stepper

DEFAULT_JOBS = 16
"""Steps wait for the network and the disk as often as for a processor, so more than there are."""

Results = Mapping[Digest, VertexResult]
Hint = PrecomputedKey | None


class Solution(NamedTuple):
    """The result of each vertex that was needed, by its digest; `known` are also those of which
    caches of other machines know the key alone. `steps` are the keys of all vertices that have
    one; `cached` and `executed` count vertices."""

    results: dict[Digest, VertexResult]
    known: Results
    steps: tuple[StepKeys, ...]
    cached: int
    executed: int


class Solver:
    """Solves the graphs of one build. `known` are vertices that an earlier solver of it did: the
    definition was read from them, so its steps must see the same, also if a branch moved since.

    With `packing`, what no step reads becomes a layer at once; without, all are trees.
    """

    def __init__(
        self,
        build: BuildContext,
        sources: Sources,
        *,
        jobs: int = 0,
        salt: str = "",
        packing: Packing | None = None,
        remote_cache: RemoteCache | None = None,
        known: Results | None = None,
    ) -> None:
        self._stepper: Stepper | None = None
        self._build = build
        self._sources = sources
        self._jobs = jobs or DEFAULT_JOBS
        self._packing = packing
        self._lookup = Lookup(build.worker.cache, sources.image, remote_cache, salt)
        self._known = known or {}
        self._runs: Callable[[Vertex], bool] = lambda vertex: False
        self._reached: list[Results] = []

    def solve(self, targets: Sequence[Vertex | None], stepper: "Stepper | None" = None) -> Solution:
        """Everything the targets need, under the eyes of a `stepper`. Raises the first error."""
        self._stepper = stepper
        vertices = topological(targets)
        self._report_plan(vertices)
        self._empty_caches(vertices)
        found = self._probe(vertices, targets)
        with ExitStack() as stack:
            stack.callback(self._build.worker.cache.flush)
            plan = partial(LayerPlan.of, self._packing, vertices, targets)
            start_work = partial(self._start_work, stack, found.left, plan)
            after = None if stepper is None else stepper.after
            scheduler = Scheduler(self._quick, start_work, self._build.cancelled, self._jobs, after)
            self._reached = [found.known, scheduler.done]
            if stepper is not None:
                self._show_found(stepper, vertices, found)
            results = scheduler.run(found.left, found.results)
        return self._solution(vertices, results, {**found.known, **results})

    def _empty_caches(self, vertices: Sequence[Vertex]) -> None:
        fresh = [v for v in vertices if v.note.ignore_cache and isinstance(v.op, Exec)]
        if fresh:
            from minibuild.solver.cachemounts import start_empty

            start_empty(self._build, fresh)

    def reached(self) -> Results:
        """The results so far, also of a graph in which a step failed."""
        return {digest: found for part in self._reached for digest, found in part.items()}

    def _probe(self, vertices: Sequence[Vertex], targets: Sequence[Vertex | None]) -> Probe:
        """What the caches of other machines make needless, if there are any."""
        if self._lookup.remote is None:
            left = [vertex for vertex in vertices if vertex.digest not in self._known]
            return Probe(dict(self._known), dict(self._known), left)
        self._lookup.plan(targets)
        found = probe(
            vertices, targets, lambda ready: self._lookup.ask(ready, self._read), self._known
        )
        needless = found.known.keys() - {v.digest for v in found.left} - self._known.keys()
        for vertex in vertices:
            if vertex.digest in needless:
                self._report_found(vertex, found.known[vertex.digest])
        return found

    def _show_found(self, stepper: "Stepper", vertices: Sequence[Vertex], found: Probe) -> None:
        """Let a stepper see what was found before anything is done."""
        for vertex in vertices:
            result = found.results.get(vertex.digest)
            if result is not None and vertex.digest not in self._known:
                stepper.before(ReadyVertex.of(vertex, found.known), Answer(result))
                stepper.after(vertex, result)

    # --- What needs no thread ---

    def _quick(self, vertex: Vertex, done: Results) -> VertexResult | Declined[Hint]:
        if self._runs(vertex):
            return Declined(vertex, None)
        ready = ReadyVertex.of(vertex, done)
        key = revision_key(ready, self._build.revisions, self._lookup.version)
        answer = Answer(find_revision(self._build, key))
        if answer.result is None:
            read = self._read_quickly if self._stepper is None else self._read
            answer = self._lookup.ask(ready, read)
            if answer.whole:
                save_revision(self._build, key, answer.result, vertex.note.name)
        if self._stepper is not None:
            self._stepper.before(ready, answer)
        if answer.result is None or not answer.whole:
            return Declined(vertex, answer.precomputed)
        remark = _remark(ready) if isinstance(vertex.op, Merge) else ""
        self._report_found(vertex, answer.result, remark)
        return answer.result

    def _read_quickly(self, ready: ReadyVertex, op: Exec | File) -> ReadParts | None:
        # Walking a context is quick; hashing files that changed is not, and is left to a thread.
        return self._read(ready, op, QuickDigestCache(self._build.worker.store.db))

    def _read(
        self, ready: ReadyVertex, op: Exec | File, digests: DigestCache | None = None
    ) -> ReadParts | None:
        try:
            return read_fast_parts(self._build, ready, op, digests)
        except (Unknown, BuildError):
            return None

    # --- What may take long ---

    def _start_work(
        self,
        stack: ExitStack,
        left: Sequence[Vertex],
        plan_layers: Callable[[], LayerPlan],
        waiting: Sequence[Declined[Hint]],
    ) -> Callable[[Declined[Hint], Results], VertexResult]:
        """What does the work from now on, until `stack` is closed. This process has one thread."""
        # The step server first: the fewer modules are loaded, the sooner it is there.
        if any(isinstance(vertex.op, Exec) for vertex in left):
            if needs_user_namespace():  # There was none to be had, so all of these are to be known.
                self._refuse_to_run(left)
            else:
                self._warn_of_limits(self._build.executor().unkept(self._build.resources))
        from minibuild.solver.copiers import Copiers
        from minibuild.solver.copy_processes import processes_for
        from minibuild.solver.start_order import StartOrder
        from minibuild.solver.step import Steps

        copiers = Copiers()
        stack.callback(copiers.close)
        plan, known, done = plan_layers(), self.reached(), self._reached[-1]
        busy = processes_for(left, waiting, known, plan, self._build)
        copiers.start_servers(self._jobs, busy)
        starts = StartOrder(left, done)
        steps = Steps(self._build, self._sources, self._lookup, plan, copiers, starts)
        stack.callback(steps.close)
        self._runs = steps.runs
        return lambda declined, done: steps.do(
            ReadyVertex.of(declined.vertex, done), declined.hint, declined.waiting
        )

    def _refuse_to_run(self, left: Sequence[Vertex]) -> None:
        """Raise `NamespaceRefused` if a step is certain to run."""
        from minibuild.solver.must_run import first_to_run

        known = self.reached()
        step = first_to_run(left, known, lambda ready: self._lookup.ask(ready, self._read))
        if step is not None:
            with located(step.note.span):
                self._build.executor()

    # --- Reports ---

    def _report_plan(self, vertices: Sequence[Vertex]) -> None:
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

    def _warn_of_limits(self, unkept: Sequence[str]) -> None:
        """Say which limits the steps will not have."""
        for name in unkept:
            message = f"{name} cannot be limited here: see `minibuild doctor`, cgroup"
            self._build.report(Warned("ResourceLimits", message))

    def _report_found(self, vertex: Vertex, result: VertexResult, remark: str = "") -> None:
        now, report = time.time(), self._build.report
        if result.origin and not isinstance(vertex.op, Merge):
            remark = f"found in {result.origin}"
        report(Started(vertex.digest, now))
        if remark:
            report(Remark(vertex.digest, remark, now))
        report(Completed(vertex.digest, now, cached=result.cached))

    def _solution(
        self, vertices: Sequence[Vertex], results: dict[Digest, VertexResult], known: Results
    ) -> Solution:
        found = [(v, known[v.digest]) for v in vertices if v.digest in known]
        new = [(v, result) for v, result in found if v.digest not in self._known]
        steps = (
            StepKeys(result.key, result.fast_key or result.key, v.note.name)
            for v, result in found
            if result.key is not None
        )
        executed = sum(
            not result.cached and not isinstance(v.op, LocalSource | Merge | MountOutput)
            for v, result in new
        )
        cached = sum(result.cached for _, result in new)
        return Solution(results, known, tuple(steps), cached, executed)


def _remark(ready: ReadyVertex) -> str:
    """What to say of a merge that is new while some of its inputs are not: an unchanged `COPY
    --link` was not done again."""
    cached, total = sum(1 for i in ready.inputs if i and i.cached), len(ready.inputs)
    if cached in (0, total):
        return ""
    return f"merged again from {total} results, {cached} of them cached; no data was touched"
