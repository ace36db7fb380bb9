"""Results to elsewhere, after a build that went well.

Comes in: the canonical keys of a build's steps, and the places to export to. Goes out: a document
at each place, with the layers that it names. Of mode `max` all steps go with their layers; of mode
`min` those whose layers are in the image anyway. The others go by their keys alone, which is
enough for steps behind them to be found.

What is packed already is not packed again, what a registry has is not sent, and layers that never
came here (those of a base, say) are mounted or go from registry to registry.
Read next: `document`, `places`.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence

from minibuild.buildkit.definition import OpOutput
from minibuild.buildkit.gojson import as_json
from minibuild.cache.records import StepKeys
from minibuild.cache.results import DiffKey, Result
from minibuild.digest import Digest
from minibuild.errors import StoreError
from minibuild.events import Warned
from minibuild.graph.reference import Reference
from minibuild.layer.convert import recompress
from minibuild.layer.layer import Layer
from minibuild.oci.meter import VertexMeter
from minibuild.oci.parallel import in_parallel
from minibuild.progress.writer import ProgressWriter, task
from minibuild.remotecache.chains import ChainRecord, ContentRoots, record_values, records_of
from minibuild.remotecache.document import CachedLayer, CacheDocument, CachedStep
from minibuild.remotecache.importer import Imports
from minibuild.remotecache.keys import BuildkitKeys
from minibuild.remotecache.places import open_place, place_name, tolerated
from minibuild.remotecache.steps import write_steps
from minibuild.session.request import CachePlace
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.context import BuildContext
from minibuild.worker.worker import Worker

_RULE = "CacheNotExported"
_PACKERS = 4


class KnownStep(NamedTuple):
    """A step by its canonical key, with the keys that lead to it and its result, if that is in a
    cache."""

    canonical: Digest
    keys: tuple[Digest, ...]
    name: str
    result: Result | None


def steps_of(worker: Worker, imports: Imports | None, steps: Sequence[StepKeys]) -> list[KnownStep]:
    """What is known of the steps of a build, by the store or by other caches.

    Keys and names are those of this build and of no other, so that the same build says the same.
    """
    keys: dict[Digest, set[Digest]] = {}
    names: dict[Digest, str] = {}
    for step in steps:
        keys.setdefault(step.canonical, set()).update((step.canonical, step.fast))
        names.setdefault(step.canonical, step.name)
    found = []
    for canonical, name in names.items():
        record = worker.cache.lookup(canonical)
        known = record is not None
        if record is None and imports is not None:
            record, _ = imports.find(canonical)
            known = imports.canonical(canonical) is not None
        if known:
            result = None if record is None else record.result
            found.append(KnownStep(canonical, tuple(sorted(keys[canonical])), name, result))
    return found


class ExportedSteps(NamedTuple):
    """What there is to export: steps under keys of ours, and the keys that BuildKit has for them.
    `final` are the diffs of the images, `elsewhere` are contents that other caches know."""

    steps: Sequence[KnownStep]
    keys: BuildkitKeys
    final: set[DiffKey]
    elsewhere: ContentRoots

    def chosen(self, asked: CachePlace) -> "ExportedSteps":
        """What goes to a place."""
        if asked.mode == "max":
            return self
        parts = [
            step if self.final.issuperset(step.result or ()) else step._replace(result=None)
            for step in self.steps
        ]
        return self._replace(steps=parts)

    def result(self, output: OpOutput, asked: CachePlace) -> Result:
        """The diffs that a place gets for an output of BuildKit's graph; none if none."""
        known = self.keys.result(output)
        result = () if known is None else known.result
        return result if asked.mode == "max" or self.final.issuperset(result) else ()


def send(
    build: BuildContext,
    places: Sequence[CachePlace],
    exported: ExportedSteps,
    near: Sequence[Reference],
) -> None:
    """Export steps to all places; `near` are repositories that have some of the layers. Raises what
    a place raises, unless its errors are to be ignored."""
    for asked in places:
        name = f"exporting cache to {place_name(asked)}"
        with (
            tolerated(build, _RULE, name, ignored=asked.ignore_error),
            task(build.report, name) as progress,
        ):
            _export(build, asked, exported.chosen(asked), near, progress)


def _export(
    build: BuildContext,
    asked: CachePlace,
    exported: ExportedSteps,
    near: Sequence[Reference],
    progress: ProgressWriter,
) -> None:
    document = _document(build, asked, exported)
    if not (document.steps or document.records):
        build.report(Warned(_RULE, f"there is no step to export to {place_name(asked)}"))
        return
    meter = VertexMeter(build.report, progress.vertex)
    place = open_place(asked, build)
    top = write_steps(place, document, build.worker.layers, near, meter, asked)
    progress.remark(
        f"{len(exported.steps)} steps, {len(document.layers)} layers: cache manifest {top.digest}"
    )


