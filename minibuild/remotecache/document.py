"""What travels: which keys lead to which layers.

Comes in: steps and layers. Goes out: a JSON document, and back. It is BuildKit's cache config
(media type application/vnd.buildkit.cacheconfig.v0), and has each step twice: under keys of ours,
and in `chains` of records as BuildKit finds it. BuildKit ignores members that it does not know:
`keys`, further keys of a record of ours, and `base`, the layers that a layer was made on where
these are not just the one below it (`parent`) with all below that. A document without the mark
`minibuild` is of BuildKit, and has chains alone; so has what BuildKit puts into an image's config.

A document may come from any account that can write to the place. What is parsed of ours names only
layers that are there, and a layer stands only on layers before it. The numbers of BuildKit's are
checked when they are followed: a result that names layers which are not there counts as none.
Read next: `places`.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from minibuild.digest import DiffID, Digest, InvalidDigest, parse_digest
from minibuild.errors import ImageError
from minibuild.events import rfc3339
from minibuild.layer.layer import Layer
from minibuild.oci.content import BlobSource
from minibuild.oci.document import Member, parse_value
from minibuild.oci.model import Descriptor, Manifest, as_oci
from minibuild.remotecache.chains import ChainRecord, parse_records, record_values
from minibuild.startup.tuples import NamedTuple

CACHE_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
MARK = "minibuild"
"""The member that says that the keys are ours; its value is the version of the document."""
_VERSION = 1
_STEPS = "steps"
"""How many records are ours; those behind them are BuildKit's."""
UNCOMPRESSED = "containerd.io/uncompressed"
"""The annotation of a layer that says its diff id."""
CREATED_AT = "buildkit/createdat"


class CachedLayer(NamedTuple):
    """A layer, None if it is not there; the number of that below it, -1 if there is none; and when
    a step made it, None for those of a base image. `base` are the layers that it was made on, where
    these are not just the one below it with all below that."""

    layer: Layer | None
    parent: int = -1
    base: tuple[int, ...] | None = None
    created: float | None = None


class CachedStep(NamedTuple):
    """A step by its canonical key, other keys that lead to it, and its layers by their numbers;
    None if they were not kept."""

    canonical: Digest
    keys: tuple[Digest, ...]
    name: str
    layers: tuple[int, ...] | None


class CacheDocument(NamedTuple):
    """Layers; steps by keys of ours, and by those of BuildKit. In one of BuildKit's (`is_foreign`)
    steps are found by the latter alone."""

    layers: tuple[CachedLayer, ...]
    steps: tuple[CachedStep, ...] = ()
    records: Sequence[ChainRecord] = ()
    is_foreign: bool = False


def stack(layers: Sequence[CachedLayer], number: int) -> tuple[int, ...]:
    """A layer and all that it stands on, lowest first; nothing if that has no end."""
    found: list[int] = []
    while number != -1:
        if not 0 <= number < len(layers) or len(found) == len(layers):
            return ()
        found.append(number)
        number, base = layers[number].parent, layers[number].base
        if base is not None:
            return (*base, *reversed(found))
    return tuple(reversed(found))


def layers_of(layers: Sequence[CachedLayer], record: ChainRecord) -> list[CachedLayer]:
    """The layers of a record of BuildKit, lowest first; none if one of them is not there."""
    numbers = stack(layers, record.layers[0]) if record.stack else record.layers
    found = [layers[n] for n in numbers if 0 <= n < len(layers)]
    return found if len(found) == len(numbers) and all(one.layer for one in found) else []


def document_value(document: CacheDocument) -> dict[str, Any]:
    """The JSON object of a document."""
    steps = [_step_value(document, step) for step in document.steps]

    def is_stack(numbers: Sequence[int]) -> bool:
        found = [document.layers[number] for number in numbers]
        expected = [(number, None) for number in (-1, *numbers[:-1])]
        return [(layer.parent, layer.base) for layer in found] == expected

    return {
        "layers": list(map(_layer_value, document.layers)),
        "records": [*steps, *record_values(document.records, len(steps), is_stack)],
        **({MARK: _VERSION, _STEPS: len(steps)} if steps or not document.records else {}),
    }


