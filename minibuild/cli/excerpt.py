"""The lines of a definition that an error or a warning is about.

Comes in: the text and a span; or the warnings of a build. Goes out: lines in the form that BuildKit
prints, with `>>>` at the lines of the span, tabs as spaces; of a warning what it says and its first
line, with details its explanation and all of its lines. Read next: `errors`.
"""

from collections.abc import Iterator, Mapping, Sequence

from minibuild.errors import Span
from minibuild.events import Warned
from minibuild.graph.address import without_passwords
from minibuild.progress.lines import shortened

CONTEXT_LINES = 3
# Of an instruction that is longer than this (a heredoc), the first and last lines are shown.
_SPAN_LINES = 16
_RULE = "-" * 20


def excerpt(text: str, span: Span, place: str, line: int = 0) -> list[str]:
    """The lines of `text` around `span`; `place` is the file as the reader can open it, and `line`
    the one to name, if it is not the first of the span."""
    head = f"{place}:{line or span.first}"
    lines = text.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    if not 1 <= span.first <= len(lines):
        return [head]
    last = min(max(span.first, span.last), len(lines))
    body = [
        f" {number:>3} | {'>>>' if span.first <= number <= last else '   '} {line}".rstrip()
        if line is not None
        else "     | ..."
        for number, line in _selected(lines, span.first, last)
    ]
    return [head, _RULE, *body, _RULE]


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
            line = lines[number - 1].rstrip("\r").expandtabs(4)
            yield number, shortened(without_passwords(line))


def warning_lines(
    warnings: Sequence[Warned], *, details: bool, places: Mapping[str, str] | None = None
) -> list[str]:
    """The warnings, each once, in the order of their lines. `places` maps file names to paths."""
    found = sorted(dict.fromkeys(warnings), key=lambda w: (w.span.first if w.span else 0, w.rule))
    count = len(found)
    more = "" if details else " (use --debug to expand)"
    lines = ["", f"{count} warning{'s' if count != 1 else ''} found{more}:"]
    for warning in found:
        where = f" (line {warning.span.first})" if warning.span else ""
        rule = f"{warning.rule}: " if warning.rule else ""
        lines.append(f" - {rule}{shortened(' '.join(warning.message.split()))}{where}")
        if details:
            lines += [f"   {text}" for text in (warning.detail, warning.url) if text]
        lines += _lines_of(warning, places or {}, all_lines=details)
    return lines


def _lines_of(warning: Warned, places: Mapping[str, str], *, all_lines: bool) -> list[str]:
    if warning.span is None:
        return []
    file, first, _ = warning.span
    written = [shortened(line) for line in warning.excerpt.splitlines() or [""]]
    if not all_lines and len(written) > 1:
        written = [f"{written[0]} ..."]
    place = places.get(file, file)
    return [f"   {place}:{first + at} | {line}".rstrip(" |") for at, line in enumerate(written)]
