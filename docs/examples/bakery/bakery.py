"""A frontend for recipes, a language of four words, as an example of one that is not built in.

    # syntax=bakery
    base busybox
    take src/app.sh to /app.sh
    bake chmod +x /app.sh
    serve /app.sh

Comes in: a recipe. Goes out: a graph and an image config. Install it beside minibuild
(`pip install docs/examples/bakery`), and `minibuild build` reads each Dockerfile that names it.
"""

from minibuild.errors import DefinitionError, Span
from minibuild.graph.context import context_vertex
from minibuild.graph.frontend import (
    Built,
    Finding,
    Frontend,
    FrontendRequest,
    FrontendResult,
    ImageContext,
    ImageResolver,
    Warn,
)
from minibuild.graph.image import ContainerConfig
from minibuild.graph.platform import Platform
from minibuild.graph.state import State, image, scratch


class Bakery(Frontend):
    """What the entry point names: the engine makes one object of it for a build."""

    name = "bakery"
    language = "Recipe"

    def convert(
        self, request: FrontendRequest, resolver: ImageResolver, warn: Warn
    ) -> FrontendResult:
        """The graph of a recipe, for each platform that is asked for."""
        if "\nserve " not in request.source.text:
            span = Span(request.source.name, 1, 1)
            warn(Finding("NothingServed", "the recipe does not say what to serve", span))
        return FrontendResult(
            tuple(_baked(request, resolver, platform) for platform in request.platforms)
        )


def _baked(request: FrontendRequest, resolver: ImageResolver, platform: Platform) -> Built:
    state, config = scratch(), ContainerConfig(Labels=dict(request.labels))
    for number, line in enumerate(request.source.text.splitlines(), 1):
        word, _, rest = line.strip().partition(" ")
        match word:
            case "" | "#":
                continue
            case "base":
                state = image(rest, resolver, platform)
            case "take":
                source, _, dest = rest.partition(" to ")
                state = state.copy(_context(request), source, dest)
            case "bake":
                state = state.run(rest)
            case "serve":
                config["Cmd"] = ["/bin/sh", "-c", rest]
            case _:
                raise DefinitionError(
                    f"unknown word in a recipe: {word}",
                    hint="there are base, take, bake and serve",
                    span=Span(request.source.name, number, number),
                )
    return state.built(platform, config)


def _context(request: FrontendRequest) -> State:
    """The files that the build was given."""
    assert not isinstance(request.context, ImageContext)
    return State(context_vertex(request.context, "", request.build_args, None))
