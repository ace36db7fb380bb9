"""The measurements as a picture: a bar for each builder, the limit as a line across.

Comes in: a `Report`. Goes out: SVG. Seconds are on a logarithmic axis, because a build without
work and one of a gigabyte are to stand on one page; whiskers go from the least to the most.
"""

import math
from html import escape

from bench.recorded import BUILDKIT_S
from bench.report import Report, Row, is_live

_WIDTH = 900
_LEFT = 190
_RIGHT = 90
_BAR = 12
_GAP = 14
_TOP = 60
_COLOURS = ("#1f77b4", "#ff9d45", "#7fbf7b", "#c994c7", "#a6a6a6")
_RECORDED = "BuildKit, recorded"


class _Axis:
    """Seconds to pixels."""

    def __init__(self, seconds: list[float]) -> None:
        self.low = math.floor(math.log10(min(seconds, default=0.01)))
        self.high = math.ceil(math.log10(max(seconds, default=10.0)))

    def x(self, seconds: float) -> float:
        part = (math.log10(max(seconds, 10**self.low)) - self.low) / (self.high - self.low)
        return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)


def as_svg(report: Report) -> str:
    """The picture."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in report.rows:
        if row.wall_s is not None:
            groups.setdefault((row.workload, row.phase), []).append(row)
    others = [] if is_live(report) else [_RECORDED]
    names = list(dict.fromkeys(row.builder for rows in groups.values() for row in rows))
    colours = {name: _COLOURS[n % len(_COLOURS)] for n, name in enumerate([*names, *others])}
    seconds = [row.wall_s.high for rows in groups.values() for row in rows if row.wall_s]
    seconds += [row.wall_s.low for rows in groups.values() for row in rows if row.wall_s]
    recorded = {} if is_live(report) else BUILDKIT_S
    seconds += [value for key, value in recorded.items() if key in groups]
    axis, y, shapes = _Axis(seconds), float(_TOP), []
    for key, rows in groups.items():
        start = y
        for row in rows:
            assert row.wall_s is not None
            shapes += _bar(axis, y, row.wall_s.median, colours[row.builder])
            shapes.append(_whisker(axis, y, row.wall_s.low, row.wall_s.high))
            y += _BAR
        if key in recorded:
            shapes += _bar(axis, y, recorded[key], colours[_RECORDED])
            y += _BAR
        limit = report.limits.get(key)
        if limit is not None:
            x = axis.x(limit.seconds)
            shapes.append(
                f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{start - 3:.1f}" '
                f'y2="{y + 3:.1f}"><title>{escape(limit.what)}, {limit.seconds:.3f} s</title>'
                "</line>"
            )
        middle = (start + y) / 2 + 4
        shapes.append(f'<text x="{_LEFT - 8}" y="{middle:.1f}" class="name">{" ".join(key)}</text>')
        y += _GAP
    return _document(axis, y, [*_legend(colours), *shapes])


def _bar(axis: _Axis, y: float, seconds: float, colour: str) -> list[str]:
    width = max(1.0, axis.x(seconds) - _LEFT)
    return [
        f'<rect x="{_LEFT}" y="{y:.1f}" width="{width:.1f}" height="{_BAR - 2}" fill="{colour}"/>',
        f'<text x="{_LEFT + width + 6:.1f}" y="{y + _BAR - 3:.1f}">{seconds:.3g} s</text>',
    ]


def _whisker(axis: _Axis, y: float, low: float, high: float) -> str:
    middle = y + (_BAR - 2) / 2
    return (
        f'<line x1="{axis.x(low):.1f}" x2="{axis.x(high):.1f}" y1="{middle:.1f}" '
        f'y2="{middle:.1f}" stroke="#333"/>'
    )


def _legend(colours: dict[str, str]) -> list[str]:
    shapes, x = [], float(_LEFT)
    for name, colour in colours.items():
        shapes.append(f'<rect x="{x}" y="14" width="12" height="12" fill="{colour}"/>')
        shapes.append(f'<text x="{x + 16}" y="24">{escape(name)}</text>')
        x += 40 + 7 * len(name)
    shapes.append(f'<line class="limit" x1="{x}" x2="{x}" y1="12" y2="28"/>')
    shapes.append(f'<text x="{x + 6}" y="24">limit of the machine</text>')
    return shapes


def _document(axis: _Axis, height: float, shapes: list[str]) -> str:
    lines = []
    for power in range(axis.low, axis.high + 1):
        x = axis.x(10.0**power)
        lines.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="40" y2="{height:.0f}" stroke="#ddd"/>')
        lines.append(f'<text x="{x + 3:.1f}" y="48" fill="#777">{10.0**power:g} s</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height + 10:.0f}" '
        'font-family="sans-serif" font-size="11">\n'
        "<style>.limit{stroke:#d62728;stroke-width:2}.name{text-anchor:end}</style>\n"
        f'<rect width="{_WIDTH}" height="{height + 10:.0f}" fill="white"/>\n'
        + "\n".join([*lines, *shapes])
        + "\n</svg>\n"
    )
