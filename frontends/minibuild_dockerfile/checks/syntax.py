"""`# syntax=IMAGE`: which frontend a Dockerfile asks for, and what is said if it is not this one.

Comes in: the directive, or the build argument BUILDKIT_SYNTAX, which wins. Goes out: a finding, or
nothing. BuildKit fetches that image and lets it read the file. Here a file comes to this frontend
if no installed one has that name. It knows what `docker/dockerfile` knows up to the version below,
so asking for that changes nothing.
"""

from minibuild.errors import Span
from minibuild.graph.frontend import Finding
from minibuild.startup.regex import regex
from minibuild_dockerfile.instructions import ParsedFile

IMPLEMENTED = (1, 24)
"""The version of docker/dockerfile whose language is understood."""

_BUILT_IN = ("", "dockerfile", "dockerfile.v0")
_NAME = regex(
    r"(?:docker\.io/)?docker/dockerfile(?:-upstream)?"
    r"(?::(?P<tag>[\w.-]+))?(?:@sha256:[0-9a-f]{64})?"
)
_VERSION = regex(r"(\d{1,9})(?:\.(\d{1,9}))?(?:\.\d+)?(?:-.*)?")
_RULE = "UnsupportedSyntax"


def check_syntax(parsed: ParsedFile, argument: str) -> Finding | None:
    """The finding for a frontend that is not the one here; `argument` is BUILDKIT_SYNTAX."""
    directive = parsed.directives.syntax
    span = directive.span if directive else Span(parsed.source.name, 1, 1)
    # What follows the image is for its frontend.
    asked = (argument or (directive.value if directive else "")).split(" ")[0]
    if asked in _BUILT_IN:
        return None
    name = _NAME.fullmatch(asked)
    if name is None:
        message = f"{asked} is not fetched: the file is read as a Dockerfile by minibuild itself"
        return Finding(_RULE, message, span, "Frontends that are images cannot be run")
    version = _VERSION.fullmatch(name["tag"] or "")
    if version is None or (int(version[1]), int(version[2] or 0)) <= IMPLEMENTED:
        return None
    known = ".".join(map(str, IMPLEMENTED))
    message = f"{asked} is newer than the language that minibuild knows, docker/dockerfile:{known}"
    return Finding(_RULE, message, span, "Instructions and flags that are newer are errors")
