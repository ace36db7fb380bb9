"""Doing a File: its actions applied to the tree of its base, as a tree, as a layer, or as both.

Comes in: a vertex whose inputs are solved, and the plan that says which form is wanted. Goes out:
the base's result with one diff more. What only copies can be a layer without ever being a tree;
where the layer is only known once there is a tree (`Unplannable`), it is written after all.

A file that is there already, equal in all, is not written again (see `fileop.tree`). Its time
counts, as with BuildKit, unless the copies just before put it there: times are no part of their
keys, so they may come from the cache with the times of other days, and what this layer holds must
not depend on that.
Read next: `copiers`, for who copies; `fileop.copy`.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack

from minibuild.cache.results import DiffRow, Result
from minibuild.errors import located
from minibuild.fileop.apply import apply
from minibuild.fileop.copy import CopyJob, CopyResult, Form, Hooks, Places
from minibuild.fileop.dest import Unplannable
from minibuild.graph.op import Copy, File
from minibuild.layer.layer import remember
from minibuild.linux.beneath import lstat
from minibuild.linux.descriptors import closing_fd
from minibuild.snapshot.api import MergeSnapshotter, SnapshotID
from minibuild.solver.copiers import Copiers
from minibuild.solver.inputs import open_input
from minibuild.solver.keys import ReadyVertex, readers
from minibuild.solver.layers import LayerPlan
from minibuild.worker.context import BuildContext


class FileRunner:
    """Does the Files of one build. Safe in threads."""

    def __init__(self, build: BuildContext, plan: LayerPlan, copiers: Copiers) -> None:
        self._build = build
        self._plan = plan
        self._copiers = copiers

    def run(
        self, ready: ReadyVertex, op: File, *, watched: bool = False
    ) -> tuple[Result, CopyResult]:
        """The base's result with one diff more, and what came of copying. `watched`: with the
        fingerprints of what was read."""
        build, base = self._build, ready.base
        parent = build.materialiser.snapshot(base, build.progress(ready.vertex.digest).remark)
        with ExitStack() as stack, located(ready.vertex.note.span):
            sources = {
                index: stack.enter_context(open_input(build, ready, index))
                for index in {reader.input for reader in readers(op)}
            }
            base_fd = stack.enter_context(build.worker.snapshots.tree(parent)) if parent else None
            places = Places(-1, base_fd, sources)
            if self._plan.packing is not None and ready.vertex.digest in self._plan.unread:
                try:
                    done = self._do(ready, op, places, "layer", watched)
                except Unplannable:
                    pass  # The tree is written below.
                else:
                    return (*base, build.worker.diffs.add(base, layer=done.layer)), done
            return self._write_tree(ready, op, places, parent, watched)

    def _write_tree(
        self, ready: ReadyVertex, op: File, places: Places, parent: SnapshotID | None, watched: bool
    ) -> tuple[Result, CopyResult]:
        """The same as a new snapshot, and as a layer at once if an output wants that."""
        worker, base = self._build.worker, ready.base
        form: Form = "both" if ready.vertex.digest in self._plan.layered else "tree"
        active = worker.snapshots.prepare(parent)
        try:
            with worker.snapshots.tree(active, readonly=False) as root_fd:
                done = self._do(ready, op, places._replace(root_fd=root_fd), form, watched)
            worker.snapshots.commit(active)
        except BaseException:
            worker.snapshots.remove(active)
            raise
        made = worker.diffs.add(base, lower=parent, upper=active, layer=done.layer)
        return (*base, made), done

    def _do(
        self, ready: ReadyVertex, op: File, places: Places, form: Form, watched: bool
    ) -> CopyResult:
        """Carry out the actions. Raises `Unplannable` if the layer was all that was wanted."""
        build, progress = self._build, self._build.progress(ready.vertex.digest)
        count = progress.counter("packing" if form == "layer" else "copying", "files")
        copied = None
        if form != "layer" and ready.base:  # On nothing, nothing can be there already.
            copied = _copied_before(build, ready)
        hooks = Hooks(count, build.cancelled, copied)
        copies = tuple(action for action in op.actions if isinstance(action, Copy))
        if len(copies) == len(op.actions) and not any(copy.unpack for copy in copies):
            job = CopyJob(copies, form, watched=watched)
            if self._plan.packing is not None:
                compression, level, _ = self._plan.packing
                job = job._replace(compression=compression, level=level)
            done = self._copiers.do(job, places, build.worker.content, hooks)
            if done.layer is not None:
                remember(build.worker.content, done.layer)
            return done
        if form == "layer":
            raise Unplannable("only plain copies are known before they are a tree")
        with self._copiers.here():
            for skipped in apply(op.actions, places.root_fd, places.sources, **hooks._asdict()):
                progress.remark(skipped)
        return CopyResult()


def _copied_before(build: BuildContext, ready: ReadyVertex) -> Callable[[str], bool]:
    """Tells whether a path was put there by the run of copies just below this one."""
    copies, snapshots, base = 0, build.worker.snapshots, ready.base
    below = ready.vertex.inputs[0] if ready.vertex.inputs else None
    while below is not None and isinstance(below.op, File):
        copies += 1
        below = below.inputs[0] if below.inputs else None

    def copied(path: str) -> bool:
        rows = [build.worker.diffs.get(key) for key in base[len(base) - copies :]]
        return any(_is_new(snapshots, row, path) for row in rows)

    return copied


def _is_new(snapshots: MergeSnapshotter, row: DiffRow, path: str) -> bool:
    """Whether a path is one of those that a diff has, as far as its tree tells."""
    if row.upper is None:
        return False
    found = _status(snapshots.layer_dir(row.upper), path)
    if snapshots.whiteouts == "plain" and row.lower is not None:
        # The directory is a whole copy: what is as below is not new in it.
        return found != _status(snapshots.layer_dir(row.lower), path)
    return found is not None


def _status(folder: str, path: str) -> tuple[int, ...] | None:
    """What a copy of a file has in common with it, as far as lstat(2) tells; None for no file."""
    with closing_fd(os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
        found = lstat(fd, path)
    if found is None:
        return None
    return found.st_mode, found.st_uid, found.st_gid, found.st_size, found.st_mtime_ns
