"""How an error is shown: what failed, its last words, where it is written, why, what to do.

Comes in: a `BuildError` and the steps that failed. Goes out: text on standard error in the form
of BuildKit's clients, and the exit code. Every way to end a build that failed comes through here,
so all kinds of progress show the same. Read next: `excerpt`.
"""

from collections.abc import Mapping, Sequence

from minibuild.cli.command import Session
from minibuild.cli.excerpt import excerpt
from minibuild.errors import BuildError, Cancelled, StepFailed
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
