"""Results to elsewhere, after a build that went well.

Comes in: the canonical keys of a build's steps, and the places to export to. Goes out: a document
at each place, with the layers that it names. Of mode `max` all steps go with their layers; of mode
`min` those whose layers are in the image anyway. The others go by their keys alone, which is
enough for steps behind them to be found.

What is packed already is not packed again, what a registry has is not sent, and layers that never
came here (those of a base, say) are mounted or go from registry to registry.
Read next: `document`, `places`.
"""

from collections.abc import Sequence

from minibuild.cache.records import StepKeys
from minibuild.cache.results import DiffKey, Result
from minibuild.digest import Digest
from minibuild.errors import BuildError, Cancelled, StoreError
from minibuild.events import Warned
from minibuild.graph.reference import Reference
from minibuild.layer.convert import recompress
from minibuild.layer.layer import Layer
from minibuild.oci.meter import VertexMeter
from minibuild.oci.parallel import in_parallel
from minibuild.progress.writer import ProgressWriter, task
from minibuild.remotecache.document import CachedLayer, CacheDocument, CachedStep
from minibuild.remotecache.importer import Imports
from minibuild.remotecache.places import open_place, place_name
from minibuild.remotecache.steps import write_steps
from minibuild.session.request import CachePlace
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.context import BuildContext
from minibuild.worker.worker import Worker

_RULE = "CacheNotExported"
_PACKERS = 4


class Departure(NamedTuple):
    """What an export works with. `near` are repositories that have some of the layers."""

    build: BuildContext
    near: tuple[Reference, ...] = ()


class Known(NamedTuple):
    """A step by its canonical key, with the keys that lead to it and its result, if that is in a
    cache."""

    canonical: Digest
    keys: tuple[Digest, ...]
    name: str
    result: Result | None


def steps_of(worker: Worker, imports: Imports | None, steps: Sequence[StepKeys]) -> list[Known]:
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
            found.append(Known(canonical, tuple(sorted(keys[canonical])), name, result))
    return found


def send(
    departure: Departure, places: Sequence[CachePlace], steps: Sequence[Known], final: set[DiffKey]
) -> None:
    """Export steps to all places; `final` are the diffs of the images. Raises what a place raises,
    unless its errors are to be ignored."""
    for asked in places:
        name = f"exporting cache to {place_name(asked)}"
        try:
            with task(departure.build.report, name) as progress:
                _export(departure, asked, steps, final, progress)
        except Cancelled:
            raise
        except BuildError as error:
            if not asked.ignore_error:
                raise
            departure.build.report(Warned(_RULE, f"{name}: {error}"))


def _export(
    departure: Departure,
    asked: CachePlace,
    steps: Sequence[Known],
    final: set[DiffKey],
    progress: ProgressWriter,
) -> None:
    chosen = steps if asked.mode == "max" else [_without_others(step, final) for step in steps]
    document = document_of(departure.build.worker, chosen, _layers(departure, asked, chosen))
    if not document.steps:
        departure.build.report(Warned(_RULE, f"there is no step to export to {place_name(asked)}"))
        return
    build = departure.build
    meter = VertexMeter(build.report, progress.vertex)
    source = departure.build.worker.layers
    place = open_place(asked, build.registries, build.cancelled, build.report)
    top = write_steps(place, document, source, departure.near, meter, drop=asked.reset)
    progress.remark(
        f"{len(document.steps)} steps, {len(document.layers)} layers: cache manifest {top.digest}"
    )


def _without_others(step: Known, final: set[DiffKey]) -> Known:
    """A step with its result only if that is part of an image."""
    whole = step.result is not None and final.issuperset(step.result)
    return step if whole else step._replace(result=None)


def _layers(
    departure: Departure, asked: CachePlace, steps: Sequence[Known]
) -> dict[DiffKey, Layer]:
    """The layers of the steps; what cannot be had any more is left out."""
    diffs, kind = departure.build.worker.diffs, asked.compression or "gzip"
    pending = [key for step in steps for key in step.result or ()]
    wanted: dict[DiffKey, None] = {}
    while pending:
        if (key := pending.pop()) not in wanted:
            wanted[key] = None
            pending.extend(diffs.get(key).base)

    def pack(key: DiffKey) -> Layer | None:
        try:
            layer = departure.build.materialiser.layer(key, kind, asked.level)
        except StoreError:
            return None
        if not asked.force_compression:
            return layer
        worker = departure.build.worker
        worker.layers.fetch(layer)
        return recompress(worker.content, layer, kind, asked.level)

    keys = list(wanted)
    packed = in_parallel(pack, keys, _PACKERS)
    return {key: layer for key, layer in zip(keys, packed, strict=True) if layer is not None}


def document_of(
    worker: Worker,
    steps: Sequence[Known],
    known: dict[DiffKey, Layer],
    epoch: int | None = None,
) -> CacheDocument:
    """The document about these steps. One with a layer that is no blob goes by its keys alone. With
    an epoch that is the time of all layers, as it is in the history of an image."""
    # When a layer of a base came to be known here is no business of others.
    tops = {step.result[-1] for step in steps if step.result}
    layers: list[CachedLayer] = []
    numbers: dict[DiffKey, int] = {}

    def place(key: DiffKey) -> bool:
        """Give a diff a number, after those that it was made on; False if one has no blob."""
        row = worker.diffs.get(key)
        if key in numbers:
            return True
        if key not in known or not all(map(place, row.base)):
            return False
        base = tuple(numbers[below] for below in row.base)
        numbers[key] = len(layers)
        created = None if key not in tops else row.created if epoch is None else float(epoch)
        layers.append(CachedLayer(known[key], base, created))
        return True

    made = []
    for step in steps:
        chain: tuple[int, ...] | None = None
        if step.result is not None and all(place(key) for key in step.result):
            chain = tuple(numbers[key] for key in step.result)
        made.append(CachedStep(step.canonical, step.keys, step.name, chain))
    return CacheDocument(tuple(layers), tuple(made))
