"""The ignore file of a build context: its text as patterns.

Comes in: the text of `.dockerignore`, or of the `NAME.dockerignore` that belongs to a Dockerfile.
Goes out: its patterns with their line numbers, cleaned as Docker cleans them, for
`minibuild.graph.ignore.IgnorePatterns`. Rules: docs.docker.com, "Build context", and the reader
in moby/patternmatcher, from which the order of the steps below comes: a comment has its `#` in
the first column, for white space is trimmed only afterwards.
Read next: `minibuild.graph.ignore`.
"""

from minibuild.graph.pattern import clean
from minibuild.graph.vertex import IgnoreRules


def parse(text: str, name: str = "") -> IgnoreRules:
    """The patterns of the ignore file `name`, in order, relative to the root of the context."""
    lines = text.removeprefix("\ufeff").split("\n")
    written = {
        number: _pattern(line.strip())
        for number, line in enumerate(lines, 1)
        if not line.startswith("#") and line.strip()
    }
    return IgnoreRules(tuple(written.values()), name, tuple(written))


def _pattern(text: str) -> str:
    negated = text.startswith("!")
    body = text[negated:].strip()
    if body:
        body = clean(body)
        if len(body) > 1:
            body = body.removeprefix("/")
    return ("!" if negated else "") + body
