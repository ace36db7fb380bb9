"""Results from the caches of other machines, for steps that this store does not know.

Comes in: the places that a build may look into, in the order of preference. Goes out: records, as
if they were the store's own. A place is read when the store lacks a step for the first time, so a
build that is cached here asks no place. Then two documents come, and no layer: a record's layers
are diffs that exist as blobs somewhere else, and are fetched when a step or an output needs them.

What minibuild wrote is found by keys, what BuildKit wrote by the vertices of the graph. A record is
kept in the store once all its layers are here, by whatever way; until then it is good for this
build alone. Whatever goes wrong with a place is a warning: a cache that is missing costs
time, and never the build.
Read next: `exporter`; `minibuild.solver.lookup`, which asks for them.
"""

import threading
from collections.abc import Callable, Sequence

from minibuild.buildkit.definition import OpOutput
from minibuild.cache.records import Record, RemoteCache
from minibuild.cache.results import DiffKey, Result, VertexResult
from minibuild.digest import Digest
from minibuild.graph.op import ImageSource
from minibuild.graph.vertex import Vertex
from minibuild.progress.writer import task
from minibuild.remotecache.chains import Chains
from minibuild.remotecache.document import CachedLayer, CacheDocument, CachedStep, layers_of
from minibuild.remotecache.keys import BuildkitKeys
from minibuild.remotecache.places import open_place, place_name, tolerated
from minibuild.remotecache.steps import read_steps
from minibuild.session.request import CachePlace
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.context import BuildContext
from minibuild.worker.worker import Worker

_RULE = "CacheNotImported"


class Imports(RemoteCache):
    """The caches of one build."""

    def __init__(
        self,
        build: BuildContext,
        places: Sequence[CachePlace],
        keys_of: Callable[[Sequence[Vertex | None]], BuildkitKeys],
    ) -> None:
        self._worker = build.worker
        self._build = build
        self._places = places
        self._keys_of = keys_of
        self._planned: _PlannedGraph | None = None
        self._keys: BuildkitKeys | None = None
        self._documents: list[_Document] | None = None
        self._used: dict[Digest, tuple[CachedStep, Result]] = {}
        self._asking = threading.RLock()

    def find(self, key: Digest) -> tuple[Record | None, str]:
        with self._asking:
            for document in self._read():
                step = document.steps.get(key)
                if step is not None and step.layers is not None:
                    result = document.result(step.layers)
                    self._used[step.canonical] = step, result
                    return Record(step.canonical, result), document.name
        return None, ""

    def canonical(self, key: Digest) -> Digest | None:
        with self._asking:
            found = (document.steps.get(key) for document in self._read())
            return next((step.canonical for step in found if step is not None), None)

    def plan(
        self, targets: Sequence[Vertex | None], images: Callable[[ImageSource], Result]
    ) -> None:
        with self._asking:
            self._planned, self._keys = _PlannedGraph(targets, images), None

    def find_vertex(
        self,
        vertex: Vertex,
        inputs: Sequence[VertexResult | None],
        key: Digest,
        *,
        contents: bool = False,
    ) -> tuple[Record | None, str] | None:
        keys = self._read_keys()
        if keys is None or vertex.digest not in keys.graph.outputs:
            return None
        for source, result in zip(vertex.inputs, inputs, strict=True):
            keys.learn(source, result)
        output = keys.graph.outputs[vertex.digest]
        if contents:  # Not under the lock: it may take long.
            for dependency in keys.op(output).inputs:
                keys.contents(dependency, read=True)
        with self._asking:
            known: tuple[Record | None, str] | None = None
            for document in self._foreign():
                made = document.find(keys, output)
                if made:
                    self._used[key] = CachedStep(key, (key,), vertex.note.name, ()), made
                    return Record(key, made), document.name
                if made is not None:
                    known = known or (None, document.name)
            return known

    def contents_of(self, keys: BuildkitKeys, output: OpOutput, index: int) -> set[Digest]:
        """What caches say that was read of an input of an output, if what its op gave came from
        them: the files themselves may never come here."""
        if not (origins := keys.origins(output)):
            return set()
        with self._asking:
            chains = [cache.chains for cache in self._read() if cache.name in origins]
            return set().union(*(one.contents_of(keys, output, index) for one in chains))

    def _read_keys(self) -> BuildkitKeys | None:
        """The keys of the planned graph, if a cache is looked up by such."""
        with self._asking:
            if self._keys is None and self._planned is not None and self._foreign():
                self._keys = self._keys_of(self._planned.targets)
                for vertex in self._keys.vertices.values():
                    if isinstance(vertex.op, ImageSource):
                        result = self._planned.images(vertex.op)
                        self._keys.learn(vertex, VertexResult(result, None))
            return self._keys

    def settle(self) -> None:
        """Keep the records of what has come into the store, for builds that ask no place."""
        here: dict[DiffKey, bool] = {}
        for step, result in self._used.values():
            if all(self._here(key, here) for key in result):
                record = Record(step.canonical, result)
                self._worker.cache.save(set(step.keys), record, step.name)

    def _here(self, key: DiffKey, here: dict[DiffKey, bool]) -> bool:
        """Whether a diff is in the store with all that it was made on; `here` is what is known."""
        pending = [key]  # no recursion: a cache may say that each layer was made on one below
        while pending:
            row = self._worker.diffs.get(pending[-1])
            if unknown := [other for other in reversed(row.base) if other not in here]:
                pending.extend(unknown)  # the lowest comes next
                continue
            kept = row.layer is not None and self._worker.content.has(
                row.layer.digest, row.layer.size
            )
            below = all(here[other] for other in row.base)
            here[pending.pop()] = row.upper is not None or (kept and below)
        return here[key]

    def _foreign(self) -> "list[_Document]":
        return [document for document in self._read() if document.is_foreign]

    def _read(self) -> "list[_Document]":
        if self._documents is None:
            self._documents = [
                _Document(self._worker, place_name(asked), document)
                for asked in self._places
                for document in self._ask(asked)
            ]
        return self._documents

    def _ask(self, asked: CachePlace) -> Sequence[CacheDocument]:
        name, found = place_name(asked), tuple[CacheDocument, ...]()
        with (
            tolerated(self._build, _RULE, f"no cache from {name}"),
            task(self._build.report, f"importing cache manifest from {name}"),
        ):
            found = read_steps(open_place(asked, self._build))
        return found


