"""The one exception that reading a Dockerfile raises.

Comes in: what is wrong, where, and what to do about it. Goes out: a `DefinitionError` that
always has a span, so that the lines can be shown.
Read next: `parse`.
"""

from minibuild.errors import DefinitionError, Span


class DockerfileError(DefinitionError):
    """A Dockerfile that breaks the rules of its language, and the lines that do."""

    span: Span

    def __init__(self, message: str, span: Span, *, hint: str = "") -> None:
        super().__init__(message, hint=hint, span=span)
