"""Cutting logical lines into keyword and arguments, by the library dockerfile-parse.

Comes in: logical lines. Goes out: for each of them its keyword, in upper case, and the rest of it.
This is the only module that knows the library. Read next: `grammar`.

What the library does: it takes a file in which each instruction is one line, at the number where it
begins, and says which lines are instructions, the keyword of each and its value.

What it does not do is what `lines` does before, because the library has other rules than BuildKit:
- Joining continuations. The library takes a comment in one for an instruction of its own, ends one
  at a blank line, takes two backslashes for one, and copies the text so far at each line, which for
  a long instruction is time that grows with the square of its lines.
- Heredocs, whose lines it would take for instructions, and the directive `escape`.
- The place of each line within an instruction, which errors mark.

Its answer is checked: where it disagrees with BuildKit on what separates words (a no-break space
does not), BuildKit's rule wins. So a Dockerfile that is read without the library gives the same
instructions; the tests say so. The library imports `logging`, a tenth of the time of a build that
finds all in its cache. So the checked answer is noted, and a Dockerfile that was read before is
cut as it was then.
"""

import json
from io import StringIO

from minibuild.digest import digest_strings
from minibuild.graph.frontend import Notes
from minibuild.startup.tuples import NamedTuple
from minibuild_dockerfile.lines import Logical
from minibuild_dockerfile.words import SEPARATOR, Piece, piece, split_keyword

_NOTE = "split 1"
"""Part of the key of a note: raised when the same text is to be cut in another way."""

_GUARD = "\0"
"""Put after a line whose end the library would take for a continuation."""


class Split(NamedTuple):
    """A logical line in two: the instruction in upper case, and where its arguments are."""

    instruction: str
    keyword: Piece
    rest: Piece


def split_all(logical: tuple[Logical, ...], notes: Notes) -> list[Split]:
    """The instruction and the rest of each logical line, in order."""
    key = digest_strings((_NOTE, *(line.text for line in logical)))
    if (note := notes.find(key)) is not None:
        return [
            _cut(line.text, *cuts) for line, cuts in zip(logical, json.loads(note), strict=True)
        ]
    found = _ask_library(logical)
    splits = [_checked(line, found.get(line.numbers[0])) for line in logical]
    notes.keep(
        key,
        json.dumps([(s.keyword.offset, s.keyword.end, s.rest.offset, s.rest.end) for s in splits]),
    )
    return splits


def _cut(text: str, begin: int, end: int, rest_begin: int, rest_end: int) -> Split:
    keyword = text[begin:end]
    rest = text[rest_begin:rest_end]
    return Split(keyword.upper(), piece(keyword, begin), piece(rest, rest_begin))


def _ask_library(logical: tuple[Logical, ...]) -> dict[int, tuple[str, str]]:
    """What the library makes of the lines: keyword and value by line number."""
    from dockerfile_parse import DockerfileParser

    text = StringIO()
    written = 0
    for line in logical:
        text.write("\n" * (line.numbers[0] - 1 - written))
        guard = _GUARD if line.text.rstrip().endswith(("\\", "`")) else ""
        text.write(f"{line.text}{guard}\n")
        written = line.numbers[0]
    parser = DockerfileParser(fileobj=text, env_replace=False)
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
