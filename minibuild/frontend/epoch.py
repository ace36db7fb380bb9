"""The time that SOURCE_DATE_EPOCH names by its source: a commit, a file from the web, an archive.

Comes in: a request and what the frontend makes of its SOURCE_DATE_EPOCH. Goes out: the request with
a number in its place, or without it. The files of a source have its time, so the newest of them
says what it is: git trees are checked out with the times of their commit for it.
Read next: `minibuild_dockerfile.epoch`.
"""

import stat
from collections.abc import Mapping
from importlib import import_module

from minibuild.cache.records import Cache
from minibuild.digest import Digest
from minibuild.fileop.walk import walk
from minibuild.graph.frontend import FrontendRequest
from minibuild.graph.op import Copy, File, GitSource, HttpSource, Op
from minibuild.graph.pattern import escape_glob
from minibuild.graph.vertex import Vertex
from minibuild.session.request import BuildRequest
from minibuild.solver.solver import Solver
from minibuild.solver.trees import Solved, open_tree
from minibuild.solver.workbench import Voice, Workbench
from minibuild.source.source import Sources

NAME = "SOURCE_DATE_EPOCH"


def with_epoch(
    request: BuildRequest,
    asked: FrontendRequest,
    bench: Workbench,
    cache: Cache,
    sources: Sources,
) -> BuildRequest:
    """The request with the seconds that are meant. Raises what fetching raises."""
    found = import_module("minibuild_dockerfile.epoch").epoch_of(asked)
    seconds: int | None = found.seconds
    if found.source is not None:
        seconds = _time_of(found.source, Solver(bench, cache, sources), bench)
    arguments = {name: value for name, value in request.build_args.items() if name != NAME}
    if seconds is not None:
        arguments[NAME] = str(seconds)
    return request._replace(build_args=arguments)


def _time_of(source: Vertex, solver: Solver, bench: Workbench) -> int | None:
    """What a server says counts more than the files of an archive that it served."""
    for vertex in _candidates(source):
        dated = _with_commit_times(vertex)
        newest = _newest(dated, solver.solve([dated]), bench)
        if newest is not None:
            return newest
    return None


def _candidates(source: Vertex) -> list[Vertex]:
    served = [source, *(above for above in source.inputs if above is not None)]
    files = [vertex for vertex in served if isinstance(vertex.op, HttpSource)]
    if isinstance(source.op, HttpSource):
        unpack = Copy(1, (escape_glob(source.op.filename),), "/", unpack=True)
        return [source, Vertex(File((unpack,)), (None, source), source.note)]
    return [*files, source]


def _with_commit_times(vertex: Vertex) -> Vertex:
    op: Op = vertex.op
    if isinstance(op, GitSource):
        return Vertex(op._replace(mtime="commit"), (), vertex.note)
    inputs = [None if above is None else _with_commit_times(above) for above in vertex.inputs]
    return Vertex(op, inputs, vertex.note)


def _newest(vertex: Vertex, solved: Mapping[Digest, Solved], bench: Workbench) -> int | None:
    """The newest time of a file, if any has one."""
    voice = Voice(bench.report, vertex.digest)
    with open_tree(bench, solved[vertex.digest], voice) as tree:
        times = [
            int(found.stat.st_mtime) for found in walk(tree.fd) if stat.S_ISREG(found.stat.st_mode)
        ]
    return max(times, default=0) or None
