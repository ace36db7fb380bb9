"""The keys that BuildKit has for the steps of one build.

Comes in: the targets of a build and, as it goes on, results. Goes out: for each op its digest and
those of what it reads, as far as they are known. Contexts are read when they are asked for; of a
result only what is there as files already, or what a step is about to read anyway.

Files of a context may change while the build runs. A key of the new files must not lead to what
was made of the old ones, so what changed since the build began has no key.
Read next: `chains`, for what caches have under these keys.
"""

import threading
import time
from collections.abc import Sequence
from functools import reduce

from minibuild.buildkit.cachekeys import (
    CONTENTS,
    Dependency,
    KeyedGraph,
    OpKey,
    Selector,
    image_key,
    keyed_graph,
    record_key,
    source_key,
)
from minibuild.buildkit.definition import OpOutput
from minibuild.cache.results import VertexResult
from minibuild.digest import Digest, digest_bytes
from minibuild.errors import BuildError, Cancelled
from minibuild.fileop.digest_cache import is_since
from minibuild.graph.op import ImageSource, LocalSource
from minibuild.graph.vertex import Vertex, topological
from minibuild.remotecache.checksums import Checksums
from minibuild.solver.inputs import open_tree
from minibuild.worker.context import BuildContext


class BuildkitKeys:
    """Keys of the ops behind `targets`. Safe in threads."""

    def __init__(
        self,
        build: BuildContext,
        targets: Sequence[Vertex | None],
        cache_namespace: str = "",
        since_ns: int | None = None,
    ) -> None:
        self._build = build
        self._since_ns = time.time_ns() if since_ns is None else since_ns
        self.graph: KeyedGraph = keyed_graph(targets, cache_namespace)
        self.vertices: dict[OpOutput, Vertex] = {
            self.graph.outputs[vertex.digest]: vertex for vertex in topological(targets)
        }
        self.outputs: list[OpOutput] = self._outputs()
        self._results: dict[Digest, VertexResult] = {}
        self._contents: dict[tuple[OpOutput, tuple[Selector, ...]], Digest | None] = {}
        self._reading = threading.RLock()
        self.version = 0
        """Grows whenever something is known that was not before."""

    def _outputs(self) -> list[OpOutput]:
        """All outputs that are a vertex or an input, each after what its op reads."""
        used = {d.output for op in self.graph.ops.values() for d in op.inputs}
        order = {name: number for number, name in enumerate(self.graph.ops)}
        return sorted({*used, *self.vertices}, key=lambda o: (order[o.digest], o.number))

    def op(self, output: OpOutput) -> OpKey:
        """The op of an output."""
        return self.graph.ops[output.digest]

    def ops(self) -> list[OpOutput]:
        """The outputs of ops, without those of sources."""
        return [output for output in self.outputs if self.op(output).digest is not None]

    def learn(self, vertex: Vertex | None, result: VertexResult | None) -> None:
        """A vertex is done."""
        if vertex is not None and result is not None and vertex.digest not in self._results:
            self._results[vertex.digest] = result
            if isinstance(vertex.op, ImageSource):
                self.version += 1

    def covers(self, targets: Sequence[Vertex | None]) -> bool:
        """Whether these are keys of such targets."""
        return all(v is None or v.digest in self.graph.outputs for v in targets)

    def result(self, output: OpOutput) -> VertexResult | None:
        """What is known of the vertex that is this output."""
        vertex = self.vertices.get(output)
        return None if vertex is None else self._results.get(vertex.digest)

    def origins(self, output: OpOutput) -> set[str]:
        """The caches that what an op gave came from. One that has an output of the op knows its
        inputs, also where this output was of no use."""
        outputs = (other for other in self.outputs if other.digest == output.digest)
        results = (self.result(other) for other in outputs)
        return {known.origin for known in results if known is not None and known.origin}

    def roots(self, output: OpOutput) -> list[Digest]:
        """The digests of records of an op without inputs, which it has by itself."""
        op = self.op(output)
        if op.digest is not None:
            return [record_key(op.digest, output.number)]
        vertex = self.vertices.get(output)
        source = None if vertex is None else vertex.op
        if not isinstance(source, ImageSource):
            return []  # What is there now, a client or a server has to say.
        names = {source.ref.partition("@")[2], source.digest} - {""}
        found = [image_key(name, source.platform) for name in sorted(names)]
        found += [source_key(chain) for chain in self._chain_ids(output)]
        return [record_key(digest, output.number) for digest in found]

    def _chain_ids(self, output: OpOutput) -> list[str]:
        known = self.result(output)
        if known is None or not known.result:
            return []
        rows = [self._build.worker.diffs.get(key) for key in known.result]
        ids = [Digest(row.layer.diff_id) for row in rows if row.layer is not None]
        if len(ids) != len(rows):
            return []
        # The ChainID of image-spec config.md.
        return [reduce(lambda below, top: digest_bytes(f"{below} {top}".encode()), ids)]

    def contents(self, dependency: Dependency, *, read: bool = False) -> Digest | None:
        """The record of what an op reads of an input, if that counts and is known. With `read`
        the files of a result are read, if they have to be."""
        if dependency.contents is None:
            return None
        place = dependency.output, dependency.contents
        if place not in self._contents:
            vertex = self.vertices.get(dependency.output)
            if vertex is None or not (read or isinstance(vertex.op, LocalSource)):
                return None
            result = self._local(vertex) or self._results.get(vertex.digest)
            if result is None:
                return None
            with self._reading:
                if place not in self._contents:
                    self._contents[place] = self._read(vertex, result, dependency.contents)
                    self.version += 1
        digest = self._contents[place]
        return None if digest is None else record_key(digest, CONTENTS)

    def read_results(self) -> None:
        """Have all contents count that ops read of results whose files are here."""
        for dependency in (d for op in self.graph.ops.values() for d in op.inputs):
            result = self.result(dependency.output)
            if result is not None and self._build.materialiser.is_here(result.result):
                self.contents(dependency, read=True)

    @staticmethod
    def _local(vertex: Vertex) -> VertexResult | None:
        op = vertex.op
        return VertexResult((), None, local=op) if isinstance(op, LocalSource) else None

    def _read(
        self, vertex: Vertex, result: VertexResult, selectors: Sequence[Selector]
    ) -> Digest | None:
        tell = self._build.progress(vertex.digest).remark
        try:
            with open_tree(self._build, vertex, result, tell) as tree:
                sums = Checksums(tree, self._build.cancelled)
                digest = sums.digest(selectors)
        except Cancelled:
            raise
        except (BuildError, OSError):
            return None  # The step that reads it says what is wrong, if anything is.
        if result.local is not None and is_since(sums.newest_ns, self._since_ns):
            return None
        return digest
