"""The ignore file of a build context: its text as patterns.

Comes in: the text of `.dockerignore`, or of the `NAME.dockerignore` that belongs to a Dockerfile.
Goes out: its patterns with their line numbers, cleaned as Docker cleans them, for
`minibuild.graph.ignore.IgnorePatterns`. Rules: docs.docker.com, "Build context", and the reader
in moby/patternmatcher, from which the order of the steps below comes: a comment has its `#` in
the first column, for white space is trimmed only afterwards.
Read next: `minibuild.graph.ignore`.
"""

from minibuild.graph.pattern import clean
from minibuild.startup.tuples import NamedTuple


class IgnoreLine(NamedTuple):
    """One pattern, relative to the root of the context, and the line it stands on."""

    pattern: str
    line: int


def parse(text: str) -> tuple[IgnoreLine, ...]:
    """The patterns of an ignore file, in order."""
    lines = text.removeprefix("\ufeff").split("\n")
    return tuple(
        IgnoreLine(_pattern(line.strip()), number)
        for number, line in enumerate(lines, 1)
        if not line.startswith("#") and line.strip()
    )


def ignore_patterns(text: str) -> tuple[str, ...]:
    """Just the patterns of an ignore file."""
    return tuple(line.pattern for line in parse(text))


def _pattern(text: str) -> str:
    negated = text.startswith("!")
    body = text[negated:].strip()
    if body:
        body = clean(body)
        if len(body) > 1:
            body = body.removeprefix("/")
    return ("!" if negated else "") + body
