"""Performing an exhibit: its Dockerfile built for real, and its last step run twice.

Comes in: an exhibit, the folder of a store. Goes out: a `Showing`. The build has a store of its own
inside that folder. Everything but the last step is built as always. Then the last step, which needs
the merge, is run with the old condition and with the new: by the solver, the materialiser and the
merge of every build. The two policies are equal but for the exhibit's switch; both ask for
hardlinks, so that neither takes a short cut by a tree that is known.
Read next: `evidence`; `minibuild.snapshot.apply`, where the condition is.
"""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

from minibuild.builder import prepare
from minibuild.cache.materialise import Materialiser
from minibuild.cache.results import VertexResult
from minibuild.digest import Digest
from minibuild.errors import BuildError, Cancelled
from minibuild.frontend.definition import read_definition
from minibuild.graph.op import Exec
from minibuild.graph.reference import parse_reference
from minibuild.graph.vertex import Vertex, topological
from minibuild.lab.evidence import MergeCall, Run, Showing, Varied, look, obstacle
from minibuild.lab.exhibit import Exhibit, Variation
from minibuild.session.request import BuildRequest, RegistryAccess
from minibuild.snapshot.api import (
    Applied,
    Diff,
    Merged,
    MergePolicy,
    MergeSnapshotter,
    SnapshotID,
    Strategy,
)
from minibuild.snapshot.base import BaseSnapshotter
from minibuild.snapshot.defects import policy_for
from minibuild.snapshot.merge import can_stand_on
from minibuild.snapshot.sweep import discard
from minibuild.solver.solver import Solver
from minibuild.source.source import Sources
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.context import BuildContext, open_context
from minibuild.worker.worker import Worker, open_worker

_BASE_IMAGE = "busybox"


class Stage(NamedTuple):
    """Where Dockerfiles of an exhibit are built."""

    worker: Worker
    request: BuildRequest
    cancelled: threading.Event


class _Prepared(NamedTuple):
    """A build of which everything is done but the last step."""

    build: BuildContext
    sources: Sources
    top: Vertex
    done: Mapping[Digest, VertexResult]


def show(
    exhibit: Exhibit,
    root: str,
    *,
    registries: RegistryAccess,
    keep: bool = False,
    cancelled: threading.Event | None = None,
) -> Showing:
    """Perform an exhibit. Needs what a build needs: root, or a user namespace around it."""
    with _stage(exhibit, root, registries, keep, cancelled or threading.Event()) as stage:
        with _prepared(stage, exhibit.dockerfile) as made:
            upperdir = _upperdir(made, exhibit.watched)
            entries = look(upperdir, exhibit.paths)
            without_fix, with_fix = _both_ways(stage, made, exhibit)
        return Showing(
            exhibit,
            stage.worker.store.root,
            stage.worker.snapshots.name,
            upperdir,
            entries,
            obstacle(exhibit, entries),
            without_fix,
            with_fix,
            tuple(_varied(stage, exhibit, variation) for variation in exhibit.variations),
        )


@contextmanager
def _stage(
    exhibit: Exhibit,
    root: str,
    registries: RegistryAccess,
    keep: bool,
    cancelled: threading.Event,
) -> Iterator[Stage]:
    """A store beside what the outer one holds, with a context in it; removed unless it is kept.

    It is a thing in the making of the outer store, so a crash leaves nothing that is not swept.
    """
    with open_worker(root) as outer:
        place = _kept(root, exhibit.name) if keep else outer.store.ingest_path()
        try:
            context = os.path.join(place, "context")
            os.makedirs(context)
            for name, text in exhibit.files.items():
                with open(os.path.join(context, name), "x", encoding="utf-8") as file:
                    file.write(text)
            request = BuildRequest(context, contexts=_base(outer), registries=registries)
            with open_worker(os.path.join(place, "store")) as worker:
                yield Stage(worker, request, cancelled)
        finally:
            if not keep and os.path.lexists(place):
                discard(outer.store, place)


def _kept(root: str, name: str) -> str:
    """The first free name for what is kept."""
    number = 1
    while os.path.lexists(path := os.path.join(root, "lab", f"{name}-{number}")):
        number += 1
    return path


