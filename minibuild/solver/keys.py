"""Cache keys: what a vertex depends on, and nothing else. Nothing here reads a file.

Comes in: a vertex, the results of its inputs, and the contents of what it copies or mounts. Goes
out: what has to be read, a key, and the parts it is made of.

What a vertex depends on is of two kinds. The *base* of a step (the root filesystem of an Exec,
the tree a File works on) is known by its key: it was made by steps whose keys say everything.
What is *copied or mounted* is known by its contents: the digest of what the step would read
(paths, types, modes, owners, data; never times). So touching a file changes nothing, a stage that
was built again with the same outcome changes nothing, and files that no step reads do not count.

Reading contents has a price where they are the result of another step. So every vertex has two
keys: a *fast* one, in which such inputs count by their keys, and a *canonical* one, in which they
count by their contents. Contexts are read for both: their files are what a person changes between
builds. A fast key that has a record saves the reading; the canonical key is what later steps
depend on, and it is the same whichever way it was found. BuildKit calls the two definition-based
and content-based.
Read next: `lookup`.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import assert_never

from minibuild.cache.results import Result, VertexResult
from minibuild.digest import DiffID, Digest, digest_json, digest_strings
from minibuild.errors import DefinitionError, located
from minibuild.graph.op import (
    BindMount,
    CacheMount,
    Copy,
    Exec,
    File,
    Mkdir,
    Mkfile,
    Op,
    Rm,
    SecretMount,
    SshMount,
    Symlink,
    TmpfsMount,
)
from minibuild.graph.vertex import Vertex, plain
from minibuild.startup.tuples import NamedTuple

VERSION = "2"
"""Part of every key: raised when a step of equal definition would give another result."""

Contents = tuple[str, ...]
"""What a step reads from one input: path, NUL, and the digest of everything about it; sorted."""

Reader = Copy | BindMount | CacheMount
"""A part of an op that reads an input besides the base."""


class ReadyVertex(NamedTuple):
    """A vertex whose inputs are solved, with their results; None is scratch."""

    vertex: Vertex
    inputs: tuple[VertexResult | None, ...]

    @classmethod
    def of(cls, vertex: Vertex, results: Mapping[Digest, VertexResult]) -> "ReadyVertex":
        """A vertex with the results of its inputs, out of those of all vertices."""
        return cls(vertex, tuple(None if v is None else results[v.digest] for v in vertex.inputs))

    @property
    def base(self) -> Result:
        """The result of input 0, on which a step stands."""
        return self.inputs[0].result if self.inputs and self.inputs[0] else ()

    @property
    def base_key(self) -> Digest | None:
        """The key of input 0."""
        return self.inputs[0].key if self.inputs and self.inputs[0] else None

    @property
    def on_forced(self) -> bool:
        """Whether an input was made again on request; its key may be that of other contents."""
        return any(found.forced for found in self.inputs if found)

    @property
    def must_execute(self) -> bool:
        """Whether a record would be ignored: on request, or because the base was made again."""
        base = self.inputs[0] if self.inputs else None
        return self.vertex.note.ignore_cache or bool(base and base.forced)

    def input(self, index: int) -> VertexResult | None:
        """Input `index`, checked: a graph from outside may be wrong."""
        if not 0 <= index < len(self.inputs):
            with located(self.vertex.note.span):
                raise DefinitionError(
                    f"the operation refers to its input {index}, which is not there"
                )
        return self.inputs[index]

    def is_context(self, index: int) -> bool:
        """Whether input `index` is a directory of this machine, and no result."""
        found = self.input(index)
        return found is not None and found.local is not None


class Part(NamedTuple):
    """What one input adds to a key: the digest of its contents where they are known, else its own
    key (None: scratch)."""

    name: str
    identity: Digest | None = None
    contents: Contents | None = None


def pairs(contents: Sequence[str]) -> Iterator[list[str]]:
    """Each path of what a step reads, and the digest of everything about it."""
    return (line.split("\0") for line in contents)


def read_part(name: str, contents: Contents) -> Part:
    """The part of an input whose contents were read. They are hashed here and not again for each
    of the keys that the part goes into."""
    return Part(name, digest_strings(chain.from_iterable(pairs(contents))), contents)


# --- Parts ---


def readers(op: File | Exec) -> list[Reader]:
    """What reads inputs besides the base."""
    found: list[Reader] = []
    for part in op.actions if isinstance(op, File) else op.mounts:
        match part:
            case Copy() | BindMount():
                found.append(part)
            case CacheMount():
                if part.input >= 0:
                    found.append(part)
            case Mkdir() | Mkfile() | Symlink() | Rm() | TmpfsMount() | SecretMount() | SshMount():
                pass
            case _ as unknown:
                assert_never(unknown)
    return found


def fast_reads(ready: ReadyVertex, op: File | Exec) -> dict[int, Reader]:
    """What has to be read for the fast key, by its place among the readers: contexts."""
    return {
        number: reader
        for number, reader in enumerate(readers(op))
        if ready.is_context(reader.input) and _by_contents(reader)
    }


def fast_parts(ready: ReadyVertex, op: File | Exec, contents: Mapping[int, Contents]) -> list[Part]:
    """The parts of the fast key: the `contents` of what was read, keys of everything else."""
    parts = []
    for number, (name, reader) in enumerate(
        zip(part_names(ready.vertex, op), readers(op), strict=True)
    ):
        if number in contents:
            parts.append(read_part(name, contents[number]))
        else:
            found = ready.input(reader.input)
            parts.append(Part(name, None if found is None else found.key))
    return parts


def canonical_reads(ready: ReadyVertex, op: File | Exec, fast: Sequence[Part]) -> dict[int, Reader]:
    """What has to be read for the canonical key besides what was read for the fast one."""
    return {
        number: reader
        for number, (part, reader) in enumerate(zip(fast, readers(op), strict=True))
        if part.contents is None
        and _by_contents(reader)
        and not _is_pure(ready.vertex.inputs[reader.input])
    }


def canonical_parts(fast: Sequence[Part], contents: Mapping[int, Contents]) -> list[Part]:
    """The parts of the canonical key: those of the fast one, with contents instead of keys."""
    return [
        read_part(part.name, contents[number]) if number in contents else part
        for number, part in enumerate(fast)
    ]


def reads_only_contexts(ready: ReadyVertex, op: File) -> bool:
    """Whether a File copies from contexts and does nothing else: its fast key is its canonical
    one."""
    return bool(op.actions) and all(
        isinstance(action, Copy)
        and not action.unpack
        and 0 <= action.input < len(ready.inputs)
        and ready.is_context(action.input)
        for action in op.actions
    )


def outputs(op: Exec | File) -> list[int]:
    """The mounts of an Exec that are results of their own."""
    if isinstance(op, File):
        return []
    return [n for n, mount in enumerate(op.mounts) if isinstance(mount, BindMount) and mount.output]


def part_names(vertex: Vertex, op: File | Exec) -> list[str]:
    """What people call the parts of a vertex's keys."""
    names = []
    for number, reader in enumerate(readers(op)):
        source = vertex.inputs[reader.input] if reader.input < len(vertex.inputs) else None
        label = "scratch" if source is None else source.note.name or type(source.op).__name__
        names.append(f"{number}: {label}")
    return names


