"""How many processes the copies of a build keep busy, as far as that is known before it does any.

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
from minibuild.worker.context import BuildContext
from minibuild.worker.worker import Worker

_ALL = 1 << 10
"""More processes than are ever made."""


def processes_for(
    left: Sequence[Vertex],
    waiting: Sequence[Declined[PrecomputedKey | None]],
    known: Mapping[Digest, VertexResult],
    plan: LayerPlan,
    build: BuildContext,
    lookup: Lookup,
) -> int:
    """How many processes will have something to do: this one, and those that copy or pack. `known`
    are the results so far."""
    at_once = sum(map(_copies_much, waiting))
    if at_once > 1:
        return at_once
    trees = (v for v in left if v.digest not in plan.unread and v.digest not in known)
    if any(_reads_many(vertex, build) for vertex in trees):
        return _ALL  # Its files are shared.
    layers = (one.vertex for one in waiting if one.vertex.digest in plan.layered)
    if any(_takes_long(ReadyVertex.of(v, known), lookup, build.worker) for v in layers):
        return 2  # Its layer is packed while its files are copied.
    return at_once


def _reads_many(vertex: Vertex, build: BuildContext) -> bool:
    """Whether a vertex copies from a context with many files."""
    if not isinstance(vertex.op, File):
        return False
    from minibuild.fileop.share import has_many

    inputs = [vertex.inputs[r.input] for r in readers(vertex.op) if r.input < len(vertex.inputs)]
    names = {one.op.name for one in inputs if one and isinstance(one.op, LocalSource)}
    return any(has_many(build.directories.get(name, "")) for name in names)


def _takes_long(ready: ReadyVertex, lookup: Lookup, worker: Worker) -> bool:
    """Whether the layer of a copy, of which little changed, takes long to pack."""
    if not isinstance(ready.vertex.op, File):
        return False
    from minibuild.solver.last_copy import takes_long

    last = lookup.last_like(ready, ready.vertex.op)
    return last is not None and takes_long(worker, last)


def _copies_much(declined: Declined[PrecomputedKey | None]) -> bool:
    """Whether a vertex copies files, more of which have to be read than a look-up reads."""
    op = declined.vertex.op
    return declined.hint is None and isinstance(op, File) and bool(readers(op))
