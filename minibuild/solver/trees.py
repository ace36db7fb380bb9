"""Inputs of a vertex as something that can be read: an open directory, for as long as needed.

A copy may read from a context (a directory of this machine, seen through its ignore patterns) or
from a result (a snapshot that is mounted for the occasion).
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from minibuild.cache.results import Result
from minibuild.digest import Digest
from minibuild.errors import DefinitionError, located
from minibuild.fileop.api import SourceTree
from minibuild.graph.op import LocalSource
from minibuild.graph.vertex import Vertex
from minibuild.solver.workbench import Voice, Workbench
from minibuild.startup.tuples import NamedTuple


class Solved(NamedTuple):
    """A vertex that is done: its result, and the canonical key by which others know it.

    `fresh` says that it was executed on request although a record may exist; `cached`, that it
    came from one, and `origin` from whose, if that was another machine's. Of a local source nothing
    is kept: it is read where it is used. `pin` is the digest of what came from the web: the commit
    of a repository, the sha256 of a file.
    """

    result: Result
    key: Digest | None
    fresh: bool = False
    cached: bool = False
    local: LocalSource | None = None
    origin: str = ""
    pin: str = ""


@contextmanager
def open_tree(bench: Workbench, solved: Solved | None, voice: Voice) -> Iterator[SourceTree]:
    """The tree of an input, open while the block runs; None is the empty tree."""
    if solved is not None and solved.local is not None:
        with _open_local(bench, solved.local) as tree:
            yield tree
        return
    result = () if solved is None else solved.result
    snapshot = bench.materialiser.snapshot(result, voice.remark)
    with ExitStack() as stack:
        if snapshot is None:
            # An empty directory that nobody else can see or change: the stage is `scratch`.
            snapshot = bench.snapshots.prepare(None)
            stack.callback(bench.snapshots.remove, snapshot)
        yield SourceTree(stack.enter_context(bench.snapshots.tree(snapshot)))


@contextmanager
def _open_local(bench: Workbench, source: LocalSource) -> Iterator[SourceTree]:
    local = bench.local(source.name)
    try:
        fd = os.open(local.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise DefinitionError(
            f"cannot open the context {source.name!r}: {local.path}: {error.strerror}",
            hint="give a directory that exists and can be read",
        ) from error
    try:
        yield SourceTree(
            fd,
            ignore=source.ignore,
            name=source.name,
            ignore_name=local.ignore_name,
            ignore_lines=local.ignore_lines,
            local=True,
        )
    finally:
        os.close(fd)


def input_of(vertex: Vertex, index: int, done: Sequence[Solved | None]) -> Solved | None:
    """Input `index` of a vertex, checked: a graph from outside may be wrong."""
    if not 0 <= index < len(done):
        with located(vertex.note.span):
            raise DefinitionError(f"the operation refers to its input {index}, which is not there")
    return done[index]
