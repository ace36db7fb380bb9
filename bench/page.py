"""The measurements as a page: a line for each phase, with all builders and the limit.

Comes in: a `Report`. Goes out: Markdown, with what a reader has to know to judge the numbers. The
picture that it shows is made by `chart`. Read next: `recorded`, for where BuildKit's come from.
"""

import shutil
import subprocess
from collections.abc import Sequence

from bench.measure import Spread
from bench.recorded import BUILDKIT_S, GOALS
from bench.report import Report, Row, costs, machine

_HEAD = """\
# Results

Written by `make bench`{picture}. What the workloads are, how
they are measured and why the numbers are what they are:
[docs/performance.md](../docs/performance.md).

{busy}- **Machine**: {processors} processors, Linux {kernel}, Python {python}, {filesystem}; {day}.
  Load average {before} before the first build.
- **Seconds** are wall time; these and all other numbers are medians (least-most) of {rounds}
  round(s), builders in turns. **Processors** are the processor seconds of a command and all that it
  waited for, **MiB** the memory of its largest process.
- **BuildKit, recorded** was *not* measured in this session: it needs a daemon that is not here.
  These are medians of another day on another machine of the same kind (2 processors, ext4; master
  of August 2026, warm daemon). Take ratios to them for what they are worth; `--vs` measures any
  builder live. **Goal** is the ratio that minibuild is to reach.
- **Peers**: {peers}. A ratio below 1 means that minibuild is faster.
- **Limit** is the least work of the same kind, measured in this session without any builder.

"""

_BUSY = """\
**The machine was busy with other work: {before} programs wanted {processors} processors at the
start.** Seconds below measure the neighbours, too, several times over, so whether a goal is met
cannot be seen here. Compare builders that took turns, by their processor seconds first.

"""
AT_REST = 1.0
"""A load average up to which a machine counts as free."""


def as_page(report: Report, picture: str = "") -> str:
    """The page. `picture` is the name of the file with the chart, beside it."""
    ours = report.rows[0].builder if report.rows else ""
    peers = list(dict.fromkeys(row.builder for row in report.rows if row.builder != ours))
    lines = [_head(report, peers, picture)]
    if picture:
        lines.append(f"![A bar for each builder, and the limit as a line]({picture})\n\n")
    titles = [
        "workload", "phase", "minibuild, s", "processors, s", "MiB", "limit, s",
        "BuildKit, recorded", "ratio", "goal", "",
        *(cell for peer in peers for cell in (f"{peer}, s", "processors, s", "MiB", "ratio")),
    ]  # fmt: skip
    lines += [_line(titles), "|" + "---|" * len(titles) + "\n"]
    for row in report.rows:
        if row.builder == ours:
            lines.append(_line(_cells(report, row, peers)))
    lines.append("\n## Workloads and limits\n\n")
    lines += _explained(report)
    return "".join(lines)


def _head(report: Report, peers: Sequence[str], picture: str) -> str:
    found = machine()
    return _HEAD.format(
        busy=_BUSY.format(before=report.load_before, processors=found["processors"])
        if report.load_before > AT_REST
        else "",
        picture=f", as are [{picture}]({picture}) and RESULTS.json" if picture else "",
        day=report.day,
        filesystem=report.filesystem,
        before=report.load_before,
        rounds=_rounds(report),
        peers="; ".join(_version(peer) for peer in peers) or "none",
        **{key: found[key] for key in ("processors", "kernel", "python")},
    )


def _rounds(report: Report) -> str:
    counts = {row.wall_s.count for row in report.rows if row.wall_s and row.phase == "cold"}
    return " or ".join(str(count) for count in sorted(counts)) or "no"


def _version(peer: str) -> str:
    """What a peer calls itself, if it is a program on the path."""
    if not shutil.which(peer):
        return peer
    done = subprocess.run([peer, "--version"], capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or [peer])[0].split(" (")[0]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"


def _cells(report: Report, row: Row, peers: Sequence[str]) -> list[str]:
    key = (row.workload, row.phase)
    limit = report.limits.get(key)
    cells = [*key, *costs(row), f"{limit.seconds:.3f}" if limit else ""]
    ratio = _against(row, BUILDKIT_S.get(key), GOALS.get(key))
    cells += [*ratio[:3], "busy" if report.load_before > AT_REST and ratio[3] else ratio[3]]
    for peer in peers:
        other = next(
            (r for r in report.rows if (r.workload, r.phase, r.builder) == (*key, peer)), None
        )
        cells += [*(costs(other) if other else ("", "", "")), _ratio(row, other and other.wall_s)]
    return cells


def _ratio(row: Row, other: Spread | None) -> str:
    return f"{row.wall_s.median / other.median:.2f}" if row.wall_s and other else ""


def _against(row: Row, recorded: float | None, goal: float | None) -> list[str]:
    if recorded is None or row.wall_s is None:
        return ["", "", "", ""]
    ratio = row.wall_s.median / recorded
    verdict = "" if goal is None else "met" if ratio <= goal else "missed"
    return [f"{recorded:.3f}", f"{ratio:.2f}", "" if goal is None else f"{goal:g}", verdict]


def _explained(report: Report) -> list[str]:
    lines = []
    for workload in dict.fromkeys(row.workload for row in report.rows):
        bounds = [
            f"{phase}: {limit.what}"
            for (name, phase), limit in report.limits.items()
            if name == workload
        ]
        told = f" Limits: {', '.join(bounds)}." if bounds else ""
        lines.append(f"- **{workload}**: {report.titles[workload]}.{told}\n")
    lines += [
        f"- **{row.workload}** {row.phase}: {row.builder} failed: {row.error.splitlines()[-1]}\n"
        for row in report.rows
        if row.error
    ]
    lines += [f"- **{name}** was left out: {why}\n" for name, why in report.left_out.items()]
    return lines
