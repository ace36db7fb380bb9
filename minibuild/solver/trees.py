"""Inputs of a vertex as something that can be read: an open directory, for as long as needed.

A copy may read from a context (a directory of this machine, seen through its ignore patterns) or
from a result (a snapshot that is mounted for the occasion). Read next: `fileop.select`.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from minibuild.cache.results import VertexResult
from minibuild.errors import DefinitionError, located
from minibuild.fileop.api import SourceTree
from minibuild.graph.address import without_credentials
from minibuild.graph.op import GitSource, HttpSource, ImageSource, LocalSource
from minibuild.graph.vertex import IgnoreRules, Vertex
from minibuild.progress.writer import ProgressWriter
from minibuild.worker.context import BuildContext


@contextmanager
def open_input(
    build: BuildContext,
    vertex: Vertex,
    index: int,
    done: Sequence[VertexResult | None],
    progress: ProgressWriter,
) -> Iterator[SourceTree]:
    """The tree of input `index` of a vertex, open while the block runs."""
    found = input_of(vertex, index, done)
    with open_tree(build, vertex.inputs[index], found, progress) as tree:
        yield tree


@contextmanager
def open_tree(
    build: BuildContext,
    vertex: Vertex | None,
    done: VertexResult | None,
    progress: ProgressWriter,
) -> Iterator[SourceTree]:
    """The tree of a vertex that is done, open while the block runs; None is the empty tree."""
    ignored = (vertex.note.ignored if vertex else None) or IgnoreRules()
    if done is not None and done.local is not None:
        with _open_local(build, done.local, ignored) as tree:
            yield tree
        return
    snapshots = build.worker.snapshots
    snapshot = build.materialiser.snapshot(() if done is None else done.result, progress.remark)
    with ExitStack() as stack:
        if snapshot is None:
            # An empty directory that nobody else can see or change: the stage is `scratch`.
            snapshot = snapshots.prepare(None)
            stack.callback(snapshots.remove, snapshot)
        fd = stack.enter_context(snapshots.tree(snapshot))
        name = "context" if ignored.patterns else _name(vertex)
        yield SourceTree(fd, name=name, ignored=ignored)


@contextmanager
def _open_local(
    build: BuildContext, source: LocalSource, ignored: IgnoreRules
) -> Iterator[SourceTree]:
    path = build.directory(source.name)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise DefinitionError(
            f"cannot open the context {source.name!r}: {path}: {error.strerror}",
            hint="give a directory that exists and can be read",
        ) from error
    try:
        yield SourceTree(fd, source.ignore, source.name, ignored, local=True)
    finally:
        os.close(fd)


def _name(vertex: Vertex | None) -> str:
    """What people call the tree of a vertex."""
    if vertex is None:
        return "the empty stage"
    match vertex.op:
        case ImageSource() as op:
            return f"the image {op.ref}"
        case HttpSource() | GitSource() as op:
            return without_credentials(op.url)
    return f"the stage {vertex.note.stage}" if vertex.note.stage else ""


def input_of(
    vertex: Vertex, index: int, done: Sequence[VertexResult | None]
) -> VertexResult | None:
    """Input `index` of a vertex, checked: a graph from outside may be wrong."""
    if not 0 <= index < len(done):
        with located(vertex.note.span):
            raise DefinitionError(f"the operation refers to its input {index}, which is not there")
    return done[index]
