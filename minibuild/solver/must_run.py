"""Which RUN has to run, found out before anything is done: for hosts that cannot run any.

Comes in: the vertices of a build, and what is known of them. Goes out: the first Exec of which it
is certain that no record will be found. What stands on a step that is to be done has a key all the
same, if that step's key takes no more than the files of contexts: so a RUN behind a changed COPY is
found out too. One behind a `COPY --from` of a stage that is to be done may turn out to be known
yet, and is left to its turn. Read next: `lookup`.
"""

from collections.abc import Callable, Mapping, Sequence

from minibuild.cache.results import VertexResult
from minibuild.digest import Digest
from minibuild.graph.op import Exec, File
from minibuild.graph.vertex import Vertex
from minibuild.solver.keys import ReadyVertex, canonical_reads
from minibuild.solver.lookup import Answer


def first_to_run(
    vertices: Sequence[Vertex],
    known: Mapping[Digest, VertexResult],
    ask: Callable[[ReadyVertex], Answer],
) -> Vertex | None:
    """The first Exec that has to run, if one is certain to. `vertices` have their inputs first."""
    known = dict(known)
    for vertex in vertices:
        if vertex.digest in known or any(v and v.digest not in known for v in vertex.inputs):
            continue
        ready, op = ReadyVertex.of(vertex, known), vertex.op
        if isinstance(op, Exec) and ready.must_execute:
            return vertex
        answer = ask(ready)
        if answer.result is not None:
            known[vertex.digest] = answer.result
        elif isinstance(op, Exec | File) and answer.precomputed is not None:
            key, read = answer.precomputed
            if canonical_reads(ready, op, read.parts):
                continue  # The contents of a result may give it another key, with a record.
            if isinstance(op, Exec):
                return vertex
            known[vertex.digest] = VertexResult((), key, key)
    return None
