"""Where the boxes of a picture stand: a lane for each stage, and rows from top to bottom.

Comes in: the data of `graphdata`. Goes out: lanes, and a place for each vertex. A vertex stands
below all that it is made from, and below what came before it in its lane. Build contexts have no
place: what reads one says so. Read next: `svg`.
"""

from collections.abc import Iterator, Mapping, Sequence

from minibuild.graph.graphdata import Json, name_of
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

MOST_LANES = 8
"""More than these are too wide to be looked at: then each lane is one box of an overview."""

_STEP = regex(r"\[(?:(.*?) +)?\d+/\d+\] ")
_DIGEST = regex(r"@sha256:[0-9a-f]{64}")


class Lane(NamedTuple):
    """The vertices of a stage, in order; without stages a chain, each on the one before."""

    number: int
    name: str
    vertices: tuple[Json, ...]


class Position(NamedTuple):
    """Where a vertex stands."""

    vertex: Json
    lane: int
    row: int


def words_of(vertex: Json) -> str:
    """What a vertex is called inside its lane: without the stage, which is over the lane."""
    if vertex["kind"] == "merge":
        return f"merge of {len(vertex['inputs'])}"
    name = name_of(vertex)
    found = _STEP.match(name)
    return familiar(name[found.end() :] if found else name)


def familiar(text: str) -> str:
    """An instruction with names of images as people write them, without digests."""
    return str(_DIGEST.sub("", text)).replace("docker.io/library/", "")


def is_context(vertex: Json) -> bool:
    """Whether it is a directory that the build was given."""
    return bool(vertex["kind"] == "local")


def lanes(data: Json) -> list[Lane]:
    """All lanes, in the order of the last vertex of each: what is made of them comes last."""
    found: dict[object, list[Json]] = {}
    ends: dict[int, object] = {}
    for vertex in data["vertices"]:  # inputs come before their users
        if is_context(vertex):
            continue
        key: object = _stage(vertex)
        if not key:
            first = next((i for i in vertex["inputs"] if i is not None), None)
            key = ends.pop(first, vertex["id"]) if first is not None else vertex["id"]
            ends[vertex["id"]] = key
        found.setdefault(key, []).append(vertex)
    return [
        Lane(number, key if isinstance(key, str) else "", tuple(members))
        for number, (key, members) in enumerate(
            sorted(found.items(), key=lambda item: item[1][-1]["id"])
        )
    ]


def _stage(vertex: Json) -> str:
    """The stage, with the platform where there are several, as names of steps have it."""
    found = _STEP.match(vertex["name"])
    return (found[1] if found else "") or str(vertex["stage"])


def places(found: Sequence[Lane]) -> Iterator[Position]:
    """Places in all lanes, whose rows go through the whole picture."""
    lane_of = {vertex["id"]: lane.number for lane in found for vertex in lane.vertices}
    rows: dict[int, int] = {}
    free = [0] * len(found)
    for vertex in sorted((v for lane in found for v in lane.vertices), key=lambda v: v["id"]):
        lane = lane_of[vertex["id"]]
        above = (rows[i] + 1 for i in vertex["inputs"] if i in rows)
        row = rows[vertex["id"]] = max(free[lane], *above, 0)
        free[lane] = row + 1
        yield Position(vertex, lane, row)


def lane_edges(found: Sequence[Lane]) -> Mapping[int, list[int]]:
    """For each lane the others that it takes from."""
    lane_of = {vertex["id"]: lane.number for lane in found for vertex in lane.vertices}
    taken: dict[int, list[int]] = {}
    for lane in found:
        inputs = (lane_of[i] for v in lane.vertices for i in v["inputs"] if i in lane_of)
        taken[lane.number] = [n for n in dict.fromkeys(inputs) if n != lane.number]
    return taken


def ranks(found: Sequence[Lane]) -> list[list[Lane]]:
    """Lanes in rows, each below those that it takes from. Two chains may take from each other:
    then the one that ended first stands higher."""
    taken, depth = lane_edges(found), [0] * len(found)
    for lane in found:
        above = (depth[n] + 1 for n in taken[lane.number] if n < lane.number)
        depth[lane.number] = max((*above, 0))
    rows: list[list[Lane]] = [[] for _ in range(max(depth, default=-1) + 1)]
    for lane in found:
        rows[depth[lane.number]].append(lane)
    return rows
