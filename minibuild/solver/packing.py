"""Which results of a build become layers, and how.

Comes in: the graph of a build, and the compression that its outputs want. Goes out: which Files no
step looks into, and which vertices are layers of the outcome. Read next: `pack_file`.
"""

from collections.abc import Sequence

from minibuild.cache.blobs import StoreLayers
from minibuild.digest import Digest
from minibuild.graph.op import File, Merge
from minibuild.graph.vertex import Vertex
from minibuild.oci.model import Compression
from minibuild.startup.tuples import NamedTuple


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
