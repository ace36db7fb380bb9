"""The frontend of graphs that were made in Python: there is nothing to read any more.

Comes in: a graph in its flat form. Goes out: the same as vertices, each image that it names without
a digest resolved. Read next: `graph.state`, which makes such graphs.
"""

from minibuild.graph.flat import FlatGraph, rebuilt
from minibuild.graph.frontend import (
    Built,
    Frontend,
    FrontendRequest,
    FrontendResult,
    ImageResolver,
    Warn,
)
from minibuild.graph.op import ImageSource, Op


class GraphFrontend(Frontend):
    """Takes a graph that is there already."""

    name = ""

    def __init__(self, graph: FlatGraph) -> None:
        self._graph = graph

    def convert(
        self, request: FrontendRequest, resolver: ImageResolver, warn: Warn
    ) -> FrontendResult:
        """The vertices of the graph."""

        def resolved(op: Op) -> Op:
            if isinstance(op, ImageSource) and not op.digest:
                return resolver.resolve(op.ref, op.platform).source
            return op

        config = self._graph.config
        return FrontendResult((Built(config.platform, rebuilt(self._graph, resolved), config),))
