"""The few forms of HTML that all sections are made of, and how text gets into them.

Comes in: text from Dockerfiles, logs and images, which is hostile; and HTML that was made here.
Goes out: HTML. Only `text` and `words` take what others wrote.
"""

from collections.abc import Iterable, Sequence

from minibuild.graph.svg import SIGNS, shown
from minibuild.progress.lines import clean, without_colours
from minibuild.record.records import RecordedStep

Html = str
"""Markup; text in it is escaped."""

_LONGEST = 240


def text(written: str) -> Html:
    """One line as it was written, spaces and all."""
    return shown(without_colours(clean(written.expandtabs(4))))


def words(written: str) -> Html:
    """A text in one line, cut if it is long."""
    line = " ".join(written.split())
    return text(line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…")


def table(
    caption: str, header: Sequence[str], rows: Iterable[Sequence[Html]], numbers: str = ""
) -> Html:
    """A table; columns named in `numbers` (separated by blanks) are numbers, one without a name has
    bars."""
    classes = [' class="n"' if name in numbers.split() else "" for name in header]
    head = "".join(
        f'<th scope="col"{c}>{name}</th>' if name else "<td></td>"
        for c, name in zip(classes, header, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{c}>{cell}</td>" for c, cell in zip(classes, row, strict=True))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{caption}"><table><caption>'
        f"{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def details(summary: Html, body: Html, *, is_open: bool = False) -> Html:
    """What is folded away; on paper all of it is open."""
    return f"<details{' open' if is_open else ''}><summary>{summary}</summary>{body}</details>"


def section(name: str, title: str, body: Html) -> Html:
    """A part of the page that links lead to."""
    return (
        f'<section id="{name}" aria-labelledby="{name}-h"><h2 id="{name}-h">{title}</h2>{body}'
        "</section>"
    )


def line_link(step: RecordedStep) -> Html:
    """The line of a step, as a link to it; or else its words."""
    return f'<a href="#L{step.line}">line {step.line}</a>' if step.line else words(step.text)


def state(step: RecordedStep) -> Html:
    """What became of a step, as a word; the style sheet puts a sign before it."""
    if step.state not in SIGNS:
        return '<span class="dim">not needed</span>'
    return f'<b class="{step.state}">{step.state}</b>'


def seconds(count: float) -> str:
    """A time, as precise as it is short."""
    return f"{count:.2f} s" if count < 1 else f"{count:.1f} s"


def plural(count: int, name: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{count:,} {name}{'' if count == 1 else 's'}"
