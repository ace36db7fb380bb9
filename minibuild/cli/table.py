"""Tables of text, aligned. Comes in: rows. Goes out: lines, one for each row, whatever is in it."""

import time
from collections.abc import Sequence

from minibuild.progress.cells import cells, cut
from minibuild.progress.console import visible


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: str = "") -> list[str]:
    """The lines of a table; columns named in `right` (separated by blanks) are right-aligned."""
    shown = [header, *([visible(text) for text in row] for row in rows)]
    widths = [max(cells(row[column]) for row in shown) for column in range(len(header))]
    to_right = [name in right.split() for name in header]
    return ["  ".join(_cells(row, widths, to_right)).rstrip() for row in shown]


def _cells(row: Sequence[str], widths: list[int], to_right: list[bool]) -> list[str]:
    found = []
    for text, width, right in zip(row, widths, to_right, strict=True):
        blank = " " * (width - cells(text))
        found.append(blank + text if right else text + blank)
    return found


def one_line(text: str, room: int) -> str:
    """A text in one line of so many cells."""
    return cut(visible(" ".join(text.split())), room)


def short_id(digest: str) -> str:
    """The first digits of a digest, by which people know it."""
    return digest.removeprefix("sha256:")[:12]


def ago(moment: float, now: float | None = None) -> str:
    """A time in the past as people say it: `5 minutes ago`."""
    seconds = (time.time() if now is None else now) - moment
    return f"{length(seconds)} ago" if seconds >= 60 else "just now"


def length(seconds: float) -> str:
    """A time in its largest unit: `5 minutes`."""
    count, unit = max(1, round(seconds)), "second"
    for name, of_unit in (("minute", 60), ("hour", 3600), ("day", 86400)):
        if seconds >= of_unit:
            count, unit = int(seconds // of_unit), name
    return f"{count} {unit}{'s' if count != 1 else ''}"
