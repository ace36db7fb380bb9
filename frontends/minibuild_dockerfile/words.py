"""Cutting one logical line into keyword, flags and words, without expanding anything.

Comes in: a logical line (continuations joined). Goes out: pieces of it, each with its offset in
the line, so that a flag or a word can be found in the file again. The rules are those of
BuildKit's line parsers, odd as some are: flags lose their quotes here, other words keep them;
a JSON array that is broken is an ordinary line.
Read next: `parse`, which gives the pieces their meaning.
"""

import json
import re
from functools import cache

from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple
from minibuild_dockerfile.lexer import SPACES

SEPARATOR = regex("[\t\v\f\r ]+")
"""What separates words of FROM, EXPOSE, COPY and such: narrower than white space in quotes."""


class Piece(NamedTuple):
    """Part of a logical line, where it begins, and where it ends (not included)."""

    text: str
    offset: int
    end: int


def piece(text: str, offset: int) -> Piece:
    """A piece that stands in the line as it is."""
    return Piece(text, offset, offset + len(text))


class NotStrings(ValueError):
    """A JSON array with something in it that is no string."""


def stripped(text: str, offset: int = 0) -> Piece:
    """The text, which begins at `offset`, without outer white space."""
    begun = text.lstrip(SPACES)
    return piece(begun.rstrip(SPACES), offset + len(text) - len(begun))


def split_keyword(text: str) -> tuple[Piece, Piece]:
    """The first word, and the rest without outer white space."""
    line = stripped(text)
    gap = SEPARATOR.search(line.text)
    if not gap:
        return line, piece("", line.end)
    keyword = piece(line.text[: gap.start()], line.offset)
    return keyword, stripped(line.text[gap.end() :], line.offset + gap.end())


def split_flags(rest: Piece) -> tuple[list[Piece], Piece]:
    """The words that begin with `--`, quotes and backslashes removed, and what follows them.

    A word that is `--` alone ends the flags. The escape here is always a backslash.
    """
    text, flags, position = rest.text, list[Piece](), 0
    while text.startswith("--", position := _skip_spaces(text, position)):
        word, end = _take_flag(text, position)
        if word == "--":
            position = end
            break
        flags.append(Piece(word, rest.offset + position, rest.offset + end))
        position = end
    return flags, stripped(text[position:], rest.offset + position)


def _skip_spaces(text: str, position: int) -> int:
    while position < len(text) and text[position] in SPACES:
        position += 1
    return position


def _take_flag(text: str, position: int) -> tuple[str, int]:
    """One word from `position`, unquoted, and where it ends."""
    out: list[str] = []
    quote = ""
    while position < len(text):
        character = text[position]
        if not quote and character in SPACES:
            break
        position += 1
        if character == "\\":
            out.append(text[position : position + 1])
            position += 1
        elif character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        else:
            out.append(character)
    return "".join(out), position


def split_separated(rest: Piece) -> list[Piece]:
    """Words separated by spaces and tabs; quotes are nothing special."""
    words: list[Piece] = []
    start = 0
    for gap in SEPARATOR.finditer(rest.text):
        words.append(piece(rest.text[start : gap.start()], rest.offset + start))
        start = gap.end()
    if rest.text:
        words.append(piece(rest.text[start:], rest.offset + start))
    return words


@cache
def _word_pattern(escape: str) -> re.Pattern[str]:
    """A word of ENV, LABEL and ARG: no outer spaces, but any between quotes or escaped.

    An open quote takes all that is left; the expansion will complain about it.
    """
    e = re.escape(escape)
    return re.compile(
        rf"""(?:[^{SPACES}'"{e}]+|{e}.|'[^']*(?:'|$)|"(?:[^"{e}]|{e}.|{e}$)*(?:"|$))+""",
        re.DOTALL,
    )


def split_words(rest: Piece, escape: str) -> list[Piece]:
    """Words as a shell sees them, quotes and escapes kept."""
    pattern = _word_pattern(escape)
    return [piece(match[0], rest.offset + match.start()) for match in pattern.finditer(rest.text)]


def json_array(text: str) -> tuple[str, ...] | None:
    """The strings of a JSON array, None if `text` is none, `NotStrings` if it has other things."""
    if not text.startswith("["):
        return None
    try:
        values = json.loads(text, parse_int=float, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(value, str) for value in values):
        raise NotStrings
    return tuple(value if value.isascii() else as_utf8(value) for value in values)


def as_utf8(text: str) -> str:
    """What is no UTF-8, such as half of a surrogate pair, becomes U+FFFD, as in Go."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
