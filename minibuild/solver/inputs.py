"""Inputs of a vertex as something that can be read: an open directory, and what a step reads of it.

A copy may read from a context (a directory of this machine, seen through its ignore patterns) or
from a result (a snapshot that is mounted for the occasion). What it reads is part of its key.
Comes in: a vertex whose inputs are solved. Goes out: open trees, and their contents.
Read next: `fileop.select`, `fileop.checksum`.
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from minibuild.cache.records import Record
from minibuild.cache.results import VertexResult
from minibuild.digest import Digest, digest_json
from minibuild.errors import BuildError, DefinitionError, located, os_errors_as
from minibuild.graph.op import Copy, Exec, File, GitSource, HttpSource, ImageSource, LocalSource
from minibuild.graph.vertex import IgnoreRules, Vertex, plain
from minibuild.solver.keys import (
    Contents,
    Part,
    Reader,
    ReadyVertex,
    canonical_parts,
    canonical_reads,
    fast_parts,
    fast_reads,
    readers,
    reads_only_contexts,
)
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.context import BuildContext

if TYPE_CHECKING:
    from minibuild.cache.materialise import Tell
    from minibuild.fileop.api import SourceTree
    from minibuild.fileop.digest_cache import DigestCache
    from minibuild.fileop.hasher import SourceLook

# --- Open trees ---


@contextmanager
def open_input(build: BuildContext, ready: ReadyVertex, index: int) -> "Iterator[SourceTree]":
    """The tree of input `index` of a vertex, open while the block runs."""
    found, tell = ready.input(index), build.progress(ready.vertex.digest).remark
    with open_tree(build, ready.vertex.inputs[index], found, tell) as tree:
        yield tree


@contextmanager
def open_tree(
    build: BuildContext, vertex: Vertex | None, found: VertexResult | None, tell: "Tell"
) -> "Iterator[SourceTree]":
    """The tree of a vertex that is done, open while the block runs; None is the empty tree."""
    ignored = (vertex.note.ignored if vertex else None) or IgnoreRules()
    if found is not None and found.local is not None:
        with open_directory(build.directory(found.local.name), found.local, ignored) as tree:
            yield tree
        return
    snapshots = build.worker.snapshots
    snapshot = build.materialiser.snapshot(() if found is None else found.result, tell)
    with ExitStack() as stack:
        if snapshot is None:
            # An empty directory that no other process sees or changes: the stage is `scratch`.
            snapshot = snapshots.prepare(None)
            stack.callback(snapshots.remove, snapshot)
        fd = stack.enter_context(snapshots.tree(snapshot))
        name = "context" if ignored.patterns else _name(vertex)
        from minibuild.fileop.api import SourceTree

        yield SourceTree(fd, name=name, ignored=ignored, owners=snapshots.owners(snapshot))


@contextmanager
def open_directory(path: str, source: LocalSource, ignored: IgnoreRules) -> "Iterator[SourceTree]":
    """The directory behind a local source, open while the block runs."""
    from minibuild.fileop.api import SourceTree

    what = f"cannot open the context {source.name!r}: {path}"
    with os_errors_as(DefinitionError, what, "give a directory that exists and can be read"):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield SourceTree(fd, source.ignore, source.name, ignored, local=True)
    finally:
        os.close(fd)


def _name(vertex: Vertex | None) -> str:
    """What people call the tree of a vertex."""
    if vertex is None:
        return "the empty stage"
    if isinstance(vertex.op, ImageSource):
        return f"the image {vertex.op.ref}"
    if isinstance(vertex.op, HttpSource | GitSource):
        from minibuild.graph.address import without_credentials

        return without_credentials(vertex.op.url)
    return f"the stage {vertex.note.stage}" if vertex.note.stage else ""


# --- Contents ---


class ReadParts(NamedTuple):
    """Parts of a fast key, a time before they were read, and what was seen of the sources of a
    copy."""

    parts: list[Part]
    since_ns: int
    look: "SourceLook | None" = None


def read_fast_parts(
    build: BuildContext, ready: ReadyVertex, op: File | Exec, digests: "DigestCache | None" = None
) -> ReadParts:
    """The parts of a vertex's fast key. `digests` are those of files that are known, if not those
    of the store. Raises `DefinitionError` for what is not there, as the step would."""
    since_ns, reads, look = time.time_ns(), fast_reads(ready, op), None
    if reads and isinstance(op, File):
        from minibuild.fileop.hasher import SourceLook

        look = SourceLook()
    return ReadParts(
        fast_parts(ready, op, _read(build, ready, reads, digests, look)), since_ns, look
    )


def read_canonical_parts(
    build: BuildContext, ready: ReadyVertex, op: File | Exec, fast: Sequence[Part]
) -> list[Part]:
    """The parts of a vertex's canonical key; `fast` are those of its fast one."""
    return canonical_parts(fast, _read(build, ready, canonical_reads(ready, op, fast)))


