"""Doing a File that no step reads: its diff is a blob from the start, and never a tree.

Comes in: the vertex and the compression that the outputs want. Goes out: its result, or None where
only the tree can tell (see `fileop.layer`). A later build that does read it unpacks the blob, as
it would unpack the layer of an image.
Read next: `fileop.layer`.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from minibuild.digest import Digest
from minibuild.errors import located
from minibuild.fileop.api import SourceTree
from minibuild.graph.op import Copy, File, Merge
from minibuild.graph.vertex import Vertex
from minibuild.oci.model import Compression
from minibuild.solve.keys import readers
from minibuild.solve.layers import StoreLayers
from minibuild.solve.results import Result
from minibuild.solve.trees import Solved, input_of, open_tree
from minibuild.solve.workbench import Voice, Workbench

if TYPE_CHECKING:
    from minibuild.fileop.witness import Witness


class Packing(NamedTuple):
    """Where layers are kept, and how new ones are compressed. `wanted`: an output needs them."""

    layers: StoreLayers
    compression: Compression = "gzip"
    level: int | None = None
    wanted: bool = True


def unread(vertices: Sequence[Vertex]) -> frozenset[Digest]:
    """The Files whose results nobody in this graph looks into (vertices: inputs first)."""
    needed: set[Digest] = set()
    for vertex in reversed(vertices):
        # A merge only passes on: it is the step behind it that reads, if there is one.
        if not isinstance(vertex.op, Merge) or vertex.digest in needed:
            needed.update(i.digest for i in vertex.inputs if i)
    return frozenset(
        v.digest for v in vertices if isinstance(v.op, File) and v.digest not in needed
    )


def layered(targets: Sequence[Vertex | None]) -> frozenset[Digest]:
    """The vertices whose diffs are layers of what the targets become."""
    found: set[Digest] = set()
    left = [target for target in targets if target is not None]
    while left:
        vertex = left.pop()
        if vertex.digest not in found:
            found.add(vertex.digest)
            below = vertex.inputs if isinstance(vertex.op, Merge) else vertex.inputs[:1]
            left += [v for v in below if v is not None]
    return frozenset(found)


def pack_file(
    bench: Workbench,
    vertex: Vertex,
    op: File,
    inputs: Sequence[Solved | None],
    voice: Voice,
    packing: Packing,
    witness: "Witness | None" = None,
) -> Result | None:
    """The base's result with one diff more, which exists as a blob; None if it needs a tree. The
    witness sees what was copied."""
    copies = [action for action in op.actions if isinstance(action, Copy) and not action.unpack]
    if len(copies) != len(op.actions):
        return None
    # Imported here, as compression is: a cached build packs nothing.
    from minibuild.fileop.layer import Unplannable, pack_copies

    base: Result = inputs[0].result if inputs and inputs[0] else ()
    started = time.time()

    def progress(files: int, size_bytes: int) -> None:
        voice.status("packing", files, 0, "files", started)

    with ExitStack() as stack, located(vertex.note.span):
        sources: dict[int, SourceTree] = {}
        for index in {reader.input for reader in readers(op)}:
            solved = input_of(vertex, index, inputs)
            sources[index] = stack.enter_context(open_tree(bench, solved, voice))
        parent = bench.materialiser.snapshot(base, voice.remark)
        base_fd = None if parent is None else stack.enter_context(bench.snapshots.tree(parent))
        try:
            blob = packing.layers.pack_by(
                lambda sink: pack_copies(
                    copies,
                    base_fd,
                    sources,
                    sink,
                    progress=progress,
                    cancelled=bench.cancelled,
                    witness=witness,
                ),
                packing.compression,
                packing.level,
            )
        except Unplannable:
            if witness is not None:
                witness.restart()
            return None
    return (*base, bench.diffs.add(base, blob=blob))
