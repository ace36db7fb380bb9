"""The frontend of graphs that were made in Python: there is nothing to read any more.

Comes in: a graph in its flat form. Goes out: the same as vertices, with what only the build knows:
which image a name means, and which context. As with a Dockerfile, a named context counts more than
an image of that name. Read next: `graph.state`, which makes such graphs.
"""

from collections.abc import Mapping, Sequence

from minibuild.errors import DefinitionError
from minibuild.graph.context import context_vertex, copied
from minibuild.graph.flat import FlatGraph, rebuilt
from minibuild.graph.frontend import (
    Built,
    Context,
    Frontend,
    FrontendRequest,
    FrontendResult,
    ImageContext,
    ImageResolver,
    LocalContext,
    Warn,
)
from minibuild.graph.op import ImageSource, LocalSource
from minibuild.graph.platform import Platform
from minibuild.graph.reference import familiar_name
from minibuild.graph.vertex import IgnoreRules, Vertex


class GraphFrontend(Frontend):
    """Takes graphs that are there already, one for each platform."""

    name = ""

    def __init__(self, graphs: Sequence[FlatGraph]) -> None:
        self._graphs = graphs

    def convert(
        self, request: FrontendRequest, resolver: ImageResolver, warn: Warn
    ) -> FrontendResult:
        """The vertices of the graphs."""
        sources = _Sources(request, resolver)
        return FrontendResult(tuple(_built(graph, sources) for graph in self._graphs))


def _built(graph: FlatGraph, sources: "_Sources") -> Built:
    said = tuple(
        one._replace(vertex=rebuilt(steps, sources.found)) for steps, one in graph.attestations
    )
    return Built(graph.config.platform, rebuilt(graph, sources.found), graph.config, said)


class _Sources:
    """What the names in a graph mean in this build."""

    def __init__(self, request: FrontendRequest, resolver: ImageResolver) -> None:
        self._request = request
        self._resolver = resolver
        self._images = {familiar_name(name): context for name, context in request.contexts.items()}

    def found(self, vertex: Vertex) -> Vertex | None:
        """The vertex itself, unless it is a name. Without the cache it is one to be done again."""
        op = vertex.op
        if isinstance(op, ImageSource) and not op.digest:
            context = self._images.get(familiar_name(op.ref))
            if context is None:
                return self._image(op.ref, op.platform, vertex)
            return self._instead(context, op, vertex)
        if isinstance(op, LocalSource):
            return self._tree(self._contexts.get(op.name), op, vertex)
        if self._request.no_cache_all:
            return Vertex(op, vertex.inputs, vertex.note._replace(ignore_cache=True))
        return vertex

    @property
    def _contexts(self) -> Mapping[str, Context]:
        return {"context": self._request.context, **self._request.contexts}

    def _image(self, ref: str, platform: Platform, vertex: Vertex) -> Vertex:
        source = self._resolver.resolve(ref, platform).source
        return Vertex(source, (), vertex.note)

    def _instead(self, context: Context, op: ImageSource, vertex: Vertex) -> Vertex | None:
        """A context in place of an image. A folder can only be read, so steps run on a copy."""
        if isinstance(context, ImageContext):
            return self._of_image(context, op.platform, vertex)
        tree = context_vertex(context, op.ref, self._request.build_args, vertex.note.span)
        return copied(tree, note=vertex.note) if isinstance(tree.op, LocalSource) else tree

    def _of_image(self, context: ImageContext, on: Platform, vertex: Vertex) -> Vertex | None:
        return None if context.is_scratch else self._image(context.url, on, vertex)

    def _tree(self, context: Context | None, op: LocalSource, vertex: Vertex) -> Vertex | None:
        """A context that the graph names as such, with the patterns that the graph gives."""
        if context is None:
            raise DefinitionError(
                f"there is no context {op.name!r}",
                hint=f"the build has {', '.join(sorted(self._contexts))}: see build(contexts=...)",
            )
        if isinstance(context, ImageContext):
            return self._of_image(context, self._request.platforms[0], vertex)
        if isinstance(context, LocalContext):
            return Vertex(LocalSource(context.name, op.ignore), (), vertex.note)
        context = context._replace(ignore=IgnoreRules(op.ignore))
        return context_vertex(context, op.name, self._request.build_args, vertex.note.span)
