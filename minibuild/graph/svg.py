"""A graph as an SVG picture, without any program that draws: a lane for each stage, top to bottom.

Comes in: the data of `graphdata`; a vertex may have a `state`, such as `ran` or `cached`. Goes out:
one SVG document, which needs nothing else and has a light and a dark scheme. Of more stages than
fit side by side there is an overview, a box for each, and below it each lane on its own.
Read next: `lanes`, which says where the boxes stand.
"""

import html
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from minibuild.graph.graphdata import Json
from minibuild.graph.lanes import (
    MOST_LANES,
    Lane,
    Position,
    is_context,
    lane_edges,
    lanes,
    places,
    ranks,
    words_of,
)
from minibuild.startup.tuples import NamedTuple

LANE, ROW, BOX = 260, 62, 48
_GAP, _HEAD, _MARGIN = 36, 30, 16
_CELLS = 33
_PER_ROW = 4
_SMALL, _SMALL_GAP, _SMALL_PER_ROW = 156, 46, 6

LIGHT = {
    "ground": "#ffffff", "lane": "#f1f5f9", "ink": "#0f172a", "dim": "#475569", "line": "#64748b",
    "image": "#dbeafe", "exec": "#fef3c7", "file": "#dcfce7", "merge": "#f3e8ff", "else": "#e2e8f0",
}  # fmt: skip
DARK = {
    "ground": "#0f172a", "lane": "#1e293b", "ink": "#f1f5f9", "dim": "#cbd5e1", "line": "#94a3b8",
    "image": "#1e3a5f", "exec": "#4a3a10", "file": "#14432a", "merge": "#3b2a57", "else": "#334155",
}  # fmt: skip
SIGNS = {"ran": "▶", "cached": "✓", "failed": "✗", "stopped": "■"}

Href = Callable[[Json], str]
"""Where a box leads to; empty for nowhere."""


class _Spot(NamedTuple):
    """The corner of a box in the picture."""

    x: int
    y: int


def svg(data: Json, href: Href = lambda vertex: "", *, apart: bool = True) -> str:
    """The picture. Without `apart` an overview stands alone, and its boxes lead where the first
    vertex of the lane does."""
    found = lanes(data)
    made = {image["vertex"] for image in data["images"]}
    drawing = _Drawing(data, href, made, apart=apart)
    if len(found) <= MOST_LANES:
        width, height, body = drawing.side_by_side(found)
    else:
        width, height, body = drawing.folded(found)
    count = len(data["vertices"])
    said = f"Graph of the build: {count} vertices in {len(found)} lanes, inputs above their users"
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="ui-monospace, monospace" '
            f'font-size="11" role="group" aria-label="{said}">',
            f"<title>{said}</title>",
            f"<style>{_dark()}</style>",
            "<defs>",
            '<marker id="mb-tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
            f'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" {_fill("line")}/></marker>',
            *(_shape(name, width) for name, width in (("mb-box", LANE - 20), ("mb-low", _SMALL))),
            "</defs>",
            f'<rect width="{width}" height="{height}" {_fill("ground")}/>',
            f"<g {_fill('ink')}>",
            *body,
            "</g></svg>",
        )
    )


def _fill(name: str) -> str:
    """Of the light scheme, by attribute: some viewers drop styles."""
    return f'class="mb-{name}" fill="{LIGHT[name]}"'


def _dark() -> str:
    """The rules of the dark scheme, which paper does not have."""
    rules = "".join(f".mb-{name}{{fill:{colour}}}" for name, colour in DARK.items())
    rules += f".mb-edge{{stroke:{DARK['line']}}}"
    return f"@media screen and (prefers-color-scheme:dark){{{rules}}}"


_Picture = tuple[int, int, list[str]]