def _read(
    build: BuildContext,
    ready: ReadyVertex,
    wanted: Mapping[int, Reader],
    digests: "DigestCache | None" = None,
    look: "SourceLook | None" = None,
) -> dict[int, Contents]:
    contents = {}
    for number, reader in wanted.items():
        with located(ready.vertex.note.span), open_input(build, ready, reader.input) as tree:
            known = digests or build.worker.digests
            contents[number] = contents_of(reader, tree, known, build.cancelled, look)
    return contents


def inputs_unchanged(
    build: BuildContext, ready: ReadyVertex, op: File | Exec, parts: Sequence[Part], since_ns: int
) -> bool:
    """Whether the contexts hold what `parts` say, which were read from them after `since_ns`.

    A person may save a file while a step copies it, or builds from it. What came of that must not
    be found again under the name of what was there before.
    """
    for part, reader in zip(parts, readers(op), strict=True):
        if part.contents is None or not ready.is_context(reader.input):
            continue
        from minibuild.fileop.checksum import changed_since

        with open_input(build, ready, reader.input) as tree:
            what = reader if isinstance(reader, Copy) else reader.source
            if not changed_since(what, tree, since_ns):
                continue
            try:
                now = contents_of(reader, tree, build.worker.digests, build.cancelled)
            except BuildError:
                return False
            if now != part.contents:
                return False
    return True


def contents_of(
    reader: Reader,
    tree: "SourceTree",
    digests: "DigestCache",
    cancelled: threading.Event,
    look: "SourceLook | None" = None,
) -> Contents:
    """What a reader reads of an open tree; if it is a copy, `look` has what was seen."""
    from minibuild.fileop.checksum import content_digests, tree_digests

    if isinstance(reader, Copy):
        return content_digests(reader, tree, digests, cancelled, look)
    return tree_digests(tree, reader.source, digests, cancelled)


# --- Directories whose states have names ---


def revision_key(ready: ReadyVertex, revisions: Mapping[str, str], version: str) -> Digest | None:
    """The key of a vertex that does nothing but copy from directories in states that have names, by
    those of the contexts; None for others. A server that keeps the folders of its clients knows
    when nothing came since the last build. The key leads to the record that the key made of
    contents leads to, beside which it is saved, and no file has to be looked at."""
    op = ready.vertex.op
    if not revisions or not isinstance(op, File) or not reads_only_contexts(ready, op):
        return None
    if ready.must_execute or ready.on_forced:
        return None
    states = []
    for action in op.actions:
        assert isinstance(action, Copy)
        found, vertex = ready.input(action.input), ready.vertex.inputs[action.input]
        if found is None or found.local is None or found.local.name not in revisions:
            return None
        ignored = (vertex.note.ignored if vertex else None) or IgnoreRules()
        states.append([revisions[found.local.name], found.local.ignore, ignored.patterns])
    return digest_json(
        {"version": version, "copy": plain(op), "base": ready.base_key, "revisions": states}
    )


def find_revision(build: BuildContext, key: Digest | None) -> VertexResult | None:
    """What the store has for a `revision_key`."""
    record = None if key is None else build.worker.cache.lookup(key)
    if record is None:
        return None
    return VertexResult(record.result, record.canonical, record.canonical, cached=True)


def save_revision(
    build: BuildContext, key: Digest | None, found: VertexResult | None, name: str
) -> None:
    """Let such a key lead to what was found in the store by the contents."""
    if key is not None and found is not None and found.key is not None and not found.origin:
        build.worker.cache.save({key}, Record(found.key, found.result), name)
