"""The last lines of a terminal, drawn over and over; what is done scrolls away above them.

Comes in: lines. Goes out: one write for each frame, with the control sequences of ECMA-48 that
every terminal since the VT100 knows (cursor up, erase to end of line, erase below). Lines are
overwritten in place and never erased first: this is what makes a display flicker.
Read next: `tty`.
"""

import os

from minibuild.progress.cells import cells
from minibuild.progress.console import Console, ControlSequence, TextPart, painted
from minibuild.startup.tuples import NamedTuple

_END_LINE = ControlSequence("\x1b[K\r\n")  # What an older line left behind it is erased.
_ERASE_BELOW = ControlSequence("\x1b[J")
_TO_START = ControlSequence("\r")
# Without wrapping, a line that is longer than it seems (a character of doubtful width) cannot
# push the ones below it out of place.
_WRAP_OFF, _WRAP_ON = ControlSequence("\x1b[?7l"), ControlSequence("\x1b[?7h")


class ScreenLine(NamedTuple):
    """Text without control characters, and the colour (SGR parameters) it is shown in."""

    text: str
    colour: str = ""


class Screen:
    """The live lines at the end of a terminal. The cursor rests below them."""

    def __init__(self, console: Console, *, colours: bool) -> None:
        self._console = console
        self._colours = colours
        self._live: list[ScreenLine] = []
        self._columns = 0

    def size(self) -> tuple[int, int]:
        """Columns and rows as they are now; people resize windows while they wait."""
        try:
            columns, rows = os.get_terminal_size(self._console.fileno())
        except (OSError, ValueError):
            columns, rows = 0, 0
        return columns or 80, rows or 24

    def draw(self, done: list[ScreenLine], live: list[ScreenLine]) -> None:
        """Replace the live lines by `live`, and put `done` above them for good."""
        if not done and live == self._live:
            return
        columns, _ = self.size()
        up = self._height(columns)
        frame: list[TextPart] = [_WRAP_OFF, ControlSequence(f"\x1b[{up}A" if up else ""), _TO_START]
        for line in (*done, *live):
            coloured = self._colours and line.colour
            frame += painted(line.text, line.colour) if coloured else (line.text,)
            frame.append(_END_LINE)
        self._console.show(*frame, _ERASE_BELOW, _WRAP_ON)
        self._live, self._columns = live, columns

    def _height(self, columns: int) -> int:
        """The rows that the live lines take now.

        When a window gets narrower, terminals break the lines that no longer fit.
        """
        if columns >= self._columns:
            return len(self._live)
        return sum(max(1, -(-cells(line.text) // columns)) for line in self._live)
