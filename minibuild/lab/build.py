"""A recipe built for real, and its merges made in two ways.

Comes in: a recipe, a store. Goes out: runs, each with its merges and the fates of their paths. What
needs no merge is built as always, once. Then the rest is run with a policy: by the solver, the
materialiser and the merge of every build. The policies to compare are equal but for one switch;
both ask for hardlinks, so that neither takes a short cut by a tree that is known.
Read next: `exhibit_builder`, `both_ways`; `minibuild.snapshot.apply`, where the conditions are.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from minibuild.builder import prepare
from minibuild.cache.materialise import Materialiser
from minibuild.digest import Digest
from minibuild.errors import BuildError, Cancelled, UsageError
from minibuild.frontend.definition import read_definition
from minibuild.graph.op import Diff as DiffOp
from minibuild.graph.op import Exec, Merge
from minibuild.graph.vertex import Vertex, topological
from minibuild.lab.evidence import How, MergeCall, MergeRun
from minibuild.lab.exhibit import Recipe
from minibuild.lab.merge_inputs import makers
from minibuild.session.request import BuildRequest
from minibuild.snapshot.api import (
    Applied,
    Diff,
    Merged,
    MergePolicy,
    SnapshotID,
)
from minibuild.snapshot.snapshotter import Snapshotter
from minibuild.solver.solver import Results, Solver
from minibuild.source.source import Sources
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.context import BuildContext, open_context
from minibuild.worker.worker import Worker

Beginning = Callable[[Vertex], Sequence[Vertex | None]]
"""What of a graph is built once, in the usual way."""


class StartedBuild(NamedTuple):
    """A build of which the beginning is done."""

    build: BuildContext
    sources: Sources
    top: Vertex
    done: Results


def all_but_the_last_step(top: Vertex) -> Sequence[Vertex | None]:
    """What the last step stands on, and what it mounts."""
    return top.inputs if isinstance(top.op, Exec) else (top,)


def all_without_merges(top: Vertex) -> Sequence[Vertex | None]:
    """The vertices that stand on no merge, and read none."""
    merged: set[Digest] = set()
    for vertex in topological([top]):
        if isinstance(vertex.op, Merge | DiffOp) or any(
            i is not None and i.digest in merged for i in vertex.inputs
        ):
            merged.add(vertex.digest)
    return [vertex for vertex in topological([top]) if vertex.digest not in merged]


@contextmanager
def started_build(
    worker: Worker,
    request: BuildRequest,
    cancelled: threading.Event,
    beginning: Beginning = all_but_the_last_step,
) -> Iterator[StartedBuild]:
    """A build whose beginning is done, for as long as the block runs."""
    definition = read_definition(request)
    with open_context(worker, request, definition.directories, cancelled=cancelled) as build:
        prepared = prepare(build, request, definition)
        (image,) = prepared.convert().images
        if image.vertex is None:
            raise UsageError("there is nothing to merge: the image is empty")
        done = Solver(build, prepared.sources).solve(beginning(image.vertex)).results
        yield StartedBuild(build, prepared.sources, image.vertex, done)


def request_of(recipe: Recipe, request: BuildRequest) -> BuildRequest:
    """The request, with a recipe for what is to be built."""
    if isinstance(recipe, str):
        return request._replace(dockerfile=recipe)
    return request._replace(graphs=(recipe().flat(),))


def run(started: StartedBuild, policy: MergePolicy, how: How) -> MergeRun:
    """All that is left to do, with a policy for its merges. `how` keeps the results apart."""
    build, worker = started.build, started.build.worker
    watched = _RecordingSnapshotter(worker.snapshots)
    materialiser = Materialiser(
        worker.store,
        cast(Snapshotter, watched),
        worker.diffs,
        worker.layers,
        policy=policy,
        cancelled=build.cancelled,
    )
    watched_build = build._replace(watched_materialiser=materialiser)
    solver = Solver(watched_build, started.sources, salt=how, known=started.done)
    error = ""
    try:
        solver.solve([started.top])
    except Cancelled:
        raise
    except BuildError as failure:
        error = failure.message
        build.cancelled.clear()  # The solver set it, for what ran beside the step that failed.
    return MergeRun(how, error, tuple(_named(started, solver.reached(), watched.calls)))


class _RecordingSnapshotter:
    """A snapshotter that remembers what it was asked to merge and what came of it."""

    def __init__(self, snapshots: Snapshotter) -> None:
        self._snapshots = snapshots
        self._one = threading.Lock()
        self.calls: list[MergeCall] = []

    def merge(
        self, diffs: Sequence[Diff], policy: MergePolicy, *, parent: SnapshotID | None = None
    ) -> Merged:
        lowerdirs, at = [], parent
        while at is not None:
            lowerdirs.append(self._snapshots.layer_dir(at))
            at = self._snapshots.table.parent(at)
        fates: list[Applied] = []
        made: SnapshotID | None = None
        with self._one:  # So that the merges of the two runs come in the same order.
            try:
                merged = self._snapshots.merge(
                    diffs, policy._replace(trace=fates.append), parent=parent
                )
                made = merged.snapshot
            finally:
                # A snapshotter of full copies begins with the base, which is not to be seen.
                own = tuple(fate for fate in fates if fate.diff >= 0)
                call = MergeCall(parent, tuple(lowerdirs), tuple(diffs), fates=own, snapshot=made)
                self.calls.append(call)
        return merged

    def __getattr__(self, name: str) -> Any:
        return getattr(self._snapshots, name)


def _named(
    started: StartedBuild, results: Results, calls: Sequence[MergeCall]
) -> Iterator[MergeCall]:
    """The merges, each with the instructions that made its diffs, and the one that needs it."""
    worker, needs = started.build.worker, dict[tuple[SnapshotID | None, ...], str]()
    for vertex in topological([started.top]):
        for number in vertex.inputs if isinstance(vertex.op, Exec) else ():
            if number is not None and number.digest in results:
                result = results[number.digest].result
                uppers = tuple(worker.diffs.get(key).upper for key in result)
                needs.setdefault(uppers, vertex.note.name)
    made_by = makers(worker)
    for call in calls:
        merged = tuple(diff.upper for diff in call.diffs)
        needed = (name for uppers, name in needs.items() if uppers[-len(merged) :] == merged)
        yield call._replace(
            made_by=tuple(made_by.get(upper, "") for upper in merged), needed_by=next(needed, "")
        )
