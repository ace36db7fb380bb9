"""When each step ran: a lane for each stage, and the longest chain.

Comes in: `Facts`. Goes out: a picture whose width is that of the window, and a table of the same.
Steps of a stage that ran at the same time lie below each other. What was found in the cache is a
tick. Read next: `merges`.
"""

from collections.abc import Iterator, Sequence

from minibuild.graph.svg import shown
from minibuild.page.facts import Facts
from minibuild.page.markup import Html, details, line_link, plural, seconds, state, table, words
from minibuild.record.records import RecordedStep
from minibuild.startup.tuples import NamedTuple

_HEAD, _ROW, _BAR = 18, 20, 15
_LABEL = 5.0
"""Percent of the width that the number behind a bar takes on a narrow screen."""

_MOST = 500


class _Bar(NamedTuple):
    """A step in a lane: its row, and where it begins and how long it is in percent."""

    step: RecordedStep
    row: int
    left: float
    width: float


def timeline(found: Facts) -> Html:
    """The body of the section."""
    timed = [s for s in found.build.steps if s.started is not None and s.ended is not None]
    timed = [s for s in timed if s.is_step or s.seconds >= 0.05][:_MOST]
    if not timed:
        return "<p>No step was needed.</p>"
    chain = {step.number for step in found.chain}
    total = max(1.0, max((step.ended or 0) for step in timed))
    took = sum(step.seconds for step in found.chain)
    return (
        f"<p>{_said(found, timed, took)}</p>"
        f"{_picture(timed, chain, total)}{details('the same as a table', _table(timed, chain))}"
    )


def _said(found: Facts, timed: Sequence[RecordedStep], took: float) -> Html:
    if not any(step.ran for step in timed):
        return "All steps were found in the cache."
    lines = ", ".join(line_link(step) for step in found.chain if step.is_step)
    return (
        f"The longest chain took {seconds(took)}: {lines}. More processors do not make the build "
        "faster than that. Its bars have a border; a thin bar is a step that was cached. The "
        "numbers are lines."
    )


def _picture(timed: Sequence[RecordedStep], chain: set[int], total: float) -> Html:
    lanes: dict[str, list[RecordedStep]] = {}
    for step in sorted(timed, key=lambda step: (step.is_step, step.line)):
        lanes.setdefault(step.stage if step.is_step else "sources", []).append(step)
    lines: list[str] = []
    top = 24
    for name, steps in lanes.items():
        bars = list(_packed(steps, total))
        height = _HEAD + (max(bar.row for bar in bars) + 1) * _ROW + 4
        lines.append(f'<rect class="l" x="0" y="{top}" width="100%" height="{height - 3}" rx="4"/>')
        lines.append(f'<text class="d" x="6" y="{top + 13}">{words(name) or "steps"}</text>')
        lines += [_drawn(bar, top + _HEAD, bar.step.number in chain) for bar in bars]
        top += height
    grid = "".join(_gridline(part, total, top) for part in range(5))
    ran = sum(step.ran for step in timed)
    said = f"Timeline: {plural(ran, 'step')} ran in {total / 1000:.1f} s, a lane for each stage"
    return (
        f'<svg class="t" width="100%" height="{top + 4}" role="group" aria-label="{said}">'
        f"<title>{said}</title>{''.join(lines)}{grid}</svg>"
    )


def _packed(steps: Sequence[RecordedStep], total: float) -> Iterator[_Bar]:
    """Bars in rows, none over another."""
    free: list[float] = []
    for step in sorted(steps, key=lambda step: (step.started or 0, step.number)):
        left = 96 * (step.started or 0) / total
        if not step.ran:
            yield _Bar(step, 0, left, 0.3)
            continue
        width = max(0.4, 96 * step.seconds * 1000 / total)
        row = next((n for n, end in enumerate(free) if end <= left), len(free))
        if row == len(free):
            free.append(0.0)
        free[row] = left + width + _LABEL
        yield _Bar(step, row, left, width)


def _drawn(bar: _Bar, top: int, is_chain: bool) -> Html:
    step, y = bar.step, top + bar.row * _ROW
    classes = f"{step.state} chain" if is_chain else step.state
    said = f"{'line ' + str(step.line) + ': ' if step.line else ''}{step.text[:48]}: " + (
        seconds(step.seconds) if step.ran else "cached"
    )
    label = ""
    if step.ran and step.line:
        end = bar.left + bar.width
        place = f'x="{end:.2f}%" dx="4"' if end < 95 else f'x="{bar.left:.2f}%" dx="-4" class="e"'
        label = f'<text {place} y="{y + 12}">{step.line}</text>'
    opened, closed = (f'<a href="#L{step.line}">', "</a>") if step.line else ("<g>", "</g>")
    return (
        f'{opened}<title>{shown(said)}</title><rect class="{classes}" x="{bar.left:.2f}%" y="{y}" '
        f'width="{bar.width:.2f}%" height="{_BAR}" rx="2"/>{label}{closed}'
    )


def _gridline(part: int, total: float, height: int) -> Html:
    x, anchor = 24 * part, ("start", "middle", "middle", "middle", "end")[part]
    moment = total / 1000 * part / 4
    return (
        f'<line class="g" x1="{x}%" x2="{x}%" y1="18" y2="{height}" stroke-dasharray="2 4"/>'
        f'<text class="d" x="{x}%" y="12" text-anchor="{anchor}">{seconds(moment)}</text>'
    )


def _table(timed: Sequence[RecordedStep], chain: set[int]) -> Html:
    rows = [
        [
            f'<a href="#L{step.line}">{step.line}</a>' if step.line else "",
            words(step.stage),
            words(step.text[:70]),
            state(step),
            f"{(step.started or 0) / 1000:.2f}",
            f"{step.seconds:.2f}",
            "yes" if step.number in chain else "",
        ]
        for step in timed
    ]
    header = ["line", "stage", "step", "state", "began", "seconds", "chain"]
    return table("Steps in time", header, rows, "line began seconds")