def _by_contents(reader: Reader) -> bool:
    # The seed of a cache mount only matters when the cache is made: its contents are no input.
    return not isinstance(reader, CacheMount)


def _is_pure(vertex: Vertex | None) -> bool:
    """Whether a vertex is made of its definition alone, as the files of a heredoc are: its key
    says all that its contents would, so they need not be read."""
    return vertex is None or (isinstance(vertex.op, File) and not any(vertex.inputs))


# --- Keys ---


def step_key(
    op: Exec | File, base: Digest | None, parts: Sequence[Part], version: str = VERSION
) -> Digest:
    """The key of an Exec or File on the base `base` that reads `parts` from other inputs."""
    return digest_json(
        {
            "version": version,
            "op": plain(by_effect(op, parts)),
            "base": base,
            "parts": [part.identity or "scratch" for part in parts],
        }
    )


def shape_key(op: File, base: Digest | None, version: str = VERSION) -> Digest:
    """What the keys of a copy have in common, whatever files it reads: equal keys are of equal
    shape. `op` only copies."""
    parts = [read_part("", ()) for _ in op.actions]
    return digest_strings(("shape", step_key(op, base, parts, version)))


def image_key(diff_ids: Sequence[DiffID]) -> Digest:
    """The key of an image's root filesystem: its layers, whatever the image is called."""
    return digest_strings(("image", VERSION, *diff_ids))


def merge_key(inputs: Sequence[VertexResult | None]) -> Digest:
    """The key of a Merge: its inputs in order, no contents needed."""
    return digest_strings(("merge", VERSION, *_keys(inputs)))


def mount_key(step: Digest, mount: int) -> Digest:
    """The key of what a step left in one of its mounts."""
    return digest_strings(("mount", VERSION, step, str(mount)))


def diff_key(inputs: Sequence[VertexResult | None], version: str = VERSION) -> Digest:
    """The key of a Diff: its two inputs."""
    return digest_strings(("diff", version, *_keys(inputs)))


def _keys(inputs: Sequence[VertexResult | None]) -> list[str]:
    return [(found.key if found else None) or "scratch" for found in inputs]


def by_effect(op: Exec | File, parts: Sequence[Part]) -> Op:
    """The op without what counts only through the contents it selects.

    Patterns of `--exclude` are such: leaving out a file that was never there changes nothing. They
    count where the contents were not read, for the input's own key does not know of them.
    """
    if not isinstance(op, File):
        return op
    rest = iter(parts)
    actions = []
    for action in op.actions:
        if isinstance(action, Copy):
            part = next(rest, None)
            if part is not None and part.contents is not None:
                action = action._replace(exclude=())
        actions.append(action)
    return File(tuple(actions))
