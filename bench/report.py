"""What was measured, as text and as JSON.

Comes in: the samples of workloads and their limits. Goes out: `Row`s, and documents made of
them (`page` has one more, for people). A ratio below 1 means that minibuild is the
faster one. Ratios to a live peer are against what it took a moment before or after; so are goals if
BuildKit took part, and else they are against its recorded seconds (see `recorded`).
"""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bench.limits import Limit
from bench.measure import Spread, spread
from bench.recorded import BUILDKIT, BUILDKIT_S, GOALS
from bench.session import Sample


class Row(NamedTuple):
    """One builder in one phase of one workload. `error` instead of numbers if it failed."""

    workload: str
    phase: str
    builder: str
    wall_s: Spread | None
    cpu_s: Spread | None
    peak_mib: Spread | None
    error: str = ""


class Report(NamedTuple):
    """Everything of one session."""

    rows: tuple[Row, ...]
    limits: Mapping[tuple[str, str], Limit]
    titles: Mapping[str, str]
    left_out: Mapping[str, str] = {}
    day: str = ""
    filesystem: str = ""
    load_before: float = 0.0
    versions: Mapping[str, str] = {}
    """What the builders call themselves, by name."""


class Verdict(NamedTuple):
    """How minibuild stands to BuildKit: the ratio, the goal (0: none), and to which BuildKit."""

    ratio: float
    wanted: float
    live: bool

    @property
    def word(self) -> str:
        """What it means."""
        return "" if not self.wanted else "met" if self.ratio <= self.wanted else "missed"


def rows_of(workload: str, samples: Sequence[Sample]) -> list[Row]:
    """The samples of one workload, put together by phase and builder."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.phase, sample.builder), []).append(sample)
    rows = []
    for (phase, builder), group in groups.items():
        costs = [sample.cost for sample in group if not sample.error]
        errors = [sample.error for sample in group if sample.error]
        if not costs:
            rows.append(Row(workload, phase, builder, None, None, None, errors[0]))
            continue
        rows.append(
            Row(
                workload,
                phase,
                builder,
                spread(cost.wall_s for cost in costs),
                spread(cost.cpu_s for cost in costs),
                spread(cost.peak_mib for cost in costs),
            )
        )
    return rows


def first_median(report: Report, workload: str, phase: str) -> float | None:
    """The seconds of the builder that the others are compared with: the first."""
    for row in report.rows:
        if (row.workload, row.phase) == (workload, phase):
            return row.wall_s.median if row.wall_s else None
    return None


def row_for(report: Report, workload: str, phase: str, builder: str) -> Row | None:
    """The row of one builder."""
    for row in report.rows:
        if (row.workload, row.phase, row.builder) == (workload, phase, builder):
            return row
    return None


def is_live(report: Report) -> bool:
    """Whether BuildKit was measured in this session."""
    return any(row.builder == BUILDKIT and row.wall_s for row in report.rows)


def verdict(report: Report, row: Row) -> Verdict | None:
    """Against the BuildKit that took turns with it; if none did, against the recorded one."""
    beside = row_for(report, row.workload, row.phase, BUILDKIT)
    live = beside.wall_s if beside else None
    seconds = live.median if live else BUILDKIT_S.get((row.workload, row.phase))
    if seconds is None or row.wall_s is None:
        return None
    wanted = GOALS.get((row.workload, row.phase), 0.0)
    return Verdict(row.wall_s.median / seconds, wanted, live is not None)


HEADINGS = (
    "workload", "phase", "builder", "seconds (min-max)", "processors", "MiB", "limit",
    "to BuildKit", "goal", "",
)  # fmt: skip


def costs(row: Row) -> tuple[str, str, str]:
    """Seconds, processor seconds and MiB, each with the least and the most."""
    if row.wall_s is None or row.cpu_s is None or row.peak_mib is None:
        return ("failed", "", "")
    wall, cpu = (f"{s.median:.3f} ({s.low:.3f}-{s.high:.3f})" for s in (row.wall_s, row.cpu_s))
    memory = row.peak_mib
    return wall, cpu, f"{memory.median:.0f} ({memory.low:.0f}-{memory.high:.0f})"


def _cells(report: Report, row: Row) -> tuple[str, ...]:
    names = (row.workload, row.phase, row.builder)
    if row.wall_s is None:
        return (*names, *costs(row), "", "", "", "")
    first = first_median(report, row.workload, row.phase)
    if row.builder != _first_builder(report):
        ratio = f"{first / row.wall_s.median:.2f} of it" if first else ""
        return (*names, *costs(row), "", "", "", ratio)
    limit = report.limits.get((row.workload, row.phase))
    bound = f"{limit.seconds:.3f} {limit.what}" if limit else ""
    judged = verdict(report, row)
    if judged is None:
        return (*names, *costs(row), bound, "", "", "")
    ratio = f"{judged.ratio:.2f} {'live' if judged.live else 'recorded'}"
    wanted = f"{judged.wanted:g}" if judged.wanted else ""
    return (*names, *costs(row), bound, ratio, wanted, judged.word)


def _first_builder(report: Report) -> str:
    return report.rows[0].builder if report.rows else ""


def as_text(report: Report) -> str:
    """Columns for a terminal."""
    table = [HEADINGS, *(_cells(report, row) for row in report.rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEADINGS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    return "\n".join(lines) + "\n"


def machine() -> dict[str, Any]:
    """Where the numbers come from."""
    return {
        "kernel": ".".join(platform.release().split(".")[:2]),
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "load": [round(value, 2) for value in os.getloadavg()],
    }


def filesystem(path: str) -> str:
    """The type of the filesystem that a path is on, as the mount table has it."""
    found, length = "", -1
    with open("/proc/self/mounts", encoding="utf-8") as table:
        for line in table:
            _, place, kind, *_ = line.split(" ")
            inside = path == place or path.startswith(place.rstrip("/") + "/")
            if inside and len(place) >= length:
                found, length = kind, len(place)
    return found


def as_json(report: Report) -> str:
    """Everything, for programs."""
    document = {
        "machine": machine(),
        "day": report.day,
        "filesystem": report.filesystem,
        "load_before": report.load_before,
        "versions": dict(report.versions),
        "goals_against": "live" if is_live(report) else "recorded",
        "left_out": dict(report.left_out),
        "rows": [
            {
                "workload": row.workload,
                "phase": row.phase,
                "builder": row.builder,
                "error": row.error,
                **{
                    name: value._asdict() if value else None
                    for name, value in (
                        ("wall_s", row.wall_s), ("cpu_s", row.cpu_s), ("peak_mib", row.peak_mib)
                    )
                },
            }
            for row in report.rows
        ],
        "limits": [
            {"workload": workload, "phase": phase, "what": limit.what, "seconds": limit.seconds}
            for (workload, phase), limit in report.limits.items()
        ],
        "recorded_buildkit": [
            {"workload": workload, "phase": phase, "wall_s": seconds}
            for (workload, phase), seconds in BUILDKIT_S.items()
        ],
    }  # fmt: skip
    return json.dumps(document, indent=2) + "\n"