class _Drawing:
    """One picture in the making."""

    def __init__(self, data: Json, href: Href, made: set[int], *, apart: bool) -> None:
        self._href, self._made, self._is_apart = href, made, apart
        self._contexts = {
            v["id"]: str(v["op"].get("name") or "context")
            for v in data["vertices"]
            if is_context(v)
        }

    # --- Few stages: side by side, with all edges ---

    def side_by_side(self, found: Sequence[Lane]) -> _Picture:
        placed = list(places(found))
        spots = {
            place.vertex["id"]: _Spot(
                _MARGIN + place.lane * (LANE + _GAP) + 10, _MARGIN + _HEAD + place.row * ROW
            )
            for place in placed
        }
        width = 2 * _MARGIN + len(found) * (LANE + _GAP) - _GAP
        height = 2 * _MARGIN + _HEAD + max((p.row + 1 for p in placed), default=0) * ROW
        body = [
            line
            for lane in found
            for line in _lane(lane, _MARGIN + lane.number * (LANE + _GAP), _MARGIN,
                              height - 2 * _MARGIN)
        ]  # fmt: skip
        by_id = {place.vertex["id"]: place for place in placed}
        body += _edges(
            _arrow(by_id[source], place, spots)
            for place in placed
            for source in dict.fromkeys(i for i in place.vertex["inputs"] if i in spots)
        )
        for place in placed:
            body += self._box(place.vertex, spots[place.vertex["id"]], ())
        return max(width, 2 * _MARGIN), height, body

    # --- Many stages: an overview, and each lane below it ---

    def folded(self, found: Sequence[Lane]) -> _Picture:
        rows = [
            row[start : start + _SMALL_PER_ROW]
            for row in ranks(found)
            for start in range(0, len(row), _SMALL_PER_ROW)
        ]
        spots = {
            lane.number: _Spot(_MARGIN + n * (_SMALL + 20), _MARGIN + r * (BOX + _SMALL_GAP))
            for r, row in enumerate(rows)
            for n, lane in enumerate(row)
        }
        body = _edges(
            _curve(spots[source], spots[user])
            for user, sources in lane_edges(found).items()
            for source in sources
        )
        for lane in found:
            body += self._folded_box(lane, spots[lane.number])
        height = 2 * _MARGIN + len(rows) * (BOX + _SMALL_GAP) - _SMALL_GAP
        if self._is_apart:
            height, lines = self._apart(found, height + 2 * _GAP)
            body += lines
        width = 2 * _MARGIN + _PER_ROW * (LANE + _GAP) - _GAP
        return width, height, body

    def _folded_box(self, lane: Lane, spot: _Spot) -> Iterator[str]:
        made = any(vertex["id"] in self._made for vertex in lane.vertices)
        count = len(lane.vertices)
        name = lane.name or words_of(lane.vertices[-1])
        states = [str(vertex.get("state", "")) for vertex in lane.vertices]
        ran = sum(state in ("ran", "failed", "stopped") for state in states)
        said = f"{count} step{'s' if count != 1 else ''}" + (f", {ran} ran" if any(states) else "")
        href = next(filter(None, map(self._href, lane.vertices)), "")
        yield f'<a href="{f"#mb-lane-{lane.number}" if self._is_apart else html.escape(href)}">'
        yield _placed("mb-low", spot, "exec" if ran or not any(states) else "file", made)
        yield _text(spot.x + 8, spot.y + 19, _cut(name, 20), bold=True)
        yield _text(spot.x + 8, spot.y + 37, said, dim=True)
        yield "</a>"

    def _apart(self, found: Sequence[Lane], top: int) -> tuple[int, list[str]]:
        """Each lane on its own; what it takes from others is said in words."""
        lane_of = {vertex["id"]: lane for lane in found for vertex in lane.vertices}
        columns, lines = [top] * _PER_ROW, []
        for lane in found:
            column = columns.index(min(columns))
            x, y = _MARGIN + column * (LANE + _GAP), columns[column]
            height = _HEAD + len(lane.vertices) * ROW
            columns[column] += height + _GAP
            lines.append(f'<g id="mb-lane-{lane.number}">')
            lines += _lane(lane, x, y, height)
            for row, vertex in enumerate(lane.vertices):
                others = [
                    lane_of[i].name or words_of(lane_of[i].vertices[-1])
                    for i in vertex["inputs"]
                    if i in lane_of and lane_of[i] is not lane
                ]
                lines += self._box(vertex, _Spot(x + 10, y + _HEAD + row * ROW), others)
            lines.append("</g>")
        return max(columns), lines

    # --- One vertex ---

    def _box(self, vertex: Json, spot: _Spot, others: Sequence[str]) -> Iterator[str]:
        words, href = words_of(vertex), self._href(vertex)
        said = [] if vertex["line"] is None else [f"line {vertex['line']}"]
        if state := vertex.get("state"):
            said.append(f"{SIGNS.get(state, '')} {state}".strip())
        contexts = (self._contexts[i] for i in vertex["inputs"] if i in self._contexts)
        said += [f"from {name}" for name in dict.fromkeys((*others, *contexts))]
        kind = vertex["kind"] if vertex["kind"] in LIGHT else "else"
        lines, below = _wrapped(words), _cut(" · ".join(said), _CELLS)
        yield f'<a href="{html.escape(href)}">' if href else "<g>"
        if any(line.endswith("…") for line in (*lines, below)):
            yield f"<title>{shown(', '.join((words, *said)))}</title>"
        yield _placed("mb-box", spot, kind, vertex["id"] in self._made)
        for number, line in enumerate(lines):
            yield _text(spot.x + 8, spot.y + (14 if lines[1:] else 20) + 13 * number, line)
        yield _text(spot.x + 8, spot.y + (42 if lines[1:] else 37), below, dim=True)
        yield "</a>" if href else "</g>"


