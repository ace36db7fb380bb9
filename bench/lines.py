"""Cost over work: the measurements of `scale` as a table, and as lines in a picture.

Comes in: a `Report` whose workloads are called `files 2000`, `files 20000` and so on. Goes out:
Markdown, and SVG with a panel for each family. Both axes are logarithmic and have the same unit, so
cost in proportion to work rises at 45 degrees.
"""

import math
from collections.abc import Sequence
from html import escape

from bench.page import AT_REST
from bench.report import Report, Row, machine, row_for

_PHASES = ("cold", "noop", "change")
_DASHES = {"cold": "", "change": "6 3", "noop": "2 3"}
_COLOURS = ("#1f77b4", "#ff9d45", "#7fbf7b", "#c994c7")
_DECADE = 90
"""Pixels for a factor of ten, on both axes."""
_LEFT, _TOP, _GAP = 60, 60, 70

_HEAD = """\
# How cost grows

Written by `bench/scale.py`. The same work in several sizes: seconds of wall time, medians of
{rounds} round(s), builders in turns on fresh stores; **MiB** is the memory of the largest process
in any phase. `cold` finds the base image and nothing else, `noop` finds everything done, `change`
comes after one file was changed. **Limit** is the interpreter's start with an `os.scandir` and
`lstat` of all files, measured in the same session: the least that a `noop` takes.

{processors} processors, Linux {kernel}, Python {python}, {filesystem}; {day}. Load average {load}
before the first build.{busy} Builders: {versions}.

![A line for each builder and phase](SCALE.svg)

"""
_BUSY = """
**The machine was busy with other work**: compare builders that took turns, and not seconds."""


def _key(row: Row) -> tuple[str, int]:
    family, _, size = row.workload.rpartition(" ")
    return family, int(size)


def _builders(report: Report) -> list[str]:
    return list(dict.fromkeys(row.builder for row in report.rows))


def as_table(report: Report) -> str:
    """The page."""
    builders, about = _builders(report), machine()
    counts = {row.wall_s.runs for row in report.rows if row.wall_s and row.phase == "cold"}
    versions = "; ".join(report.versions[name] for name in builders if name in report.versions)
    lines = [
        _HEAD.format(
            rounds=" or ".join(str(count) for count in sorted(counts)) or "no",
            filesystem=report.filesystem,
            day=report.day,
            load=report.load_before,
            busy=_BUSY if report.load_before > AT_REST else "",
            versions=versions,
            **{key: about[key] for key in ("processors", "kernel", "python")},
        )
    ]
    titles = ["work", *(f"{phase}: {' / '.join(builders)}" for phase in _PHASES)]
    titles += ["limit", f"MiB: {' / '.join(builders)}"]
    lines += [_line(titles), "|" + "---|" * len(titles) + "\n"]
    for workload in dict.fromkeys(row.workload for row in report.rows):
        cells = [report.titles[workload]]
        cells += [_seconds(report, workload, phase, builders) for phase in _PHASES]
        limit = report.limits.get((workload, "noop"))
        cells += [f"{limit.seconds:.2f}" if limit else "", _memory(report, workload, builders)]
        lines.append(_line(cells))
    return "".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"


def _seconds(report: Report, workload: str, phase: str, builders: Sequence[str]) -> str:
    rows = [row_for(report, workload, phase, name) for name in builders]
    if not any(rows):
        return ""
    return " / ".join(f"{r.wall_s.median:.2f}" if r and r.wall_s else "failed" for r in rows)


def _memory(report: Report, workload: str, builders: Sequence[str]) -> str:
    found = []
    for name in builders:
        rows = [row for row in report.rows if (row.workload, row.builder) == (workload, name)]
        peaks = [row.peak_mib.high for row in rows if row.peak_mib]
        found.append(f"{max(peaks):.0f}" if peaks else "-")
    return " / ".join(found)


