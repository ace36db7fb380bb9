"""Doing a File: a new snapshot on the base, with the actions applied to it.

A file that is there already, equal in all, is not written again (see `fileop.write`). Its time
counts, as with BuildKit, unless the copies just before put it there: times are no part of their
keys, so they may come from the cache with the times of other days, and what this layer holds must
not depend on that.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from minibuild.errors import located
from minibuild.fileop.api import Copied, Progress, SourceTree
from minibuild.fileop.apply import apply
from minibuild.fileop.dest import InMemory
from minibuild.fileop.witness import Witness
from minibuild.fileop.write import Writer
from minibuild.graph.op import Copy, File
from minibuild.graph.vertex import Vertex
from minibuild.linux.beneath import exists
from minibuild.oci.layers import PackedLayer
from minibuild.solve.keys import readers
from minibuild.solve.pack_file import Packing
from minibuild.solve.results import Result
from minibuild.solve.trees import Solved, input_of, open_tree
from minibuild.solve.workbench import Voice, Workbench

if TYPE_CHECKING:
    from minibuild.oci.sink import LayerSink


def run_file(
    bench: Workbench,
    vertex: Vertex,
    op: File,
    inputs: Sequence[Solved | None],
    voice: Voice,
    packing: Packing | None = None,
    witness: Witness | None = None,
) -> Result:
    """The base's result with one diff more. With `packing` it is made a layer, too, if that can
    be done while its files are copied. The witness sees what was copied."""
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
            how = _How(progress, bench.cancelled, _copied_before(bench, vertex, base), witness)
            copies = [action for action in op.actions if isinstance(action, Copy)]
            blob, told = None, []
            if packing is None or any(c.unpack for c in copies) or len(copies) < len(op.actions):
                told = apply(op.actions, root_fd, sources, writer=Writer(root_fd, *how))
            else:
                base_fd = parent and stack.enter_context(bench.snapshots.tree(parent))
                blob = _apply_and_pack(copies, root_fd, base_fd, sources, packing, how)
            for left_out in told:
                voice.remark(left_out)
        bench.snapshots.commit(active)
    except BaseException:
        bench.snapshots.remove(active)
        raise
    return (*base, bench.diffs.add(base, lower=parent, upper=active, blob=blob))


class _How(NamedTuple):
    """What copying wants to know besides what to copy."""

    progress: Progress
    cancelled: threading.Event
    copied: Copied
    witness: Witness | None


def _apply_and_pack(
    copies: Sequence[Copy],
    root_fd: int,
    base_fd: int | None,
    sources: Mapping[int, SourceTree],
    packing: Packing,
    how: _How,
) -> PackedLayer | None:
    """Write the copies; the layer they are, too, unless the tree has to be packed for that."""
    # Imported here, as compression is: a cached build packs nothing.
    from minibuild.fileop.both import Unplannable, apply_and_pack
    from minibuild.fileop.layer import LayerWriter

    def write(sink: "LayerSink") -> None:
        layer = LayerWriter(sink, InMemory(base_fd), base_fd, witness=how.witness)
        progress, cancelled, copied, _ = how
        apply_and_pack(
            copies, root_fd, sources, layer, progress=progress, cancelled=cancelled, copied=copied
        )

    try:
        return packing.layers.pack_by(write, packing.compression, packing.level)
    except Unplannable:
        return None


def _copied_before(bench: Workbench, vertex: Vertex, base: Result) -> Callable[[str], bool]:
    """Tells whether a path was put there by the run of copies just below this one."""
    copies = 0
    below = vertex.inputs[0] if vertex.inputs else None
    while below is not None and isinstance(below.op, File):
        copies += 1
        below = below.inputs[0] if below.inputs else None

    def copied(path: str) -> bool:
        if bench.snapshots.whiteouts == "plain":
            return False  # Each snapshot is a whole copy: it does not say what is new in it.
        rows = [bench.diffs.get(key) for key in base[len(base) - copies :]]
        return any(row.upper and _holds(bench.snapshots.layer_dir(row.upper), path) for row in rows)

    return copied


def _holds(folder: str, path: str) -> bool:
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return exists(fd, path, follow_symlinks=False)
    finally:
        os.close(fd)
