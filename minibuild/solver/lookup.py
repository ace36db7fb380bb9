"""Looking a vertex up: what is known of it by the keys of its inputs. Nothing here reads a file.

Comes in: a vertex whose inputs are known, records by key, and a function that reads contexts. Goes
out: an `Answer`. The same look-up serves twice. The solver asks for each vertex before it does any
work. And where caches of other machines are read, `probe` asks for all vertices before the first
of them is done: a vertex with a result needs none of its inputs. So a stage that only feeds a
cached `COPY --from` is neither run nor fetched, on a machine that never built it. BuildKit comes
to the same by asking from the end of the graph. In a store of one's own the results of all stages
lie side by side, and looking each of them up is as cheap.
Read next: `step`, for what no look-up finds.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, assert_never

from minibuild.cache.records import Record, RemoteCache
from minibuild.cache.results import Result, VertexResult
from minibuild.digest import DiffID, Digest
from minibuild.graph.op import (
    Diff,
    Exec,
    File,
    GitSource,
    HttpSource,
    ImageSource,
    LocalSource,
    Merge,
    MountOutput,
)
from minibuild.graph.vertex import Vertex
from minibuild.solver.keys import (
    VERSION,
    ReadyVertex,
    diff_key,
    image_key,
    merge_key,
    mount_key,
    outputs,
    reads_only_contexts,
    shape_key,
    step_key,
)
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from minibuild.solver.inputs import ReadParts


class RecordReader(Protocol):
    """What is kept of earlier builds, by key: see `cache.records.Cache`."""

    def lookup(self, key: Digest) -> Record | None:
        """The record of a key, if everything it points at still exists."""


class PrecomputedKey(NamedTuple):
    """A fast key that has no record, and what it was made of."""

    key: Digest
    read: "ReadParts"


class Answer(NamedTuple):
    """What is known of a vertex: its `result`, or its key alone (not `whole`), or neither. A
    step has its fast key, if that was made, and a Diff its `key`, also without a record."""

    result: VertexResult | None = None
    whole: bool = True
    precomputed: PrecomputedKey | None = None
    key: Digest | None = None


UNKNOWN = Answer()

ReadFast = Callable[[ReadyVertex, Exec | File], "ReadParts | None"]
"""Reads the parts of a fast key; None if that takes too long now, or fails. A failure belongs to
the step that comes to it."""


class Lookup:
    """The look-ups of one build. `images` gives the layers of an image, `salt` keeps the keys of
    steps apart from those of normal builds while an old defect is being shown."""

    def __init__(
        self,
        records: RecordReader,
        images: Callable[[ImageSource], tuple[Result, Sequence[DiffID]]],
        remote: RemoteCache | None = None,
        salt: str = "",
    ) -> None:
        self._records = records
        self._images = images
        self.remote = remote
        self.version = f"{VERSION}+{salt}" if salt else VERSION

    def find(self, key: Digest) -> VertexResult | None:
        """What the store has for a key, or the cache of another machine."""
        record, origin = self._records.lookup(key), ""
        if record is None and self.remote is not None:
            record, origin = self.remote.find(key)
        if record is None:
            return None
        return VertexResult(record.result, record.canonical, key, cached=True, origin=origin)

    def find_step(self, key: Digest, op: Exec | File) -> VertexResult | None:
        """The same for a step. One that lacks what it left in a mount has to be run again."""
        found = self.find(key)
        if found is None or found.key is None:
            return found
        left = (self.find(mount_key(found.key, mount)) for mount in outputs(op))
        return None if None in left else found

    def ask(self, ready: ReadyVertex, read: ReadFast) -> Answer:
        """What is known of a vertex."""
        match ready.vertex.op:
            case LocalSource() as op:
                return Answer(VertexResult((), None, local=op))
            case ImageSource() as op:
                # Known since the frontend asked for its config; its layers stay where they are.
                result, diff_ids = self._images(op)
                return Answer(VertexResult(result, image_key(diff_ids), cached=True))
            case HttpSource() | GitSource():
                return UNKNOWN  # What they are now, a server has to say.
            case Merge():
                return Answer(merged(ready.inputs))
            case MountOutput() as op:
                return self._output(ready, op)
            case Diff():
                if ready.on_forced:
                    return UNKNOWN
                key = diff_key(ready.inputs, self.version)
                return self._by_key(key, self.find(key))._replace(key=key)
            case Exec() | File() as op:
                return self._step(ready, op, read)
            case _ as unknown:
                assert_never(unknown)

    def _step(self, ready: ReadyVertex, op: Exec | File, read: ReadFast) -> Answer:
        # An input that was made again may have kept its key and changed its contents.
        if ready.must_execute or ready.on_forced:
            return UNKNOWN
        done = read(ready, op)
        if done is None:
            return UNKNOWN
        key = step_key(op, ready.base_key, done.parts, self.version)
        answer = self._by_key(key, self.find_step(key, op))
        if answer.result is None or not answer.whole:
            elsewhere = self.find_elsewhere(ready, op, key)
            if elsewhere is not None and (elsewhere.whole or answer.result is None):
                answer = elsewhere
        return answer._replace(precomputed=PrecomputedKey(key, done))

    def last_like(self, ready: ReadyVertex, op: File) -> Result | None:
        """The result of the last copy of the same shape, which may have read most of the same
        files."""
        if ready.must_execute or ready.on_forced or not reads_only_contexts(ready, op):
            return None
        found = self._records.lookup(shape_key(op, ready.base_key, self.version))
        return None if found is None else found.result

    def plan(self, targets: Sequence[Vertex | None]) -> None:
        """Tell the caches of other machines which graph is looked up."""
        if self.remote is not None:
            self.remote.plan(targets, lambda op: self._images(op)[0])

    def find_elsewhere(
        self, ready: ReadyVertex, op: Exec | File, key: Digest, *, contents: bool = False
    ) -> Answer | None:
        """What the caches of other builders know of a step, under keys that are made of the graph.
        A step is known as `key` here."""
        # What a step was made again for may differ, so its users look for its contents alone.
        if self.remote is None or outputs(op) or ready.must_execute or ready.on_forced:
            return None
        found = self.remote.find_vertex(ready.vertex, ready.inputs, key, contents=contents)
        if found is None:
            return None
        record, origin = found
        result = () if record is None else record.result
        known = VertexResult(result, key, key, cached=True, origin=origin)
        return Answer(known, whole=record is not None)

    def _output(self, ready: ReadyVertex, op: MountOutput) -> Answer:
        """What a step left in a mount was recorded with the step, under its key."""
        step = ready.input(0)
        found = None
        if step is not None and step.key is not None:
            found = self.find(mount_key(step.key, op.mount))
            if found is not None:
                found = found._replace(forced=step.forced, cached=step.cached)
        return Answer(found)

    def _by_key(self, key: Digest, found: VertexResult | None) -> Answer:
        if found is None and self.remote is not None:
            canonical = self.remote.canonical(key)
            if canonical is not None:
                return Answer(VertexResult((), canonical, key, cached=True), whole=False)
        return Answer(found)


def merged(inputs: Sequence[VertexResult | None]) -> VertexResult:
    """A merge is its inputs' diffs, one list after the other: nothing to do or to keep."""
    there = [found for found in inputs if found is not None]
    return VertexResult(
        tuple(key for found in there for key in found.result),
        merge_key(inputs),
        forced=any(found.forced for found in there),
        cached=all(found.cached for found in there),
        origin=next((found.origin for found in there if found.origin), ""),
    )


