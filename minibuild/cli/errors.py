"""How an error is shown: what failed, its last words, where it is written, why, what to do.

Comes in: a `BuildError` and the steps that failed. Goes out: text on standard error in the form
of BuildKit's clients, and the exit code. Every way to end a build that failed comes through here,
so all kinds of progress show the same. The lines that an error or a warning is about have the form
that BuildKit prints, with `>>>` at the lines of the span, tabs as spaces; of a warning they are the
first, with details all of them and its explanation. Read next: `main`.
"""

from collections.abc import Iterator, Mapping, Sequence

from minibuild.cli.command import Session
from minibuild.errors import BuildError, Cancelled, Span, StepFailed
from minibuild.events import Warned
from minibuild.graph.address import without_passwords
from minibuild.progress.console import TextPart, painted
from minibuild.progress.lines import coloured, shortened, without_colours
from minibuild.progress.trace import StepFailure

_RED, _YELLOW = "31", "33"
_RULE = "------"
Line = tuple[TextPart, ...]


def show(
    error: BuildError,
    session: Session,
    *,
    failed: Sequence[StepFailure] = (),
    places: Mapping[str, str] | None = None,
) -> int:
    """Write `error`; return its exit code. `places` maps file names to paths one can open."""
    if session.debug:
        _traceback(error, session)
    colours = session.coloured(session.stderr)
    _write(session, describe(error, failed=failed, places=places or {}, colours=colours))
    return error.exit_code


def describe(
    error: BuildError,
    *,
    failed: Sequence[StepFailure] = (),
    places: Mapping[str, str],
    colours: bool = False,
) -> list[Line]:
    """The lines that say what went wrong."""
    lines: list[Line] = []
    logged = [step for step in failed if step.lines and not isinstance(error, Cancelled)]
    for step in logged:
        lines += _log(step, colours=colours)
    span = None if isinstance(error, Cancelled) else error.span
    if span is not None:
        place = places.get(span.file, span.file)
        if error.source is not None:
            lines += [(line,) for line in excerpt(error.source.text, span, place, error.line)]
        else:
            lines.append((f"{place}:{span.first}",))
    if isinstance(error, Cancelled):
        return [*lines, (error.message,)]
    first, *more = error.message.splitlines() or [type(error).__name__]
    lines.append((*_painted("error:", _RED, colours), " ", shortened(first)))
    lines += [("  ", shortened(line)) for line in more]
    # What a step said last is in its log above, if there was anybody to keep it.
    if not (logged and isinstance(error, StepFailed)):
        lines += [("  ", shortened(line)) for line in error.detail.splitlines()]
    if error.hint:
        first, *more = error.hint.splitlines()
        lines.append((*_painted("hint:", _YELLOW, colours), " ", shortened(first)))
        lines += [(shortened(line),) for line in more]
    return lines


def show_internal(error: Exception, session: Session) -> None:
    """Write that the program itself is at fault, or that the machine failed it."""
    if session.debug:
        _traceback(error, session)
    what = " ".join(str(error).split())
    word = _painted("internal error:", _RED, session.coloured(session.stderr))
    lines: list[Line] = [(*word, f" {type(error).__name__}: {what}")]
    if not session.debug:
        lines.append(("hint: run the command again with --debug to see where, and report it",))
    _write(session, lines)


def _log(step: StepFailure, *, colours: bool) -> list[Line]:
    lines: list[Line] = [(_RULE,), (f" > {shortened(step.name)}:",)]
    lines += [coloured(line) if colours else (without_colours(line),) for line in step.lines]
    return [*lines, (_RULE,)]


def _painted(word: str, colour: str, colours: bool) -> Line:
    return painted(word, colour) if colours else (word,)


def _traceback(error: BaseException, session: Session) -> None:
    from traceback import format_exception

    _write(session, [("".join(format_exception(error)).rstrip(),)])


def _write(session: Session, lines: Sequence[Line]) -> None:
    try:
        session.stderr.write(*(part for line in lines for part in (*line, "\n")))
        session.stderr.flush()
    except OSError:
        pass  # there is no reader: the exit code has to do


# --- Lines of a definition ---


CONTEXT_LINES = 3
# Of an instruction that is longer than this (a heredoc), the first and last lines are shown.
_SPAN_LINES = 16
_BAR = "-" * 20


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
    return [head, _BAR, *body, _BAR]


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
