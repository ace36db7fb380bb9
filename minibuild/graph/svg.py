"""A graph as an SVG picture, without any program that draws: boxes in columns, arrows between.

Comes in: the data of `graphdata`. Goes out: one SVG document, which needs nothing else. A
vertex stands one column right of the last of its inputs, and in its column near the middle of
them: two rules of layered drawing (Sugiyama, Tagawa and Toda 1981) that do for graphs of builds.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from xml.sax.saxutils import escape

from minibuild.graph.graphdata import Json, edges, title
from minibuild.startup.tuples import NamedTuple

_BOX = (250, 34)
_GAP = (46, 14)
_MARGIN = 16
_CELLS = 38
_COLOURS = {"image": "#dbeafe", "exec": "#fef3c7", "file": "#dcfce7", "merge": "#f3e8ff"}

_TIP = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto"><path d="M0 0 8 4 0 8z" fill="#64748b"/></marker></defs>'
)


class _Box(NamedTuple):
    vertex: Json
    x: int
    y: int


def svg(data: Json) -> str:
    """The picture."""
    boxes = _placed(data)
    width = max((box.x for box in boxes.values()), default=0) + _BOX[0] + _MARGIN
    height = max((box.y for box in boxes.values()), default=0) + _BOX[1] + _MARGIN
    made = {image["vertex"] for image in data["images"]}
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
            _TIP,
            *(_arrow(boxes[source], boxes[user]) for source, user in edges(data)),
            *(line for id, box in boxes.items() for line in _drawn(box, id in made)),
            "</svg>",
        )
    )


def _placed(data: Json) -> Mapping[int, _Box]:
    columns: dict[int, int] = {}
    rows: dict[int, float] = {}
    members: dict[int, list[Json]] = {}
    for vertex in data["vertices"]:  # inputs come before their users
        inputs = [i for i in vertex["inputs"] if i is not None]
        columns[vertex["id"]] = max((columns[i] + 1 for i in inputs), default=0)
        members.setdefault(columns[vertex["id"]], []).append(vertex)
    boxes: dict[int, _Box] = {}
    for column in sorted(members):
        middles = {v["id"]: _middle(v, rows, number) for number, v in enumerate(members[column])}
        next_free = 0.0
        for vertex in sorted(members[column], key=lambda v: middles[v["id"]]):
            row = max(next_free, middles[vertex["id"]])
            rows[vertex["id"]], next_free = row, row + 1
            x = _MARGIN + column * (_BOX[0] + _GAP[0])
            boxes[vertex["id"]] = _Box(vertex, x, _MARGIN + round(row * (_BOX[1] + _GAP[1])))
    return boxes


def _middle(vertex: Json, rows: Mapping[int, float], otherwise: int) -> float:
    """The row between the inputs of a vertex."""
    inputs = [rows[i] for i in vertex["inputs"] if i is not None]
    return sum(inputs) / len(inputs) if inputs else float(otherwise)


def _arrow(source: _Box, user: _Box) -> str:
    x1, y1, x2, y2 = source.x + _BOX[0], source.y + _BOX[1] // 2, user.x, user.y + _BOX[1] // 2
    bend = max(20, (x2 - x1) // 2)
    return (
        f'<path d="M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}" fill="none" '
        'stroke="#64748b" marker-end="url(#tip)"/>'
    )


def _drawn(box: _Box, is_image: bool) -> Iterator[str]:
    vertex: Mapping[str, Any] = box.vertex
    words = title(vertex)
    short = words if len(words) <= _CELLS else words[: _CELLS - 1] + "…"
    place = "" if vertex["line"] is None else f", line {vertex['line']}"
    colour = _COLOURS.get(vertex["kind"], "#e2e8f0")
    yield f"<g><title>{escape(words + place)}</title>"
    yield (
        f'<rect x="{box.x}" y="{box.y}" width="{_BOX[0]}" height="{_BOX[1]}" rx="4" '
        f'fill="{colour}" stroke="#334155" stroke-width="{3 if is_image else 1}"/>'
    )
    yield f'<text x="{box.x + 8}" y="{box.y + 21}">{escape(short)}</text></g>'
