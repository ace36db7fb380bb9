"""How many processes the copies of a build keep busy, as far as that is known before it does any.

Comes in: the vertices that are left, and what the look-up found of those that are next. Goes out:
how many processes will have something to do. They are forked before there are threads.
Read next: `copiers`.
"""

from collections.abc import Container, Sequence

from minibuild.digest import Digest
from minibuild.graph.op import File, LocalSource
from minibuild.graph.vertex import Vertex
from minibuild.solver.keys import readers
from minibuild.solver.layers import LayerPlan
from minibuild.solver.lookup import PrecomputedKey
from minibuild.solver.schedule import Declined
from minibuild.worker.context import BuildContext

_ALL = 1 << 10
"""More processes than are ever made."""


def processes_for(
    left: Sequence[Vertex],
    waiting: Sequence[Declined[PrecomputedKey | None]],
    known: Container[Digest],
    plan: LayerPlan,
    build: BuildContext,
) -> int:
    """How many processes will have something to do: this one, and those that copy. `known` are the
    vertices that have a result."""
    at_once = sum(map(_copies_much, waiting))
    if at_once > 1:
        return at_once
    trees = (v for v in left if v.digest not in plan.unread and v.digest not in known)
    if any(_reads_many(vertex, build) for vertex in trees):
        return _ALL  # Its files are shared.
    return at_once


def _reads_many(vertex: Vertex, build: BuildContext) -> bool:
    """Whether a vertex copies from a context with many files."""
    if not isinstance(vertex.op, File):
        return False
    from minibuild.fileop.share import has_many

    inputs = [vertex.inputs[r.input] for r in readers(vertex.op) if r.input < len(vertex.inputs)]
    names = {one.op.name for one in inputs if one and isinstance(one.op, LocalSource)}
    return any(has_many(build.directories.get(name, "")) for name in names)


def _copies_much(declined: Declined[PrecomputedKey | None]) -> bool:
    """Whether a vertex copies files, more of which have to be read than a look-up reads."""
    op = declined.vertex.op
    return declined.hint is None and isinstance(op, File) and bool(readers(op))
