"""The lines of a definition around the place an error or a warning is about.

Comes in: the text and a span. Goes out: lines in the form that BuildKit prints, with `>>>` at the
lines of the span. Tabs become spaces. Read next: `errors`.
"""

from collections.abc import Iterator

from minibuild.errors import Span
from minibuild.graph.address import without_passwords
from minibuild.progress.lines import shortened

CONTEXT_LINES = 3
# Of an instruction that is longer than this (a heredoc), the first and last lines are shown.
_SPAN_LINES = 16
_RULE = "-" * 20


def excerpt(text: str, span: Span, place: str) -> list[str]:
    """The lines of `text` around `span`; `place` is the file as the reader can open it."""
    lines = text.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    if not 1 <= span.first <= len(lines):
        return [f"{place}:{span.first}"]
    last = min(max(span.first, span.last), len(lines))
    body = [
        f" {number:>3} | {'>>>' if span.first <= number <= last else '   '} {_shown(line)}".rstrip()
        if line is not None
        else "     | ..."
        for number, line in _selected(lines, span.first, last)
    ]
    return [f"{place}:{span.first}", _RULE, *body, _RULE]


def _selected(lines: list[str], first: int, last: int) -> Iterator[tuple[int, str | None]]:
    """Numbers and lines; None stands for lines left out of a long instruction."""
    cut_from, cut_to = last + 1, last
    if last - first >= _SPAN_LINES:
        cut_from, cut_to = first + _SPAN_LINES - 4, last - 3
    start, end = max(1, first - CONTEXT_LINES), min(len(lines), last + CONTEXT_LINES)
    for number in range(start, end + 1):
        if number == cut_from <= cut_to:
            yield number, None
        if not cut_from <= number <= cut_to:
            yield number, lines[number - 1]


def _shown(line: str) -> str:
    return shortened(without_passwords(line.rstrip("\r").expandtabs(4)))
