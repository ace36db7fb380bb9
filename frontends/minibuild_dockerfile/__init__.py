"""The Dockerfile frontend: a pure function from a Dockerfile to a graph.

Comes in: the text, build arguments, and a resolver that says what an image is. Goes out: vertices,
image configs, and what the checks found. It reads no file, no environment and no network. The class
below is what the entry point `dockerfile` of `minibuild.frontends` names; a cached build waits for
what is imported, so each of its methods imports its part.
Read in this order: `parse` (text becomes typed instructions), `expand` (variables), `stages` and
`convert` (instructions become a graph), then `copy` and `run` for the two longest of them.
"""

from collections.abc import Mapping
from typing import Any

from minibuild.graph.frontend import (
    Epoch,
    Frontend,
    FrontendRequest,
    FrontendResult,
    ImageResolver,
    Warn,
)


class DockerfileFrontend(Frontend):
    """Dockerfiles, as BuildKit reads them."""

    name = "dockerfile.v0"
    language = "Dockerfile"
    version = "1.20.0"

    def convert(
        self, request: FrontendRequest, resolver: ImageResolver, warn: Warn
    ) -> FrontendResult:
        """The graph of a Dockerfile."""
        from minibuild_dockerfile.convert import convert

        return convert(request, resolver, warn)

    def epoch(self, request: FrontendRequest) -> Epoch:
        """A number; or the time of a context, or of a stage with the one source that has it."""
        given = request.build_args.get("SOURCE_DATE_EPOCH", "0")
        if given.isdecimal() and "SOURCE_DATE_EPOCH" not in request.source.text:
            return super().epoch(request)
        from minibuild_dockerfile.epoch import epoch_of

        return epoch_of(request)

    def subrequest(
        self, method: str, request: FrontendRequest, resolver: ImageResolver, warn: Warn
    ) -> Mapping[str, Any]:
        """The answers of BuildKit's Dockerfile frontend, with the same names of fields."""
        from minibuild_dockerfile.subrequests import lint, outline, targets

        match method:
            case "lint":
                return lint(request, resolver)
            case "outline":
                return outline(request, resolver, warn)
            case "targets":
                return targets(request, warn)
        return super().subrequest(method, request, resolver, warn)
