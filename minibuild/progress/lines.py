"""The output of a process, cut into pieces of lines.

Comes in: bytes as a process wrote them, cut anywhere. Goes out: pieces of text without control
characters, which a program means for a terminal of its own; its colours stay. What a program wants
to rewrite with a carriage return (a percentage, a spinner) is held back until the line ends, so
that a log has its last state and not a hundred of them; a screen shows it as it is (`redrawn`).
Escape sequences: ECMA-48 (`ESC [ ... letter`). Read next: `trace`.
"""

import codecs
from collections.abc import Iterator

from minibuild.progress.console import RESET, ControlSequence, TextPart
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

# A control sequence, an operating system command (title, hyperlink), or any other escape.
_ESCAPE = regex(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")
_COLOUR = regex(r"\x1b\[[0-9;:]*m")
_BEGUN = regex(r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]{0,256}\x1b?|[ -/]*)$")
_CONTROL = regex(r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]|\x1b")
_LONGEST = 2000


class LinePart(NamedTuple):
    """Part of a line; `ends` says that the line is complete with it."""

    text: str
    ends: bool


class LineCutter:
    """One stream of a process. Feed it bytes; it gives pieces, and holds what is not safe yet."""

    __slots__ = ("_decoder", "_held", "_open")

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._open = False

    @property
    def redrawn(self) -> str:
        """What the program drew last over the line it is at; empty if it draws none over."""
        if not self._held.startswith("\r"):
            return ""
        return clean(_BEGUN.sub("", self._held.strip("\r")))

    def feed(self, data: bytes) -> Iterator[LinePart]:
        """The pieces that `data` completes: whole lines, and the beginning of the next."""
        *whole, rest = (self._held + self._decoder.decode(data)).split("\n")
        self._held = ""
        for line in whole:
            yield from self._finished(line)
        if "\r" in rest:
            # Only the state that the program drew last is of use; forget the others.
            body = rest.rstrip("\r")
            self._held = "\r" + body.rpartition("\r")[2] + rest[len(body) :]
            return
        if begun := _BEGUN.search(rest):
            self._held = begun.group()
            rest = rest[: begun.start()]
        if rest:
            self._open = True
            yield LinePart(clean(rest), False)

    def finish(self) -> Iterator[LinePart]:
        """What was held back, when no more data comes."""
        rest = self._held + self._decoder.decode(b"", final=True)
        self._held = ""
        if rest:
            yield from self._finished(rest)

    def _finished(self, line: str) -> Iterator[LinePart]:
        line = line.rstrip("\r")
        if "\r" in line:
            line = line.rpartition("\r")[2]
            if self._open:
                yield LinePart("", True)
        self._open = False
        yield LinePart(clean(line), True)


def clean(text: str) -> str:
    """`text` less what could move the cursor, ring or fool a terminal; colours stay."""
    if text.isprintable():
        return text
    text = _ESCAPE.sub(lambda found: found[0] if _COLOUR.fullmatch(found[0]) else "", text)
    return _CONTROL.sub(lambda found: found[0] if _COLOUR.match(text, found.start()) else "", text)


def without_colours(text: str) -> str:
    """Text that `clean` returned, less its colours."""
    return _COLOUR.sub("", text)


def coloured(text: str) -> "tuple[TextPart, ...]":
    """Text that `clean` returned, for a console: with its colours, which end with it."""
    if _COLOUR.search(text) is None:
        return (text,)
    parts: list[TextPart] = []
    at = 0
    for found in _COLOUR.finditer(text):
        parts += (text[at : found.start()], ControlSequence(found[0]))
        at = found.end()
    return (*parts, text[at:], RESET)


def shortened(text: str) -> str:
    """A line of a file or a message, with the middle left out of one that is too long to read."""
    if len(text) <= _LONGEST:
        return text
    left_out = len(text) - _LONGEST
    half = _LONGEST // 2
    return f"{text[:half]} ... {left_out} characters ... {text[-half:]}"
