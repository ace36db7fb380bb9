"""The measurements as a page: a line for each phase, with all builders and the limit.

Comes in: a `Report`. Goes out: Markdown, with what a reader has to know to judge the numbers. The
goal and whether it is met stand right of the ratio that was judged: the one to BuildKit itself if
it took part, else the one to its recorded seconds (see `recorded`). The picture is made by `chart`.
"""

from collections.abc import Sequence

from bench.measure import Spread
from bench.recorded import BUILDKIT, BUILDKIT_S
from bench.report import Report, Row, costs, is_live, machine, row_for, verdict

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
{phases}{buildkit}- **Peers**: {peers}. A ratio below 1 means that minibuild is faster.
- **Limit** is the least work of the same kind, measured in this session without any builder.

"""

_PHASES = """\
- **Phases**: `cold` finds the base image and nothing else, `noop` finds everything done, `change`
  comes after one file was changed. What is made of the result is one thing more, the same for all
  builders of a line:
  - *Nothing behind it*: the steps are done and the result stays in the builder's cache (minibuild:
    `-o type=cacheonly`; BuildKit: no output). That is the price of the steps alone. buildah cannot
    stop there: its cache is made of images, so it makes one here, too, and its ratio is of
    unequal work.
  - `+image`: an image in the builder's own store: each layer is packed, hashed and compressed with
    gzip, and a config and a manifest are written (minibuild: `-t`; BuildKit: `type=image`, not
    unpacked again). That is what a build is mostly for. buildkitd keeps no list of images, so
    minibuild and buildah alone give theirs a name. These lines have no goal.
  - `+oci`: an image in an archive outside of the store.

  The first two are shown side by side because builders differ in what they put off: BuildKit copies
  files into its cache and packs them when an image is wanted; minibuild packs files that no step
  reads at once, and compresses them, whether an image is wanted or not.
"""

_RECORDED = """\
- **BuildKit, recorded** was *not* measured in this session: it needs a daemon that is not here.
  These are medians of another day on another machine of the same kind (2 processors, ext4; master
  of August 2026, warm daemon). Take ratios to them for what they are worth; `--vs buildkit`
  measures it live. **Goal** is the ratio that minibuild is to reach.
"""

_LIVE = """\
- **BuildKit** was measured live, in turns with the others, its daemon warm. **Goal** is the ratio
  to *it* that minibuild is to reach; where it failed, the ratio to the recorded one, and the table
  says so. Its processors are those of the client, the daemon and the steps until the client has
  its answer, to a few hundredths of a second; its MiB are those of the client or of the largest
  process of the daemon, without the programs of steps.
- **BuildKit, recorded**: medians of another day on another machine of the same kind (2 processors,
  ext4; master of August 2026), to compare with.
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
        lines.append("How cost grows with the work, as lines: [SCALE.md](SCALE.md).\n\n")
    live = is_live(report)
    if live:
        peers = [BUILDKIT, *(peer for peer in peers if peer != BUILDKIT)]
    titles = ["workload", "phase", "minibuild, s", "processors, s", "MiB", "limit, s"]
    recorded = ["BuildKit, recorded", "ratio"]
    titles += [] if live else [*recorded, "goal", ""]
    for peer in peers:
        titles += [f"{peer}, s", "processors, s", "MiB", "ratio"]
        titles += ["goal", ""] if live and peer == BUILDKIT else []
    titles += recorded if live else []
    lines += [_line(titles), "|" + "---|" * len(titles) + "\n"]
    for row in report.rows:
        if row.builder == ours:
            lines.append(_line(_cells(report, row, peers, live)))
    lines.append("\n## Workloads and limits\n\n")
    lines += _explained(report)
    return "".join(lines)


def _head(report: Report, peers: Sequence[str], picture: str) -> str:
    about = machine()
    return _HEAD.format(
        busy=_BUSY.format(before=report.load_before, processors=about["processors"])
        if report.load_before > AT_REST
        else "",
        picture=f", as are [{picture}]({picture}) and RESULTS.json" if picture else "",
        day=report.day,
        filesystem=report.filesystem,
        before=report.load_before,
        rounds=_rounds(report),
        phases=_PHASES,
        buildkit=_LIVE if is_live(report) else _RECORDED,
        peers="; ".join(report.versions.get(peer, peer) for peer in peers) or "none",
        **{key: about[key] for key in ("processors", "kernel", "python")},
    )


def _rounds(report: Report) -> str:
    counts = {row.wall_s.runs for row in report.rows if row.wall_s and row.phase == "cold"}
    return " or ".join(str(count) for count in sorted(counts)) or "no"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"


def _cells(report: Report, row: Row, peers: Sequence[str], live: bool) -> list[str]:
    limit = report.limits.get((row.workload, row.phase))
    cells = [row.workload, row.phase, *costs(row), f"{limit.seconds:.3f}" if limit else ""]
    judged, recorded = _judged(report, row, live), _recorded(row)
    cells += [] if live else [*recorded, *judged]
    for peer in peers:
        other = row_for(report, row.workload, row.phase, peer)
        cells += [*(costs(other) if other else ("", "", "")), _ratio(row, other and other.wall_s)]
        cells += judged if live and peer == BUILDKIT else []
    return [*cells, *recorded] if live else cells


def _ratio(row: Row, other: Spread | None) -> str:
    return f"{row.wall_s.median / other.median:.2f}" if row.wall_s and other else ""


def _recorded(row: Row) -> list[str]:
    seconds = BUILDKIT_S.get((row.workload, row.phase))
    if seconds is None or row.wall_s is None:
        return ["", ""]
    return [f"{seconds:.3f}", f"{row.wall_s.median / seconds:.2f}"]


def _judged(report: Report, row: Row, live: bool) -> list[str]:
    """The goal, and whether it is met."""
    judged = verdict(report, row)
    if judged is None or not judged.wanted:
        return ["", ""]
    word = "busy" if report.load_before > AT_REST else judged.word
    return [f"{judged.wanted:g}", f"{word}, recorded" if live and not judged.live else word]


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
