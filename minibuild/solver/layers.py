"""Which results of a build become layers, and in what form a copy is made.

Comes in: the graph of a build, and how its outputs want layers. Goes out: for each File whether it
is a tree, a layer, or both at once. What no step reads is a layer from the start and never a tree.
A later build that does read it unpacks the layer, as it would that of an image.
Read next: `file`, `packer`.
"""

from collections.abc import Sequence
from typing import assert_never

from minibuild.digest import Digest
from minibuild.graph.op import (
    BindMount,
    Diff,
    Exec,
    File,
    GitSource,
    HttpSource,
    ImageSource,
    LocalSource,
    Merge,
    MountOutput,
)
from minibuild.graph.vertex import Vertex
from minibuild.oci.model import Compression
from minibuild.solver.keys import outputs
from minibuild.startup.tuples import NamedTuple


class Packing(NamedTuple):
    """How new layers are compressed. `wanted`: an output needs those of the outcome."""

    compression: Compression = "gzip"
    level: int | None = None
    wanted: bool = True


class LayerPlan(NamedTuple):
    """`unread` are the Files that no step reads, `layered` the vertices whose diffs are layers of
    the outcome. Without `packing`, the outputs want trees."""

    packing: Packing | None = None
    unread: frozenset[Digest] = frozenset()
    layered: frozenset[Digest] = frozenset()

    @classmethod
    def of(
        cls, packing: Packing | None, vertices: Sequence[Vertex], targets: Sequence[Vertex | None]
    ) -> "LayerPlan":
        """The plan for all `vertices`, inputs first, that the targets need."""
        if packing is None:
            return cls()
        return cls(packing, _unread(vertices), _layered(targets) if packing.wanted else frozenset())


def _unread(vertices: Sequence[Vertex]) -> frozenset[Digest]:
    needed: set[Digest] = set()
    for vertex in reversed(vertices):
        # A merge only passes on: it is the step behind it that reads, if there is one.
        if not isinstance(vertex.op, Merge) or vertex.digest in needed:
            needed.update(i.digest for i in vertex.inputs if i)
    return frozenset(
        v.digest for v in vertices if isinstance(v.op, File) and v.digest not in needed
    )


def _layered(targets: Sequence[Vertex | None]) -> frozenset[Digest]:
    found: set[Digest] = set()
    left = [target for target in targets if target is not None]
    while left:
        vertex = left.pop()
        if vertex.digest not in found:
            found.add(vertex.digest)
            left += [v for v in _below(vertex) if v is not None]
    return frozenset(found)


def _below(vertex: Vertex) -> Sequence[Vertex | None]:
    """The vertices whose layers a vertex has, besides its own."""
    match vertex.op:
        case Merge():
            return vertex.inputs
        case Diff():
            # Those of the lower input are left out, as far as it has them.
            return vertex.inputs[1:]
        case MountOutput(mount=number):
            step = vertex.inputs[0] if vertex.inputs else None
            if step is None or not isinstance(step.op, Exec):
                return ()  # A wrong graph, from outside.
            # Not the root filesystem of the step, but what was mounted.
            mounts = [step.op.mounts[n] for n in outputs(step.op) if n == number]
            return [step.inputs[mount.input] for mount in mounts if isinstance(mount, BindMount)]
        case Exec() | File():
            return vertex.inputs[:1]
        case ImageSource() | LocalSource() | HttpSource() | GitSource():
            return ()
        case _ as unknown:
            assert_never(unknown)
