"""The keys of a build's vertices, and what they open: records of the store, or another machine's.

Comes in: what a key is made of. Goes out: keys, and a `VertexResult` for a key that has a record.
Read next: `step`.
"""

from collections.abc import Iterator, Mapping, Sequence

from minibuild.cache.records import Cache, RemoteCache, StepKeys
from minibuild.cache.results import VertexResult
from minibuild.digest import Digest
from minibuild.graph.op import Exec, File
from minibuild.graph.vertex import Vertex
from minibuild.solver.cachekey import Part, shape_key, step_key


class Keyring:
    """Keys of one build. `salt` keeps them apart from normal ones while an old defect is being
    shown."""

    def __init__(self, cache: Cache, remote_cache: RemoteCache | None, salt: str) -> None:
        self._cache = cache
        self._remote_cache = remote_cache
        self._salt = salt
        self._fast: dict[Digest, Digest] = {}
        self.remote = remote_cache is not None

    def fast(
        self, vertex: Vertex, op: Exec | File, base: Digest | None, parts: Sequence[Part]
    ) -> Digest:
        """The fast key of a vertex, which is remembered for those who tell others of it."""
        key = self.canonical(op, base, parts)
        self._fast[vertex.digest] = key
        return key

    def canonical(self, op: Exec | File, base: Digest | None, parts: Sequence[Part]) -> Digest:
        """The key of a vertex by parts that say all."""
        return self.salted(step_key(op, base, parts))

    def shape(self, op: File, base: Digest | None) -> Digest:
        """What all keys of a copy have in common, whatever it reads."""
        return self.salted(shape_key(op, base))

    def salted(self, key: Digest) -> Digest:
        """Any key, as this build knows it."""
        return Digest(f"{key}+{self._salt}") if self._salt else key

    def find(self, key: Digest) -> VertexResult | None:
        """What the store has for a key, or another machine's cache."""
        record, origin = self._cache.lookup(key), ""
        if record is None and self._remote_cache is not None:
            record, origin = self._remote_cache.find(key)
        if record is None:
            return None
        return VertexResult(record.result, record.canonical, cached=True, origin=origin)

    def of(
        self, vertices: Sequence[Vertex], found: Mapping[Digest, VertexResult]
    ) -> Iterator[StepKeys]:
        """The keys of all vertices that have one."""
        for vertex in vertices:
            solved = found.get(vertex.digest)
            if solved is not None and solved.key is not None:
                fast = self._fast.get(vertex.digest, solved.key)
                yield StepKeys(solved.key, fast, vertex.note.name)
