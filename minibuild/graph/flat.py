"""A graph as a list: for sending it to another process, and for making a graph like another.

Comes in: a vertex. Goes out: its graph, inputs before their users, wired by position. A chain of a
thousand steps is nested a thousand deep as vertices, too deep for pickle, and flat here.
Read next: `graph.state`.
"""

from collections.abc import Callable, Iterable

from minibuild.graph.frontend import StepAttestation
from minibuild.graph.image import ImageConfig
from minibuild.graph.op import Op
from minibuild.graph.vertex import Note, Vertex, topological
from minibuild.startup.tuples import NamedTuple


class FlatVertex(NamedTuple):
    """A vertex; its inputs are positions in the list, None for scratch."""

    op: Op
    inputs: tuple[int | None, ...]
    note: Note


class FlatGraph(NamedTuple):
    """The graph of the last of `vertices` (none: scratch), and the config of its image. What steps
    wrote to be said of it has graphs of its own."""

    vertices: tuple[FlatVertex, ...]
    config: ImageConfig
    attestations: "tuple[tuple[FlatGraph, StepAttestation], ...]" = ()


def flatten(
    vertex: Vertex | None, config: ImageConfig, attestations: Iterable[StepAttestation] = ()
) -> FlatGraph:
    """The graph of a vertex as a list."""
    listed = topological([vertex])
    place = {v.digest: number for number, v in enumerate(listed)}
    return FlatGraph(
        tuple(
            FlatVertex(
                v.op, tuple(None if i is None else place[i.digest] for i in v.inputs), v.note
            )
            for v in listed
        ),
        config,
        tuple((flatten(a.vertex, config), a._replace(vertex=None)) for a in attestations),
    )


Replace = Callable[[Vertex], Vertex | None]
"""What to put in place of a vertex, whose inputs were changed already."""


def rebuilt(graph: FlatGraph, change: Replace = lambda vertex: vertex) -> Vertex | None:
    """The last vertex of a list, every vertex passed through `change` on the way."""
    made: list[Vertex | None] = []
    for op, inputs, note in graph.vertices:
        vertex = Vertex(op, [None if i is None else made[i] for i in inputs], note)
        made.append(change(vertex))
    return made[-1] if made else None