class _Panel:
    """One family: counts and seconds to pixels."""

    def __init__(self, name: str, rows: Sequence[Row], limits: Sequence[float], left: float):
        sizes = [_key(row)[1] for row in rows]
        seconds = [row.wall_s.median for row in rows if row.wall_s] + list(limits)
        self.name, self.left = name, left
        self.low_size = math.log10(min(sizes))
        self.high_size = max(math.log10(max(sizes)), self.low_size + 1)
        self.low = math.floor(math.log10(min(seconds, default=0.1)))
        self.high = math.ceil(math.log10(max(seconds, default=1.0)))

    @property
    def width(self) -> float:
        return (self.high_size - self.low_size) * _DECADE

    @property
    def bottom(self) -> float:
        return _TOP + (self.high - self.low) * _DECADE

    def at(self, size: int, seconds: float) -> str:
        x = self.left + (math.log10(size) - self.low_size) * _DECADE
        y = self.bottom - (math.log10(seconds) - self.low) * _DECADE
        return f"{x:.1f},{y:.1f}"


def as_lines(report: Report) -> str:
    """The picture."""
    builders, shapes = _builders(report), list[str]()
    colours = {name: _COLOURS[n % len(_COLOURS)] for n, name in enumerate(builders)}
    left, height = float(_LEFT), 0.0
    for family in dict.fromkeys(_key(row)[0] for row in report.rows):
        rows = [row for row in report.rows if row.wall_s and _key(row)[0] == family]
        if not rows:
            continue
        limits = {
            int(workload.rpartition(" ")[2]): limit.seconds
            for (workload, _), limit in report.limits.items()
            if workload.rpartition(" ")[0] == family
        }
        panel = _Panel(family, rows, list(limits.values()), left)
        shapes += _axes(panel, sorted({_key(row)[1] for row in rows}))
        for name in builders:
            for phase in _PHASES:
                points = {
                    _key(row)[1]: row.wall_s.median
                    for row in rows
                    if row.wall_s and (row.builder, row.phase) == (name, phase)
                }
                shapes += _drawn(panel, points, colours[name], _DASHES[phase], f"{name}, {phase}")
        shapes += _drawn(panel, limits, "#d62728", "", "limit of a noop")
        left += panel.width + _GAP
        height = max(height, panel.bottom)
    return _document(left, height + 40, [*_legend(colours), *shapes])


def _drawn(
    panel: _Panel, points: dict[int, float], colour: str, dashes: str, title: str
) -> list[str]:
    if not points:
        return []
    places = " ".join(panel.at(size, seconds) for size, seconds in sorted(points.items()))
    return [
        f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.8" '
        f'stroke-dasharray="{dashes}"><title>{escape(title)}</title></polyline>'
    ]


def _axes(panel: _Panel, sizes: Sequence[int]) -> list[str]:
    shapes = [
        f'<text x="{panel.left:.1f}" y="{_TOP - 12}" class="name">{escape(panel.name)}</text>'
    ]
    for power in range(panel.low, panel.high + 1):
        y = panel.bottom - (power - panel.low) * _DECADE
        right = panel.left + panel.width
        shapes.append(
            f'<line class="grid" x1="{panel.left:.1f}" x2="{right:.1f}" y1="{y}" y2="{y}"/>'
        )
        shapes.append(
            f'<text x="{panel.left - 6:.1f}" y="{y + 4}" text-anchor="end">{10.0**power:g} s</text>'
        )
    for size in sizes:
        x = panel.at(size, 1.0).partition(",")[0]
        y1, y2 = _TOP, panel.bottom
        shapes.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{y1}" y2="{y2}"/>')
        shapes.append(f'<text x="{x}" y="{y2 + 16}" text-anchor="middle">{size:,}</text>')
    return shapes


def _legend(colours: dict[str, str]) -> list[str]:
    shapes, x = list[str](), float(_LEFT)
    kinds = [(name, colour, "") for name, colour in colours.items()]
    kinds += [(phase, "#333", dashes) for phase, dashes in _DASHES.items()]
    for name, colour, dashes in [*kinds, ("limit of a noop", "#d62728", "")]:
        shapes.append(
            f'<line x1="{x}" x2="{x + 24}" y1="20" y2="20" stroke="{colour}" stroke-width="2" '
            f'stroke-dasharray="{dashes}"/>'
        )
        shapes.append(f'<text x="{x + 30}" y="24">{escape(name)}</text>')
        x += 54 + 7 * len(name)
    return shapes


def _document(width: float, height: float, shapes: list[str]) -> str:
    size = f'width="{max(width, 700):.0f}" height="{height:.0f}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" '
        'font-size="11">\n<style>.grid{stroke:#ddd}.name{font-weight:bold}</style>\n'
        f'<rect {size} fill="white"/>\n' + "\n".join(shapes) + "\n</svg>\n"
    )