# --- Parts ---


def _lane(lane: Lane, x: int, y: int, height: int) -> Iterator[str]:
    yield f'<rect x="{x}" y="{y}" width="{LANE}" height="{height}" rx="6" {_fill("lane")}/>'
    if lane.name:
        yield _text(x + 10, y + 20, _cut(lane.name, _CELLS), bold=True)


def _shape(name: str, width: int) -> str:
    return (
        f'<rect id="{name}" width="{width}" height="{BOX}" rx="4" stroke="{LIGHT["line"]}" '
        'class="mb-edge"/>'
    )


def _placed(shape: str, spot: _Spot, kind: str, is_image: bool) -> str:
    border = ' stroke-width="3"' if is_image else ""
    return f'<use href="#{shape}" x="{spot.x}" y="{spot.y}" {_fill(kind)}{border}/>'


def _text(x: int, y: int, text: str, *, bold: bool = False, dim: bool = False) -> str:
    look = f" {_fill('dim')}" if dim else ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}"{look}>{shown(text)}</text>'


def _arrow(source: Position, user: Position, spots: Mapping[int, _Spot]) -> str:
    a, b, wide = spots[source.vertex["id"]], spots[user.vertex["id"]], LANE - 20
    if source.lane != user.lane:
        # From the nearer side of the one to the nearer side of the other.
        to_right = user.lane > source.lane
        x1, x2 = (a.x + wide, b.x) if to_right else (a.x, b.x + wide)
        bend = (30 + abs(x2 - x1) // 3) * (1 if to_right else -1)
        y1, y2 = a.y + BOX // 2, b.y + BOX // 2
        return _path(f"M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}")
    if user.row == source.row + 1:
        x = a.x + wide // 2
        return _path(f"M{x} {a.y + BOX}V{b.y}")
    x, y1, y2 = a.x, a.y + BOX // 2, b.y + BOX // 2
    return _path(f"M{x} {y1}C{x - 24} {y1} {x - 24} {y2} {x} {y2}")


def _curve(source: _Spot, user: _Spot) -> str:
    """Between boxes of the overview, from below the one to above the other."""
    x1, y1, x2, y2 = source.x + _SMALL // 2, source.y + BOX, user.x + _SMALL // 2, user.y
    if y2 <= y1:  # Beside it, or above.
        x1, y1, x2, y2 = source.x + _SMALL, source.y + BOX // 2, user.x, user.y + BOX // 2
    middle = (y1 + y2) // 2
    return _path(f"M{x1} {y1}C{x1} {middle} {x2} {middle} {x2} {y2}")


def _path(d: str) -> str:
    return f'<path d="{d}"/>'


def _edges(paths: Iterable[str]) -> list[str]:
    look = f'fill="none" stroke="{LIGHT["line"]}" class="mb-edge" marker-end="url(#mb-tip)"'
    return [f"<g {look}>", *paths, "</g>"]


# --- Words ---


def shown(text: str) -> str:
    """Text in a document of XML or HTML; a character that is not to be seen has a sign."""
    return html.escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def _cells(text: str) -> int:
    """The width in a font of one width, in which characters of East Asia are two wide."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _cut(text: str, cells: int) -> str:
    if _cells(text) <= cells:
        return text
    while text and _cells(text) > cells - 1:
        text = text[:-1]
    return f"{text}…"


def _wrapped(text: str) -> list[str]:
    """In two lines, broken between words where there are some."""
    if _cells(text) <= _CELLS:
        return [text]
    first = _cut(text, _CELLS + 1)[:-1]
    space = first.rfind(" ")
    if space > _CELLS // 3:
        first = first[:space]
    return [first, _cut(text[len(first) :].strip(), _CELLS)]
