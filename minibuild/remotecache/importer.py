"""Results from the caches of other machines, for steps that this store does not know.

Comes in: the places that a build may look into, in the order of preference. Goes out: records, as
if they were the store's own. A place is read when the store lacks a step for the first time, so a
build that is cached here asks no place. Then two documents come, and no layer: a record's layers
are diffs that exist as blobs somewhere else, and are fetched when a step or an output needs them.

A record is kept in the store once all its layers are here, by whatever way; until then it is good
for this build alone. Whatever goes wrong with a place is a warning: a cache that is missing costs
time, and never the build.
Read next: `exporter`; `minibuild.solver.lookup`, which asks for them.
"""

import threading
from collections.abc import Sequence

from minibuild.cache.records import Record
from minibuild.cache.results import DiffKey, Result
from minibuild.digest import Digest
from minibuild.errors import BuildError, Cancelled
from minibuild.events import Warned
from minibuild.progress.writer import task
from minibuild.remotecache.document import CacheDocument, CachedStep
from minibuild.remotecache.places import open_place, place_name
from minibuild.remotecache.steps import read_steps
from minibuild.session.request import CachePlace
from minibuild.worker.context import BuildContext
from minibuild.worker.worker import Worker

_RULE = "CacheNotImported"


class Imports:
    """Implements `RemoteCache` for one build. Safe in threads."""

    def __init__(self, build: BuildContext, places: Sequence[CachePlace]) -> None:
        self._worker = build.worker
        self._build = build
        self._places = places
        self._documents: list[_Document] | None = None
        self._used: dict[Digest, tuple[CachedStep, Result]] = {}
        self._asking = threading.RLock()

    def find(self, key: Digest) -> tuple[Record | None, str]:
        """See `RemoteCache.find`."""
        with self._asking:
            for document in self._read():
                step = document.steps.get(key)
                if step is not None and step.layers is not None:
                    result = document.result(step.layers)
                    self._used[step.canonical] = step, result
                    return Record(step.canonical, result), document.name
        return None, ""

    def canonical(self, key: Digest) -> Digest | None:
        """See `RemoteCache.canonical`."""
        with self._asking:
            found = (document.steps.get(key) for document in self._read())
            return next((step.canonical for step in found if step is not None), None)

    def settle(self) -> None:
        """Keep the records of what has come into the store, for builds that ask no place."""
        here: dict[DiffKey, bool] = {}
        for step, result in self._used.values():
            if all(self._here(key, here) for key in result):
                record = Record(step.canonical, result)
                self._worker.cache.save(set(step.keys), record, step.name)

    def _here(self, key: DiffKey, here: dict[DiffKey, bool]) -> bool:
        """Whether a diff is in the store with all that it was made on; `here` is what is known."""
        if key not in here:
            row = self._worker.diffs.get(key)
            layer = row.layer
            kept = layer is not None and self._worker.content.has(layer.digest, layer.size)
            below = all(self._here(other, here) for other in row.base)
            here[key] = row.upper is not None or (kept and below)
        return here[key]

    def _read(self) -> "list[_Document]":
        if self._documents is None:
            self._documents = [
                _Document(self._worker, place_name(asked), document)
                for asked in self._places
                for document in self._ask(asked)
            ]
        return self._documents

    def _ask(self, asked: CachePlace) -> Sequence[CacheDocument]:
        name = place_name(asked)
        try:
            with task(self._build.report, f"importing cache manifest from {name}"):
                place = open_place(
                    asked, self._build.registries, self._build.cancelled, self._build.report
                )
                return read_steps(place)
        except Cancelled:
            raise
        except BuildError as error:
            self._build.report(Warned(_RULE, f"no cache from {name}: {error}"))
            return ()


class _Document:
    """A document with its steps by all their keys, and its layers as diffs of this store."""

    def __init__(self, worker: Worker, name: str, document: CacheDocument) -> None:
        self.name = name
        self.steps: dict[Digest, CachedStep] = {}
        for step in document.steps:
            for key in step.keys:
                self.steps.setdefault(key, step)
        self._worker = worker
        self._layers = document.layers
        self._diffs: dict[int, DiffKey] = {}

    def result(self, numbers: Sequence[int]) -> Result:
        """Layers of the document as diffs."""
        return tuple(self._diff(number) for number in numbers)

    def _diff(self, number: int) -> DiffKey:
        if number not in self._diffs:
            # Lowest first, so a tower of a thousand layers is no recursion.
            pending = [number]
            while pending:
                below = [n for n in self._layers[pending[-1]].base if n not in self._diffs]
                if below:
                    pending.extend(reversed(below))
                else:
                    self._make(pending.pop())
        return self._diffs[number]

    def _make(self, number: int) -> None:
        if number in self._diffs:
            return
        worker, cached = self._worker, self._layers[number]
        base = tuple(self._diffs[below] for below in cached.base)
        worker.layers.add(cached.layer, cache=self.name)
        for row in worker.diffs.alike(base, cached.layer.diff_id):
            # The same layer is here already, perhaps compressed otherwise.
            if row.upper is not None or (row.layer and worker.layers.present(row.layer)):
                self._diffs[number] = row.key
                return
        self._diffs[number] = worker.cache.layer(base, cached.layer, self.name, cached.created)
