"""The keys of a vertex in a running build: what `cachekey` computes, with the contents read.

Contexts are always read: their files are what the person changes between builds. Results of other
steps are read only when a fast key has no record.
"""

from collections.abc import Sequence

from minibuild.cache.results import VertexResult
from minibuild.digest import Digest
from minibuild.errors import BuildError, located
from minibuild.fileop.api import SourceTree
from minibuild.fileop.checksum import (
    DigestMemo,
    changed_since,
    content_digests,
    tree_digests,
)
from minibuild.graph.op import (
    BindMount,
    CacheMount,
    Copy,
    Exec,
    File,
)
from minibuild.graph.vertex import Vertex
from minibuild.progress.writer import ProgressWriter
from minibuild.solver.cachekey import Contents, Part, read_part
from minibuild.solver.trees import input_of, open_input
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.context import BuildContext

Reader = Copy | BindMount | CacheMount
"""A part of an op that reads an input."""


def readers(op: File | Exec) -> list[Reader]:
    """What reads inputs besides the base."""
    if isinstance(op, File):
        return [action for action in op.actions if isinstance(action, Copy)]
    return [m for m in op.mounts if isinstance(m, BindMount | CacheMount) and m.input >= 0]


def is_pure(vertex: Vertex | None) -> bool:
    """Whether a vertex is made of its definition alone, as the files of a heredoc are.

    Its key says all that its contents would, so nobody needs to read it.
    """
    return vertex is None or (isinstance(vertex.op, File) and not any(vertex.inputs))


def only_contexts(op: File, done: Sequence[VertexResult | None]) -> bool:
    """Whether a copy reads contexts and nothing else."""
    found = [done[r.input] if 0 <= r.input < len(done) else None for r in readers(op)]
    return bool(found) and all(s is not None and s.local is not None for s in found)


def names_of(vertex: Vertex, op: File | Exec) -> list[str]:
    """What people call the parts of a vertex's keys."""
    return [_name(vertex, reader, number) for number, reader in enumerate(readers(op))]


class PrecomputedKey(NamedTuple):
    """Parts of a fast key that opened nothing, a time before they were read, and the key, which
    has no record."""

    parts: list[Part]
    since_ns: int
    key: Digest


def must_execute(vertex: Vertex, inputs: Sequence[VertexResult | None]) -> bool:
    """Whether a record would be ignored: on request, or because the base was made anew."""
    return vertex.note.ignore_cache or bool(inputs and inputs[0] and inputs[0].forced)


def fast_parts(
    build: BuildContext,
    vertex: Vertex,
    done: Sequence[VertexResult | None],
    progress: ProgressWriter,
    digests: DigestMemo | None = None,
) -> list[Part]:
    """The parts of the fast key: contents of contexts, keys of everything else. `digests` are
    those of files that are known, if not those of the store."""
    assert isinstance(vertex.op, File | Exec)
    parts = []
    for name, reader in zip(names_of(vertex, vertex.op), readers(vertex.op), strict=True):
        solved = input_of(vertex, reader.input, done)
        if solved is not None and solved.local is not None and _by_contents(reader):
            parts.append(read_part(name, _read(build, vertex, reader, done, progress, digests)))
        else:
            parts.append(Part(name, None if solved is None else solved.key))
    return parts


def canonical_parts(
    build: BuildContext,
    vertex: Vertex,
    done: Sequence[VertexResult | None],
    fast: Sequence[Part],
    progress: ProgressWriter,
) -> list[Part]:
    """The parts of the canonical key: those of the fast one, with contents instead of keys."""
    assert isinstance(vertex.op, File | Exec)
    parts = []
    for part, reader in zip(fast, readers(vertex.op), strict=True):
        if (
            part.contents is None
            and _by_contents(reader)
            and not is_pure(vertex.inputs[reader.input])
        ):
            part = read_part(part.name, _read(build, vertex, reader, done, progress))
        parts.append(part)
    return parts


def inputs_unchanged(
    build: BuildContext,
    vertex: Vertex,
    done: Sequence[VertexResult | None],
    parts: Sequence[Part],
    since_ns: int,
    progress: ProgressWriter,
) -> bool:
    """Whether the contexts hold what `parts` say, which were read from them after `since_ns`.

    A person may save a file while a step copies it, or builds from it. What came of that must not
    be found again under the name of what was there before.
    """
    assert isinstance(vertex.op, File | Exec)
    for part, reader in zip(parts, readers(vertex.op), strict=True):
        solved = input_of(vertex, reader.input, done)
        if part.contents is None or solved is None or solved.local is None:
            continue
        with open_input(build, vertex, reader.input, done, progress) as tree:
            what = reader if isinstance(reader, Copy) else reader.source
            if not changed_since(what, tree, since_ns):
                continue
            try:
                now = _digests(reader, tree, build.worker.digests)
            except BuildError:
                return False
            if now != part.contents:
                return False
    return True


def _by_contents(reader: Reader) -> bool:
    # The seed of a cache mount only matters when the cache is made: its contents are no input.
    return not isinstance(reader, CacheMount)


def _read(
    build: BuildContext,
    vertex: Vertex,
    reader: Reader,
    done: Sequence[VertexResult | None],
    progress: ProgressWriter,
    digests: DigestMemo | None = None,
) -> Contents:
    with (
        located(vertex.note.span),
        open_input(build, vertex, reader.input, done, progress) as tree,
    ):
        return _digests(reader, tree, digests or build.worker.digests)


def _digests(reader: Reader, tree: SourceTree, digests: DigestMemo) -> Contents:
    if isinstance(reader, Copy):
        return content_digests(reader, tree, digests)
    return tree_digests(tree, reader.source, digests)


def _name(vertex: Vertex, reader: Reader, number: int) -> str:
    source = vertex.inputs[reader.input]
    label = "scratch" if source is None else source.note.name or type(source.op).__name__
    return f"{number}: {label}"


def base_key(done: Sequence[VertexResult | None]) -> Digest | None:
    """The key of input 0, the base."""
    return done[0].key if done and done[0] is not None else None
