"""Doing a File that no step reads: its diff is a blob from the start, and never a tree.

Comes in: the vertex and the compression that the outputs want. Goes out: its result, or None where
only the tree can tell (see `fileop.layer`). A later build that does read it unpacks the blob, as
it would unpack the layer of an image.
Read next: `fileop.layer`.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack

from minibuild.cache.results import Result, VertexResult
from minibuild.errors import located
from minibuild.fileop.api import SourceTree
from minibuild.fileop.dest import Unplannable
from minibuild.fileop.job import Done, Hooks, Places
from minibuild.graph.op import Copy, File
from minibuild.graph.vertex import Vertex
from minibuild.progress.writer import ProgressWriter
from minibuild.solver.copying import Copying
from minibuild.solver.keys import readers
from minibuild.solver.trees import open_input
from minibuild.worker.context import BuildContext


def pack_file(
    build: BuildContext,
    vertex: Vertex,
    op: File,
    inputs: Sequence[VertexResult | None],
    progress: ProgressWriter,
    how: Copying,
) -> tuple[Result, Done] | None:
    """The base's result with one diff more, which exists as a blob, and what came of packing it;
    None if it needs a tree."""
    copies = tuple(a for a in op.actions if isinstance(a, Copy) and not a.unpack)
    if len(copies) != len(op.actions):
        return None
    base: Result = inputs[0].result if inputs and inputs[0] else ()
    started = time.time()

    def count(files: int, size_bytes: int) -> None:
        progress.status("packing", files, 0, "files", started)

    with ExitStack() as stack, located(vertex.note.span):
        sources: dict[int, SourceTree] = {}
        for index in {reader.input for reader in readers(op)}:
            tree = open_input(build, vertex, index, inputs, progress)
            sources[index] = stack.enter_context(tree)
        parent = build.materialiser.snapshot(base, progress.remark)
        base_fd = (
            None if parent is None else stack.enter_context(build.worker.snapshots.tree(parent))
        )
        try:
            places, hooks = Places(-1, base_fd, sources), Hooks(count, build.cancelled)
            done = how.do(copies, places, hooks, tree=False)
        except Unplannable:
            return None
    return (*base, build.worker.diffs.add(base, blob=done.layer)), done