def document_bytes(document: CacheDocument) -> bytes:
    """A document as it is stored: the same one always gives the same bytes."""
    text = json.dumps(document_value(document), separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogateescape")


def _layer_value(cached: CachedLayer) -> dict[str, Any]:
    assert cached.layer is not None  # what is written is there
    value: dict[str, Any] = {"blob": cached.layer.digest, "parent": cached.parent}
    if cached.base is not None:
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
    before: Sequence[CachedLayer],
    blobs: Mapping[Digest, Descriptor],
    source: BlobSource,
) -> CachedLayer:
    blob = blobs.get(member["blob"].digest())
    if blob is None:
        raise member["blob"].wrong("is no layer of the manifest")
    parent, base = -1, None
    if "base" in member:
        base = _numbers(member["base"], len(before))
        parent = base[-1] if base else -1
    elif member["parent"].value != -1:
        parent = member["parent"].whole(0, len(before) - 1)
    diff_id = DiffID(member["annotations"]["diffID"].digest())
    descriptor = Descriptor(as_oci(blob.media_type), blob.digest, blob.size)
    created = member["created"].seconds() if "created" in member else None
    return CachedLayer(Layer(diff_id, descriptor, source), parent, base, created)


def _step(member: Member, layers: int) -> CachedStep:
    canonical = member["digest"].digest()
    keys = (canonical, *(key.digest() for key in member["keys"].items()))
    chains = list(member["chains"].items())
    numbers = _numbers(chains[0]["layers"], layers) if chains else None
    return CachedStep(canonical, keys, member["name"].text(), numbers)


def _numbers(member: Member, layers: int) -> tuple[int, ...]:
    """Numbers of layers that come before."""
    return tuple(item.whole(0, layers - 1) for item in member.required().items())


# --- Reading what BuildKit wrote ------------------------------------------------------------------


def parse_config(
    config: Member, blobs: Mapping[Digest, Descriptor], source: BlobSource
) -> CacheDocument:
    """A cache that has a name of its own; `blobs` are the layers of its manifest. Raises
    `ImageError`."""
    layers = []
    for member in config["layers"].items():
        # Go leaves out a number that is 0.
        parent = 0 if member["parent"].value is None else member["parent"].whole(-1)
        layers.append(_stacked(blobs.get(member["blob"].digest()), source, parent))
    records = parse_records(list(config["records"].items()))
    return CacheDocument(tuple(layers), (), records, is_foreign=True)


def parse_inline(
    text: Member, manifest: Manifest, diff_ids: Sequence[Digest], source: BlobSource
) -> CacheDocument:
    """The cache in the config of an image: its records as base64, about the image's layers. Raises
    `ImageError`."""
    try:
        data = base64.b64decode(text.text(), validate=True)
    except (binascii.Error, ValueError):
        raise text.wrong("is no base64") from None
    layers = [
        _stacked(descriptor._replace(annotations={UNCOMPRESSED: diff_id}), source, number - 1)
        for number, (descriptor, diff_id) in enumerate(zip(manifest.layers, diff_ids, strict=False))
    ]
    records = parse_value(data, "the cache in the config of an image")
    return CacheDocument(tuple(layers), (), parse_records(list(records.items())), is_foreign=True)


def _stacked(blob: Descriptor | None, source: BlobSource, parent: int) -> CachedLayer:
    if blob is None:
        return CachedLayer(None, parent)
    try:
        diff_id = DiffID(parse_digest(blob.annotations.get(UNCOMPRESSED, "")))
    except InvalidDigest:
        return CachedLayer(None, parent)
    descriptor = Descriptor(as_oci(blob.media_type), blob.digest, blob.size)
    created = _moment(blob.annotations.get(CREATED_AT, ""))
    return CachedLayer(Layer(diff_id, descriptor, source), parent, None, created)


def _moment(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
