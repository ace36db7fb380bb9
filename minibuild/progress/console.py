"""Where text leaves the program: nothing but what a terminal shows as a character.

Comes in: text, much of it from outside (names in archives and images, answers of servers, words of
a Dockerfile), and control sequences of our own, which have a type of their own. Goes out: the
sequences as they are; of the text what can be seen, with the rest written as escapes: `\\x1b`.
An escape sequence in a text could fill the clipboard, hide lines or answer for the person at the
terminal, so nothing is written to standard output or error but through here. See ECMA-48 for what
terminals obey; for marks that change the direction of text, Unicode Technical Report 36.
Read next: `lines`, for the output of processes.
"""

import re
from typing import TextIO

from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

# C0 and C1 controls, what ends a line for Unicode, marks of direction, and lone surrogates: bytes
# that are no UTF-8 come in as these.
_UNSEEN = regex(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


class ControlSequence(NamedTuple):
    """A control sequence that this program writes on purpose."""

    sequence: str


RESET = ControlSequence("\x1b[0m")
TextPart = str | ControlSequence


def painted(text: str, colour: str) -> tuple[TextPart, ...]:
    """`text` in a colour: a number of ECMA-48's SELECT GRAPHIC RENDITION."""
    return ControlSequence(f"\x1b[{colour}m"), text, RESET


def visible(text: str) -> str:
    """`text` as one line in which each character can be seen."""
    return text if text.isprintable() else _UNSEEN.sub(_escape, text)


def _escape(found: "re.Match[str]") -> str:
    character = found[0]
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # A byte, by PEP 383.
        code -= 0xDC00
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


class Console:
    """A text stream with this gate in front. Newlines and tabs of a text pass."""

    __slots__ = ("_is_broken", "_stream")

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_broken = False

    def write(self, *parts: TextPart) -> int:
        """Write text and control sequences, in one call, so that nothing gets in between."""
        text = "".join(_passed(part) for part in parts)
        try:
            return self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            return self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))

    def show(self, *parts: TextPart) -> None:
        """Write and flush for a report, which must not raise: the reader may go away (`minibuild
        build 2>&1 | head`). The build goes on, and after that nothing is shown any more."""
        if self._is_broken or not any(parts):
            return
        try:
            self.write(*parts)
            self.flush()
        except (OSError, ValueError):
            self._is_broken = True

    def flush(self) -> None:
        """Write what is held back."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The descriptor behind it."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:
        """How characters become bytes; empty if that is not known."""
        return getattr(self._stream, "encoding", "") or ""


def _passed(part: TextPart) -> str:
    if isinstance(part, ControlSequence):
        return part.sequence
    if part.isprintable():
        return part
    return "\n".join("\t".join(map(visible, line.split("\t"))) for line in part.split("\n"))
