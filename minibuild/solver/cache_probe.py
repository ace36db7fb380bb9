"""What is known of a graph before anything is done: which vertices need not be looked at at all.

Comes in: vertices and a function that looks a vertex up by the keys of its inputs. Goes out: the
vertices that have a result, and those whose key alone is known. A vertex with a result needs none
of its inputs. So a stage that only feeds a cached `COPY --from` is neither run nor fetched, on a
machine that never built it. BuildKit comes to the same by asking from the end of the graph.

Only a build that reads the caches of other machines does this: in a store of one's own the results
of all stages lie side by side, and looking each of them up is as cheap. Read next: `solver`.
"""

from collections.abc import Callable, Sequence

from minibuild.cache.results import VertexResult
from minibuild.digest import Digest
from minibuild.graph.op import Merge
from minibuild.graph.vertex import Vertex
from minibuild.startup.tuples import NamedTuple

Inputs = list[VertexResult | None]


class Guess(NamedTuple):
    """What is known of a vertex; not `whole`: its key, and no result."""

    solved: VertexResult
    whole: bool = True


class Foresight(NamedTuple):
    """Vertices with a result; vertices of which the key is known; vertices to solve, in order."""

    solved: dict[Digest, VertexResult]
    keys: dict[Digest, VertexResult]
    left: list[Vertex]


def foresee(
    vertices: Sequence[Vertex],
    targets: Sequence[Vertex | None],
    ask: Callable[[Vertex, Inputs], Guess | None],
    known: dict[Digest, VertexResult],
) -> Foresight:
    """What is known of `vertices` (inputs first), and what is left to do for the targets."""
    solved, keys = dict(known), dict(known)
    for vertex in vertices:
        if vertex.digest in keys or any(v and v.digest not in keys for v in vertex.inputs):
            continue
        guess = ask(vertex, [None if v is None else keys[v.digest] for v in vertex.inputs])
        if guess is None:
            continue
        keys[vertex.digest] = guess.solved
        if guess.whole and _inputs_whole(vertex, solved):
            solved[vertex.digest] = guess.solved
    wanted = {target.digest for target in targets if target is not None}
    for vertex in reversed(vertices):
        if vertex.digest in wanted and vertex.digest not in solved:
            wanted.update(v.digest for v in vertex.inputs if v)
    left = [v for v in vertices if v.digest in wanted and v.digest not in solved]
    return Foresight(solved, keys, left)


def _inputs_whole(vertex: Vertex, solved: dict[Digest, VertexResult]) -> bool:
    """Whether a merge, which is nothing but its inputs, has all of them."""
    return not isinstance(vertex.op, Merge) or all(
        v is None or v.digest in solved for v in vertex.inputs
    )
