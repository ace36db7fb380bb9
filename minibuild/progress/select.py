"""Which renderer suits the request and the terminal.

Comes in: the word of `--progress`, the console, and what the terminal calls itself. Goes out: a
`Renderer`. Each kind is imported when it is chosen, so a log costs nothing of a screen.
"""

from typing import Literal, get_args

from minibuild.progress.console import Console
from minibuild.progress.trace import Renderer

Mode = Literal["auto", "tty", "plain", "rawjson", "quiet"]
MODES: tuple[str, ...] = get_args(Mode)


def is_screen(console: Console, term: str) -> bool:
    """Whether `console` is a terminal that can move its cursor."""
    try:
        return console.isatty() and term not in ("", "dumb")
    except ValueError:  # closed
        return False


def choose(mode: Mode, console: Console, term: str, *, colours: bool) -> Renderer:
    """A renderer. `tty` and `auto` mean bars on a terminal that can show them, else a log."""
    if mode == "quiet":
        return Renderer()
    if mode == "rawjson":
        from minibuild.progress.rawjson import RawJson

        return RawJson(console)
    if mode in ("auto", "tty") and is_screen(console, term):
        from minibuild.progress.tty import Tty

        return Tty(console, colours=colours)
    from minibuild.progress.plain import Plain

    return Plain(console, colours=colours)
