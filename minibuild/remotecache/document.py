"""What travels: which keys lead to which layers.

Comes in: steps and layers. Goes out: a JSON document, and back. It is BuildKit's cache config
(media type application/vnd.buildkit.cacheconfig.v0), and has each step twice: under keys of ours,
and in `chains` of records as BuildKit finds it. BuildKit ignores members that it does not know:
`keys`, further keys of a record of ours, and `base`, the layers that a layer was made on where
these are not just the one below it (`parent`) with all below that. A document without the mark
`minibuild` is of BuildKit, and has chains alone.

A document may come from any account that can write to the place. What is parsed names only layers
that are there, and a layer stands only on layers before it.
Read next: `places`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from minibuild.digest import DiffID, Digest
from minibuild.errors import ImageError
from minibuild.events import rfc3339
from minibuild.layer.layer import Layer
from minibuild.oci.content import BlobSource
from minibuild.oci.document import Member
from minibuild.oci.model import Descriptor, as_oci
from minibuild.remotecache.chains import ChainRecord, parse_records, record_values
from minibuild.startup.tuples import NamedTuple

CACHE_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
MARK = "minibuild"
"""The member that says that the keys are ours; its value is the version of the document."""
_VERSION = 1
_STEPS = "steps"
"""How many records are ours; those behind them are BuildKit's."""


class CachedLayer(NamedTuple):
    """A layer, the layers it was made on (by their numbers), and when a step made it; None for
    those of a base image."""

    layer: Layer
    base: tuple[int, ...]
    created: float | None


class CachedStep(NamedTuple):
    """A step by its canonical key, other keys that lead to it, and its layers by their numbers;
    None if they were not kept."""

    canonical: Digest
    keys: tuple[Digest, ...]
    name: str
    layers: tuple[int, ...] | None


class CacheDocument(NamedTuple):
    """Layers, each after those it was made on; steps by keys of ours, and by those of BuildKit."""

    layers: tuple[CachedLayer, ...]
    steps: tuple[CachedStep, ...] = ()
    records: Sequence[ChainRecord] = ()


def document_value(document: CacheDocument) -> dict[str, Any]:
    """The JSON object of a document."""
    steps = [_step_value(document, step) for step in document.steps]
    return {
        "layers": [_layer_value(document, layer) for layer in document.layers],
        "records": [*steps, *record_values(document.records, len(steps), _stacks(document))],
        **({MARK: _VERSION, _STEPS: len(steps)} if steps or not document.records else {}),
    }


def _stacks(document: CacheDocument) -> Callable[[Sequence[int]], bool]:
    """What says whether the last of some layers stands on just the others, by `parent` alone."""
    plain: list[bool] = []
    for layer in document.layers:
        parent = layer.base[-1] if layer.base else None
        below = () if parent is None else (*document.layers[parent].base, parent)
        plain.append(layer.base == below and (parent is None or plain[parent]))
    return lambda numbers: (
        plain[numbers[-1]] and (document.layers[numbers[-1]].base == tuple(numbers[:-1]))
    )


def document_bytes(document: CacheDocument) -> bytes:
    """A document as it is stored: the same one always gives the same bytes."""
    text = json.dumps(document_value(document), separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogateescape")


def _layer_value(document: CacheDocument, cached: CachedLayer) -> dict[str, Any]:
    parent = cached.base[-1] if cached.base else -1
    value: dict[str, Any] = {"blob": cached.layer.digest, "parent": parent}
    if cached.base and cached.base != (*document.layers[parent].base, parent):
        value["base"] = list(cached.base)
    value["annotations"] = {
        "diffID": cached.layer.diff_id,
        "mediaType": cached.layer.media_type,
        "size": cached.layer.size,
    }
    if cached.created is not None:
        value["annotations"]["createdAt"] = rfc3339(cached.created)
        value["created"] = cached.created
    return value


def _step_value(document: CacheDocument, step: CachedStep) -> dict[str, Any]:
    value: dict[str, Any] = {"digest": step.canonical}
    others = sorted(set(step.keys) - {step.canonical})
    if others:
        value["keys"] = others
    if step.name:
        value["name"] = step.name
    if step.layers is not None:
        newest = max(
            (document.layers[number].created or 0.0 for number in step.layers), default=0.0
        )
        value["chains"] = [{"layers": list(step.layers), "createdAt": rfc3339(newest)}]
    return value


# --- Reading --------------------------------------------------------------------------------------


def parse_cache(
    document: Member, blobs: Mapping[Digest, Descriptor], source: BlobSource, what: str
) -> CacheDocument:
    """The cache in a document, or in a member of one, whose layers are `blobs` of a source. Raises
    `ImageError`."""
    if document[MARK].value != _VERSION:
        raise ImageError(
            f"{what} was written by a newer minibuild",
            hint="its keys mean nothing here: give this one a name of its own",
        )
    layers: list[CachedLayer] = []
    for member in document["layers"].required().items():
        layers.append(_layer(member, layers, blobs, source))
    records = list(document["records"].required().items())
    ours = document[_STEPS].whole(0, len(records)) if _STEPS in document else len(records)
    steps = (_step(member, len(layers)) for member in records[:ours])
    return CacheDocument(tuple(layers), tuple(steps), parse_records(records[ours:], ours))


def _layer(
    member: Member,
    before: list[CachedLayer],
    blobs: Mapping[Digest, Descriptor],
    source: BlobSource,
) -> CachedLayer:
    blob = blobs.get(member["blob"].digest())
    if blob is None:
        raise member["blob"].wrong("is no layer of the manifest")
    parent = member["parent"]
    if "base" in member:
        base = _numbers(member["base"], len(before))
    elif parent.value == -1:
        base = ()
    else:
        below = parent.whole(0, len(before) - 1)
        base = (*before[below].base, below)
    diff_id = DiffID(member["annotations"]["diffID"].digest())
    descriptor = Descriptor(as_oci(blob.media_type), blob.digest, blob.size)
    created = member["created"].seconds() if "created" in member else None
    return CachedLayer(Layer(diff_id, descriptor, source), base, created)


def _step(member: Member, layers: int) -> CachedStep:
    canonical = member["digest"].digest()
    keys = (canonical, *(key.digest() for key in member["keys"].items()))
    chains = list(member["chains"].items())
    numbers = _numbers(chains[0]["layers"], layers) if chains else None
    return CachedStep(canonical, keys, member["name"].text(), numbers)


def _numbers(member: Member, layers: int) -> tuple[int, ...]:
    """Numbers of layers that come before."""
    return tuple(item.whole(0, layers - 1) for item in member.required().items())
