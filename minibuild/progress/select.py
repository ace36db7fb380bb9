"""Which renderer suits the request and the terminal.

Comes in: the word of `--progress`, the console, and what the terminal calls itself. Goes out: a
`Renderer`. Each kind is imported when it is chosen, so a log costs nothing of a screen.
"""

from typing import Literal, Protocol, get_args

from minibuild.events import Event
from minibuild.progress.console import Console
from minibuild.progress.trace import Trace

Mode = Literal["auto", "tty", "plain", "rawjson", "quiet"]
MODES: tuple[str, ...] = get_args(Mode)


class Renderer(Protocol):
    """A report that shows a build. `close` ends the display and may be called twice."""

    @property
    def trace(self) -> Trace:
        """All that is known of the build."""

    def __call__(self, event: Event, /) -> None: ...

    def close(self) -> None:
        """Show what is still to be shown, and leave the terminal as it was found."""


def is_screen(console: Console, term: str) -> bool:
    """Whether `console` is a terminal that can move its cursor."""
    try:
        return console.isatty() and term not in ("", "dumb")
    except ValueError:  # closed
        return False


def choose(mode: Mode, console: Console, term: str, *, colours: bool) -> Renderer:
    """A renderer. `tty` and `auto` mean bars on a terminal that can show them, else a log."""
    if mode == "quiet":
        from minibuild.progress.quiet import Quiet

        return Quiet()
    if mode == "rawjson":
        from minibuild.progress.rawjson import RawJson

        return RawJson(console)
    if mode in ("auto", "tty") and is_screen(console, term):
        from minibuild.progress.tty import Tty

        return Tty(console, colours=colours)
    from minibuild.progress.plain import Plain

    return Plain(console, colours=colours)
