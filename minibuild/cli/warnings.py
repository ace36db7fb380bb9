"""The findings of build checks, below the progress of a build.

Comes in: warnings. Goes out: for each of them what it says, the file and the line it is about, and
that line; with details its explanation, and all of its lines.
"""

from collections.abc import Mapping, Sequence

from minibuild.events import Warned
from minibuild.progress.lines import shortened


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
        lines += _excerpt(warning, places or {}, all_lines=details)
    return lines


def _excerpt(warning: Warned, places: Mapping[str, str], *, all_lines: bool) -> list[str]:
    if warning.span is None:
        return []
    file, first, _ = warning.span
    written = [shortened(line) for line in warning.excerpt.splitlines() or [""]]
    if not all_lines and len(written) > 1:
        written = [f"{written[0]} ..."]
    place = places.get(file, file)
    return [f"   {place}:{first + at} | {line}".rstrip(" |") for at, line in enumerate(written)]