def _base(outer: Worker) -> dict[str, str]:
    """The base image of all exhibits, from the store where it has it; else it is pulled."""
    found = outer.images.resolve(parse_reference(_BASE_IMAGE))
    return {} if found is None else {_BASE_IMAGE: f"oci-layout://{outer.store.root}@{found.digest}"}


@contextmanager
def _prepared(stage: Stage, dockerfile: str) -> Iterator[_Prepared]:
    request = stage.request._replace(dockerfile=dockerfile)
    definition = read_definition(request)
    with open_context(
        stage.worker, request, definition.directories, cancelled=stage.cancelled
    ) as build:
        prepared = prepare(build, request, definition)
        (image,) = prepared.convert().images
        top = image.vertex
        assert top is not None, "an exhibit has steps"
        before = top.inputs if isinstance(top.op, Exec) else (top,)
        done = Solver(build, prepared.sources).solve(before).results
        yield _Prepared(build, prepared.sources, top, done)


def _upperdir(made: _Prepared, watched: str) -> str:
    (vertex,) = (v for v in topological([made.top]) if watched in v.note.name)
    row = made.build.worker.diffs.get(made.done[vertex.digest].result[-1])
    assert row.upper is not None, "a RUN leaves a tree"
    return made.build.worker.snapshots.layer_dir(row.upper)


def _both_ways(stage: Stage, made: _Prepared, exhibit: Exhibit) -> tuple[Run, Run]:
    """The last step without the fix and with it; the policies differ in the exhibit's switch."""
    return (
        _run(stage, made, policy_for(exhibit.defect), "without the fix"),
        _run(stage, made, MergePolicy(Strategy.HARDLINK), "with the fix"),
    )


def _run(stage: Stage, made: _Prepared, policy: MergePolicy, salt: str) -> Run:
    fates: list[Applied] = []
    worker = stage.worker
    watched = _Watched(worker.snapshots)
    materialiser = Materialiser(
        worker.store,
        cast(MergeSnapshotter, watched),
        worker.diffs,
        worker.layers,
        policy=policy._replace(trace=fates.append),
        cancelled=stage.cancelled,
    )
    build = made.build._replace(materialiser=materialiser)
    error = ""
    try:
        Solver(build, made.sources, salt=salt, known=made.done).solve([made.top])
    except Cancelled:
        raise
    except BuildError as failure:
        error = failure.message
        stage.cancelled.clear()  # The solver set it, for what ran beside the step that failed.
    return Run(error, watched.call, tuple(_of_diffs(worker, watched.call, fates)))


def _of_diffs(
    worker: Worker, call: MergeCall | None, fates: Sequence[Applied]
) -> Iterator[Applied]:
    """The fates of what was merged. A snapshotter of full copies begins with all of the base, as
    one more diff, and that is not what is to be seen."""
    snapshots = cast(BaseSnapshotter, worker.snapshots)
    copies = call is not None and call.base is not None and not can_stand_on(snapshots, call.base)
    for fate in fates:
        if not copies:
            yield fate
        elif fate.diff:
            yield fate._replace(diff=fate.diff - 1)


class _Watched:
    """A snapshotter that remembers what it was asked to merge last, and merges it."""

    def __init__(self, snapshots: MergeSnapshotter) -> None:
        self._snapshots = snapshots
        self.call: MergeCall | None = None

    def merge(
        self, diffs: Sequence[Diff], policy: MergePolicy, *, parent: SnapshotID | None = None
    ) -> Merged:
        lowerdirs, at = [], parent
        while at is not None:
            lowerdirs.append(self._snapshots.layer_dir(at))
            at = self._snapshots.parent(at)
        self.call = MergeCall(parent, tuple(lowerdirs), tuple(diffs))
        return self._snapshots.merge(diffs, policy, parent=parent)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._snapshots, name)


def _varied(stage: Stage, exhibit: Exhibit, variation: Variation) -> Varied:
    if variation.needs_devices and (reason := _no_devices(stage)):
        return Varied(variation, None, None, reason)
    with _prepared(stage, variation.dockerfile) as made:
        return Varied(variation, *_both_ways(stage, made, exhibit))


def _no_devices(stage: Stage) -> str:
    """Why a step cannot make a device node, found by making one."""
    import stat

    path = stage.worker.store.ingest_path()
    try:
        os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, 0))
    except PermissionError:
        return "needs root: the kernel makes no device nodes in a user namespace"
    os.unlink(path)
    return ""
