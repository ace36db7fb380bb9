"""A graph as plain data: what other programs read, and what pictures are made from.

Comes in: built images. Goes out: vertices with their inputs, stages and lines, as JSON has them.
What each step does in full is in `op`. Read next: `draw`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from minibuild.graph.frontend import Built
from minibuild.graph.op import kind_of
from minibuild.graph.vertex import plain, topological

Json = Mapping[str, Any]

_NAME_CELLS = 60


def graph_data(images: Iterable[Built]) -> dict[str, Any]:
    """The graph as JSON data: its vertices, inputs before their users, and the images they make.

    Inputs are ids of vertices; null is the empty tree.
    """
    images = tuple(images)
    order = topological(image.vertex for image in images)
    number = {vertex.digest: position for position, vertex in enumerate(order, 1)}
    return {
        "vertices": [
            {
                "id": number[vertex.digest],
                "kind": kind_of(vertex.op),
                "name": vertex.note.name,
                "stage": vertex.note.stage,
                "line": vertex.note.span.first if vertex.note.span else None,
                "inputs": [None if v is None else number[v.digest] for v in vertex.inputs],
                "digest": vertex.digest,
                "op": plain(vertex.op),
            }
            for vertex in order
        ],
        "images": [
            {
                "platform": str(image.platform),
                "vertex": None if image.vertex is None else number[image.vertex.digest],
            }
            for image in images
        ],
    }


def name_of(vertex: Json) -> str:
    """What a vertex is called: its name, or what it is."""
    op = vertex["op"]
    words = vertex["name"] or op.get("ref") or op.get("url") or op.get("name") or vertex["kind"]
    return " ".join(str(words).split())


def title(vertex: Json) -> str:
    """What a vertex is called in a picture."""
    words = name_of(vertex)
    return words if len(words) <= _NAME_CELLS else words[: _NAME_CELLS - 1] + "…"


def stages(data: Json) -> Iterator[tuple[str, list[Json]]]:
    """The vertices by stage, in the order of the first of each; those of none come last."""
    found: dict[str, list[Json]] = {}
    for vertex in data["vertices"]:
        found.setdefault(vertex["stage"], []).append(vertex)
    for name in sorted(found, key=lambda name: not name):
        yield name, found[name]


def edges(data: Json) -> Iterator[tuple[int, int]]:
    """From input to user; one for each pair, however often the one takes from the other."""
    for vertex in data["vertices"]:
        for source in dict.fromkeys(i for i in vertex["inputs"] if i is not None):
            yield source, vertex["id"]


def pictured(data: Json) -> Sequence[Json]:
    return [image for image in data["images"] if image["vertex"] is not None]
