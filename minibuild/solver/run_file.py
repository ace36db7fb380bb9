"""Doing a File: a new snapshot on the base, with the actions applied to it.

A file that is there already, equal in all, is not written again (see `fileop.write`). Its time
counts, as with BuildKit, unless the copies just before put it there: times are no part of their
keys, so they may come from the cache with the times of other days, and what this layer holds must
not depend on that.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from minibuild.cache.results import Result, VertexResult
from minibuild.errors import located
from minibuild.fileop.api import SourceTree
from minibuild.fileop.apply import apply
from minibuild.fileop.job import Done, Hooks, Places
from minibuild.graph.op import Copy, File
from minibuild.graph.vertex import Vertex
from minibuild.linux.beneath import exists
from minibuild.progress.writer import ProgressWriter
from minibuild.solver.copying import Copying
from minibuild.solver.keys import readers
from minibuild.solver.trees import open_input
from minibuild.worker.context import BuildContext


def run_file(
    build: BuildContext,
    vertex: Vertex,
    op: File,
    inputs: Sequence[VertexResult | None],
    progress: ProgressWriter,
    how: Copying,
) -> tuple[Result, Done]:
    """The base's result with one diff more, and what came of copying."""
    base: Result = inputs[0].result if inputs and inputs[0] else ()
    parent = build.materialiser.snapshot(base, progress.remark)
    active = build.worker.snapshots.prepare(parent)
    started = time.time()

    def count(files: int, size_bytes: int) -> None:
        progress.status("copying", files, 0, "files", started)

    # On nothing, nothing can be there already.
    copied = _copied_before(build, vertex, base) if base else None
    hooks = Hooks(count, build.cancelled, copied)
    try:
        with ExitStack() as stack, located(vertex.note.span):
            sources: dict[int, SourceTree] = {}
            for index in {reader.input for reader in readers(op)}:
                tree = open_input(build, vertex, index, inputs, progress)
                sources[index] = stack.enter_context(tree)
            root_fd = stack.enter_context(build.worker.snapshots.tree(active, readonly=False))
            base_fd = stack.enter_context(build.worker.snapshots.tree(parent)) if parent else None
            places = Places(root_fd, base_fd, sources)
            done = _do(op, places, how, hooks, progress)
        build.worker.snapshots.commit(active)
    except BaseException:
        build.worker.snapshots.remove(active)
        raise
    blob = done.layer
    return (*base, build.worker.diffs.add(base, lower=parent, upper=active, blob=blob)), done


def _do(op: File, places: Places, how: Copying, hooks: Hooks, progress: ProgressWriter) -> Done:
    """Carry out the actions. Only of plain copies can be told meanwhile what layer they are."""
    copies = tuple(action for action in op.actions if isinstance(action, Copy))
    if len(copies) == len(op.actions) and not any(copy.unpack for copy in copies):
        return how.do(copies, places, hooks, tree=True)
    with how.copiers.here():
        told = apply(op.actions, places.root_fd, places.sources, **hooks._asdict())
    for left_out in told:
        progress.remark(left_out)
    return Done()


def _copied_before(build: BuildContext, vertex: Vertex, base: Result) -> Callable[[str], bool]:
    """Tells whether a path was put there by the run of copies just below this one."""
    copies = 0
    below = vertex.inputs[0] if vertex.inputs else None
    while below is not None and isinstance(below.op, File):
        copies += 1
        below = below.inputs[0] if below.inputs else None

    def copied(path: str) -> bool:
        if build.worker.snapshots.whiteouts == "plain":
            return False  # Each snapshot is a whole copy: it does not say what is new in it.
        rows = [build.worker.diffs.get(key) for key in base[len(base) - copies :]]
        return any(
            row.upper and _holds(build.worker.snapshots.layer_dir(row.upper), path) for row in rows
        )

    return copied


def _holds(folder: str, path: str) -> bool:
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return exists(fd, path, follow_symlinks=False)
    finally:
        os.close(fd)
