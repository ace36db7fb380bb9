"""Cutting logical lines into keyword and arguments, by the library dockerfile-parse.

Comes in: logical lines. Goes out: for each of them its keyword, in upper case, and the rest of it.
This is the only module that knows the library; `library` loads it. Read next: `grammar`.

The library knows the common case: a keyword, spaces, a value, on a line with a number. What it
does not know never reaches it. `lines` has joined continuations (the library takes a comment in
one for an instruction of its own, ends one at a blank line and takes two backslashes for one),
has cut out heredocs (their lines would be instructions) and directives. So the library gets every
instruction as one line, at the place where it begins, and takes time in proportion to the text;
left to join continuations itself it copies the text so far at each line. Its answer is checked:
where it disagrees with BuildKit on what separates words (a no-break space does not), BuildKit's
rule wins.
"""

from io import StringIO

from minibuild.startup.tuples import NamedTuple
from minibuild_dockerfile.library import parser_class
from minibuild_dockerfile.lines import Logical
from minibuild_dockerfile.words import SEPARATOR, Piece, piece, split_keyword

_GUARD = "\0"
"""Put after a line whose end the library would take for a continuation."""


class Split(NamedTuple):
    """A logical line in two: the instruction in upper case, and where its arguments are."""

    instruction: str
    keyword: Piece
    rest: Piece


def split_all(logical: tuple[Logical, ...]) -> list[Split]:
    """The instruction and the rest of each logical line, in order."""
    found = _ask_library(logical)
    return [_checked(line, found.get(line.numbers[0])) for line in logical]


def _ask_library(logical: tuple[Logical, ...]) -> dict[int, tuple[str, str]]:
    """What the library makes of the lines: keyword and value by line number."""
    text = StringIO()
    written = 0
    for line in logical:
        text.write("\n" * (line.numbers[0] - 1 - written))
        guard = _GUARD if line.text.rstrip().endswith(("\\", "`")) else ""
        text.write(f"{line.text}{guard}\n")
        written = line.numbers[0]
    parser = parser_class()(fileobj=text, env_replace=False)
    return {
        entry["startline"] + 1: (entry["instruction"], entry["value"].removesuffix(_GUARD))
        for entry in parser.structure
    }


def _checked(line: Logical, answer: tuple[str, str] | None) -> Split:
    """The library's answer with its place in the line; our own where it cannot be BuildKit's."""
    if answer:
        instruction, value = answer
        keyword = line.text[: len(instruction)]
        start = len(line.text.rstrip()) - len(value)
        gap = line.text[len(instruction) : start]
        outer = line.text[start + len(value) :]
        if (
            keyword.upper() == instruction
            and line.text.startswith(value, start)
            and (SEPARATOR.fullmatch(gap) or not (gap or value))
            and not outer.strip(" \t")
        ):
            return Split(instruction, piece(keyword, 0), piece(value, start))
    own, rest = split_keyword(line.text)
    return Split(own.text.upper(), own, rest)
