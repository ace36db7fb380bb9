"""The time that SOURCE_DATE_EPOCH names by its source: a commit, a file from the web, an archive.

Comes in: the vertex that a frontend makes of SOURCE_DATE_EPOCH. Goes out: seconds. The files of a
source have its time, so the newest of them says what it is: git trees are checked out with the
times of their commit for it.
Read next: `minibuild_dockerfile.epoch`.
"""

import stat
from collections.abc import Mapping

from minibuild.cache.results import VertexResult
from minibuild.digest import Digest
from minibuild.fileop.walk import walk
from minibuild.graph.context import unpacked
from minibuild.graph.op import GitSource, HttpSource, Op
from minibuild.graph.vertex import Vertex
from minibuild.solver.inputs import open_tree
from minibuild.solver.solver import Solver
from minibuild.source.source import Sources
from minibuild.worker.context import BuildContext


def time_of(source: Vertex, build: BuildContext, sources: Sources) -> int | None:
    """The time of a source in seconds since 1970, None if it has none. Raises what fetching raises.

    What a server says counts more than the files of an archive that it served.
    """
    solver = Solver(build, sources)
    for vertex in _candidates(source):
        dated = _with_commit_times(vertex)
        newest = _newest(dated, solver.solve([dated]).results, build)
        if newest is not None:
            return newest
    return None


def _candidates(source: Vertex) -> list[Vertex]:
    served = [source, *(above for above in source.inputs if above is not None)]
    files = [vertex for vertex in served if isinstance(vertex.op, HttpSource)]
    if isinstance(source.op, HttpSource):
        return [source, unpacked(source, source.op.filename)]
    return [*files, source]


def _with_commit_times(vertex: Vertex) -> Vertex:
    op: Op = vertex.op
    if isinstance(op, GitSource):
        return Vertex(op._replace(mtime="commit"), (), vertex.note)
    inputs = [None if above is None else _with_commit_times(above) for above in vertex.inputs]
    return Vertex(op, inputs, vertex.note)


def _newest(
    vertex: Vertex, solved: Mapping[Digest, VertexResult], build: BuildContext
) -> int | None:
    """The newest time of a file, if any has one."""
    tell = build.progress(vertex.digest).remark
    with open_tree(build, vertex, solved[vertex.digest], tell) as tree:
        times = [
            int(found.stat.st_mtime) for found in walk(tree.fd) if stat.S_ISREG(found.stat.st_mode)
        ]
    return max(times, default=0) or None