def _document(build: BuildContext, asked: CachePlace, exported: ExportedSteps) -> CacheDocument:
    """What a place gets: steps by keys of ours, of BuildKit, or of both."""
    steps = exported.steps if asked.compat != "buildkit" else ()
    outputs = exported.keys.ops() if asked.compat != "minibuild" else ()
    results = [step.result or () for step in steps]
    results += [exported.result(output, asked) for output in outputs]
    writer = DocumentWriter(build.worker, _layers(build, asked, results), results)
    found = writer.steps(steps)
    records: Sequence[ChainRecord] = ()
    if outputs:
        records = records_of(
            exported.keys,
            lambda output: writer.chain(exported.result(output, asked)),
            exported.elsewhere,
        )
    return CacheDocument(tuple(writer.layers), found, tuple(records))


def _layers(
    build: BuildContext, asked: CachePlace, results: Sequence[Result]
) -> dict[DiffKey, Layer]:
    """The layers of results; what cannot be had any more is left out."""
    worker, kind = build.worker, asked.compression or "gzip"
    pending = [key for result in results for key in result]
    wanted: dict[DiffKey, None] = {}
    while pending:
        if (key := pending.pop()) not in wanted:
            wanted[key] = None
            pending.extend(worker.diffs.get(key).base)

    def pack(key: DiffKey) -> Layer | None:
        try:
            layer = build.materialiser.layer(key, kind, asked.level)
        except StoreError:
            return None
        if not asked.force_compression:
            return layer
        worker.layers.fetch(layer)
        return recompress(worker.content, layer, kind, asked.level)

    keys = list(wanted)
    packed = in_parallel(pack, keys, _PACKERS)
    return {key: layer for key, layer in zip(keys, packed, strict=True) if layer is not None}


class DocumentWriter:
    """Gives the layers of results their numbers in a document: each comes after those that it was
    made on. One that is no blob, and what stands on it, has none.

    With an epoch that is the time of all layers, as it is in the history of an image. When a layer
    was made is said of those that `results` end with. For a layer of a base it is not: this store
    knows only when it came here.
    """

    def __init__(
        self,
        worker: Worker,
        known: Mapping[DiffKey, Layer],
        results: Iterable[Result],
        epoch: int | None = None,
    ) -> None:
        self.layers: list[CachedLayer] = []
        self._worker = worker
        self._known = known
        self._epoch = epoch
        self._numbers: dict[DiffKey, int] = {}
        self._tops = {result[-1] for result in results if result}

    def steps(self, steps: Sequence[KnownStep]) -> tuple[CachedStep, ...]:
        """Steps with the numbers of their layers."""
        made = []
        for step in steps:
            numbers = None if step.result is None else self._place_all(step.result)
            made.append(CachedStep(step.canonical, step.keys, step.name, numbers))
        return tuple(made)

    def chain(self, result: Result) -> tuple[tuple[int, ...], float]:
        """The numbers of a result, and when its last layer was made."""
        numbers = self._place_all(result)
        return (numbers, self._created(result[-1])) if numbers else ((), 0.0)

    def _place_all(self, result: Result) -> tuple[int, ...] | None:
        placed = all(self._place(key) for key in result)
        return tuple(self._numbers[key] for key in result) if placed else None

    def _place(self, key: DiffKey) -> bool:
        """Give a diff a number, after those that it was made on; False if one has no blob."""
        pending = [key]  # no recursion: any number of layers may stand on each other
        while pending and (key := pending[-1]) in self._known:
            base = self._worker.diffs.get(key).base
            if unplaced := [other for other in reversed(base) if other not in self._numbers]:
                pending.extend(unplaced)  # the lowest comes next
            elif pending.pop() not in self._numbers:
                below = tuple(self._numbers[other] for other in base)
                plain = not base or self._worker.diffs.get(base[-1]).base == base[:-1]
                created = self._created(key) if key in self._tops else None
                self._numbers[key] = len(self.layers)
                parent, others = below[-1] if below else -1, None if plain else below
                self.layers.append(CachedLayer(self._known[key], parent, others, created))
        return not pending

    def _created(self, key: DiffKey) -> float:
        return self._worker.diffs.get(key).created if self._epoch is None else float(self._epoch)


def inline_records(
    worker: Worker, exported: ExportedSteps, image: Result, epoch: int | None = None
) -> str:
    """The records that BuildKit reads in the config of an image. Layers are known by their numbers
    in the image."""
    numbers = {key: number for number, key in enumerate(image)}

    def chain(output: OpOutput) -> tuple[tuple[int, ...], float]:
        known = exported.keys.result(output)
        result = () if known is None else known.result
        if not result or not all(key in numbers for key in result):
            return (), 0.0
        created = worker.diffs.get(result[-1]).created if epoch is None else float(epoch)
        return tuple(numbers[key] for key in result), created

    values = record_values(
        records_of(exported.keys, chain, exported.elsewhere),
        0,
        lambda found: list(found) == list(range(len(found))),
    )
    return base64.b64encode(as_json(values)).decode()