class Probe(NamedTuple):
    """Vertices with a result; what is known of vertices, be it the key alone; and the vertices that
    are left to solve, in order."""

    results: dict[Digest, VertexResult]
    known: dict[Digest, VertexResult]
    left: list[Vertex]


def probe(
    vertices: Sequence[Vertex],
    targets: Sequence[Vertex | None],
    ask: Callable[[ReadyVertex], Answer],
    done: Mapping[Digest, VertexResult],
) -> Probe:
    """What is known of `vertices` (inputs first), and what is left to do for the targets."""
    results, known = dict(done), dict(done)
    for vertex in vertices:
        inputs = [v for v in vertex.inputs if v is not None]
        if vertex.digest in known or any(v.digest not in known for v in inputs):
            continue
        answer = ask(ReadyVertex.of(vertex, known))
        if answer.result is None:
            continue
        known[vertex.digest] = answer.result
        # A merge is nothing but its inputs, so it needs all of them.
        merges = isinstance(vertex.op, Merge)
        if answer.whole and not (merges and any(v.digest not in results for v in inputs)):
            results[vertex.digest] = answer.result
    wanted = {target.digest for target in targets if target is not None}
    for vertex in reversed(vertices):
        if vertex.digest in wanted and vertex.digest not in results:
            wanted.update(v.digest for v in vertex.inputs if v)
    left = [v for v in vertices if v.digest in wanted and v.digest not in results]
    return Probe(results, known, left)
