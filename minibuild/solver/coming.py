"""The copies that a build will do, as far as that is known before it does any.

Comes in: the vertices that are left, and what the look-up found of those that are next. Goes out:
how many processes will have something to do. They are forked before there are threads.
Read next: `copiers`.
"""

from collections.abc import Mapping, Sequence

from minibuild.cache.results import VertexResult
from minibuild.digest import Digest
from minibuild.graph.op import File, LocalSource
from minibuild.graph.vertex import Vertex
from minibuild.solver.keys import ReadyVertex, readers
from minibuild.solver.layers import LayerPlan
from minibuild.solver.lookup import Lookup, PrecomputedKey
from minibuild.solver.schedule import Declined
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.context import BuildContext


class Coming(NamedTuple):
    """What is asked: the directories of the build, the records, and the results so far."""

    build: BuildContext
    lookup: Lookup
    reached: Mapping[Digest, VertexResult]

    def processes(
        self,
        left: Sequence[Vertex],
        waiting: Sequence[Declined[PrecomputedKey | None]],
        plan: LayerPlan,
        jobs: int,
    ) -> int:
        """How many processes will have something to do: this one, and those that copy or pack."""
        at_once = sum(map(_copies_much, waiting))
        trees = (vertex for vertex in left if vertex.digest not in plan.unread)
        if at_once < 2 and any(map(self._reads_many, trees)):
            return jobs  # Its files are shared.
        if at_once < 2 and any(self._takes_long(one.vertex, plan) for one in waiting):
            return 2  # Its layer is packed while its files are copied.
        return at_once

    def _reads_many(self, vertex: Vertex) -> bool:
        """Whether a vertex that is not done copies from a context with many files."""
        if not isinstance(vertex.op, File) or vertex.digest in self.reached:
            return False
        from minibuild.fileop.share import has_many

        inputs = [
            vertex.inputs[r.input] for r in readers(vertex.op) if r.input < len(vertex.inputs)
        ]
        names = {one.op.name for one in inputs if one and isinstance(one.op, LocalSource)}
        return any(has_many(self.build.directories.get(name, "")) for name in names)

    def _takes_long(self, vertex: Vertex, plan: LayerPlan) -> bool:
        """Whether an output waits for the layer of a copy that changed little, and is large."""
        if not isinstance(vertex.op, File) or vertex.digest not in plan.layered:
            return False
        from minibuild.solver.last_copy import takes_long

        last = self.lookup.last_like(ReadyVertex.of(vertex, self.reached), vertex.op)
        return last is not None and takes_long(self.build.worker, last)


def _copies_much(declined: Declined[PrecomputedKey | None]) -> bool:
    """Whether a vertex copies files, more of which have to be read than a look-up reads."""
    op = declined.vertex.op
    return declined.hint is None and isinstance(op, File) and bool(readers(op))
