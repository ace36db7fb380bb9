"""The findings of build checks, below the progress of a build.

Comes in: warnings. Goes out: one line for each; with details its explanation and the lines of the
definition too.
"""

from collections.abc import Sequence

from minibuild.events import Warned
from minibuild.progress.lines import clean, without_colours


def warning_lines(warnings: Sequence[Warned], *, details: bool) -> list[str]:
    """The warnings, each once, in the order of their lines."""
    found = sorted(dict.fromkeys(warnings), key=lambda w: (w.span.first if w.span else 0, w.rule))
    count = len(found)
    more = "" if details else " (use --debug to expand)"
    lines = ["", f"{count} warning{'s' if count != 1 else ''} found{more}:"]
    for warning in found:
        where = f" (line {warning.span.first})" if warning.span else ""
        lines.append(f" - {warning.rule}: {' '.join(warning.message.split())}{where}")
        if not details:
            continue
        lines += [f"   {text}" for text in (warning.detail, warning.url) if text]
        lines += [f"   | {without_colours(clean(line))}" for line in warning.excerpt.splitlines()]
    return lines
