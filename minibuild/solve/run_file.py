"""Doing a File: a new snapshot on the base, with the actions applied to it."""

import time
from collections.abc import Sequence
from contextlib import ExitStack

from minibuild.errors import located
from minibuild.fileop.api import SourceTree
from minibuild.fileop.apply import apply
from minibuild.graph.op import File
from minibuild.graph.vertex import Vertex
from minibuild.solve.keys import readers
from minibuild.solve.results import Result
from minibuild.solve.trees import Solved, input_of, open_tree
from minibuild.solve.workbench import Voice, Workbench


def run_file(
    bench: Workbench, vertex: Vertex, op: File, inputs: Sequence[Solved | None], voice: Voice
) -> Result:
    """The base's result with one diff more."""
    base: Result = inputs[0].result if inputs and inputs[0] else ()
    parent = bench.materialiser.snapshot(base, voice.remark)
    active = bench.snapshots.prepare(parent)
    started = time.time()

    def progress(files: int, size_bytes: int) -> None:
        voice.status("copying", files, 0, "files", started)

    try:
        with ExitStack() as stack, located(vertex.note.span):
            sources: dict[int, SourceTree] = {}
            for index in {reader.input for reader in readers(op)}:
                solved = input_of(vertex, index, inputs)
                sources[index] = stack.enter_context(open_tree(bench, solved, voice))
            root_fd = stack.enter_context(bench.snapshots.tree(active, readonly=False))
            for left_out in apply(
                op.actions, root_fd, sources, progress=progress, cancelled=bench.cancelled
            ):
                voice.remark(left_out)
        bench.snapshots.commit(active)
    except BaseException:
        bench.snapshots.remove(active)
        raise
    return (*base, bench.diffs.add(base, lower=parent, upper=active))