class _PlannedGraph(NamedTuple):
    """The graph of a build, and what its images are."""

    targets: Sequence[Vertex | None]
    images: Callable[[ImageSource], Result]


class _Document:
    """A document with its steps by all their keys, and its layers as diffs of this store, which
    they become as they are used."""

    def __init__(self, worker: Worker, name: str, document: CacheDocument) -> None:
        self.name = name
        self.is_foreign = document.is_foreign
        self.chains = Chains(document.records)
        self.steps: dict[Digest, CachedStep] = {}
        for step in document.steps:
            for key in step.keys:
                self.steps.setdefault(key, step)
        self._worker = worker
        self._layers = document.layers
        self._diffs: dict[int, DiffKey] = {}

    def result(self, numbers: Sequence[int]) -> Result:
        """Layers of the document as diffs, each made on what it stands on."""
        needed, pending = set[int](), list(numbers)
        while pending:
            number = pending.pop()
            if number != -1 and number not in needed and number not in self._diffs:
                needed.add(number)
                cached = self._layers[number]
                pending.extend((cached.parent,) if cached.base is None else cached.base)
        for number in sorted(needed):  # each stands on layers with lower numbers
            cached, base = self._layers[number], tuple[DiffKey, ...]()
            if cached.base is not None:
                base = tuple(self._diffs[other] for other in cached.base)
            elif cached.parent != -1:
                below = self._diffs[cached.parent]
                base = (*self._worker.diffs.get(below).base, below)
            self._diffs[number] = self._on(base, cached)
        return tuple(self._diffs[number] for number in numbers)

    def find(self, keys: BuildkitKeys, output: OpOutput) -> Result | None:
        """What BuildKit's keys lead to, each layer made on all before it; nothing if it was not
        kept, None if nothing is known of it."""
        numbers = self.chains.find(keys, output)
        found = (layers_of(self._layers, self.chains.records[n]) for n in sorted(numbers))
        made: Result = ()
        for cached in next(filter(None, found), ()):
            made = (*made, self._on(made, cached))
        return made if numbers else None

    def _on(self, base: Result, cached: CachedLayer) -> DiffKey:
        """The diff that a layer is on a base."""
        worker, layer = self._worker, cached.layer
        assert layer is not None  # a result with one that is not there is none
        worker.layers.add(layer, cache=self.name)
        for row in worker.diffs.alike(base, layer.diff_id):
            # The same layer is here already, perhaps compressed otherwise.
            if row.upper is not None or (row.layer and worker.layers.present(row.layer)):
                return row.key
        return worker.cache.layer(base, layer, self.name, cached.created)
