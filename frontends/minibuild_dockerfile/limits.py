"""Limits that no real Dockerfile reaches: they keep a hostile one from taking all memory and time.

Comes in: counts and sizes. Goes out: an error with the line that is too much. A few lines can stand
for more than any memory holds (`ENV a=$a$a` fifty times), and all that is made of a Dockerfile is
held several times: as a variable, in the history, in the name of a step.
Read next: `lexer`, which counts what it expands.
"""

from minibuild.errors import SourceText, Span
from minibuild_dockerfile.errors import DockerfileError

MOST_INSTRUCTIONS = 100_000
"""An image has an entry in its history for each. Registries refuse configs long before that."""

MOST_LINE_BYTES = 65_535
"""Of one line, without what ends it. BuildKit reads no longer ones."""

MOST_WORDS = 100_000
"""Of one instruction."""

MOST_EXPANDED = 16 << 20
"""Characters that all variables of a file may stand for, and what is kept of them."""


class Budget:
    """What is left for one conversion."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MOST_EXPANDED

    def take(self, size: int, span: Span) -> None:
        """Count what was made of some lines. Raises `DockerfileError` if it is too much."""
        self.left -= size
        if self.left < 0:
            raise too_much(span)


def too_much(span: Span) -> DockerfileError:
    """The error about lines that stand for too much."""
    return DockerfileError(
        f"the variables up to here stand for more than {MOST_EXPANDED >> 20} MiB",
        span,
        hint="a variable that holds itself twice doubles with every line",
    )


def check_words(count: int, span: Span) -> None:
    """Raise `DockerfileError` if one instruction has too many words."""
    if count > MOST_WORDS:
        raise DockerfileError(
            f"the instruction has more than {MOST_WORDS} words",
            span,
            hint="put what they say into a file, and COPY that",
        )


def check_instructions(count: int, span: Span) -> None:
    """Raise `DockerfileError` if there are too many instructions."""
    if count > MOST_INSTRUCTIONS:
        raise DockerfileError(
            f"there are more than {MOST_INSTRUCTIONS} instructions up to here",
            span,
            hint="set several variables in one ENV, and do the work of many lines in one RUN",
        )


def check_lines(source: SourceText) -> None:
    """Raise `DockerfileError` about the first line that is too long."""
    for number, line in enumerate(source.text.split("\n"), 1):
        if len(line.encode("utf-8", "surrogateescape")) > MOST_LINE_BYTES:
            raise DockerfileError(
                f"dockerfile line greater than max allowed size of {MOST_LINE_BYTES}",
                Span(source.name, number, number),
                hint="put what it says into a file and COPY that, or continue it on other lines",
            )
