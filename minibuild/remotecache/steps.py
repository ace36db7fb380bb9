"""The cache of steps at a place: a manifest with a document as its config, and the layers.

Comes in: a `Place`. Goes out: the documents there, or a new one in the place of the old. What is
read may also be an image whose config holds a document about its layers (`inline`), or an index of
such images. Caches in the older of BuildKit's forms are an index: its entries are the layers and
the config.
Read next: `importer`, `exporter`.
"""

from collections.abc import Iterator, Sequence

from minibuild.errors import ImageError
from minibuild.events import rfc3339
from minibuild.graph.reference import Reference
from minibuild.layer.layer import Layer
from minibuild.oci.config import BUILDKIT_INLINE_CACHE, INLINE_CACHE
from minibuild.oci.content import BlobSource, read_document
from minibuild.oci.document import parse_document
from minibuild.oci.meter import Meter
from minibuild.oci.model import (
    DOCKER_INDEX,
    OCI_INDEX,
    Descriptor,
    Index,
    Manifest,
    as_docker,
    describe,
    index_bytes,
    is_index,
    manifest_bytes,
    parse_index,
    parse_manifest,
)
from minibuild.remotecache.document import (
    CACHE_CONFIG,
    CREATED_AT,
    MARK,
    UNCOMPRESSED,
    CacheDocument,
    document_bytes,
    parse_cache,
    parse_config,
    parse_inline,
)
from minibuild.remotecache.places import ManifestParts, Place
from minibuild.session.request import CachePlace

_MAX_IMAGES = 64


def read_steps(place: Place) -> tuple[CacheDocument, ...]:
    """The documents at a place. Raises `ImageError` if there is no cache, and `RegistryError`."""
    found = place.get()
    documents = tuple(_documents(found.source, found.top, place.name))
    if not documents:
        raise ImageError(
            f"{place.name} is an image without a cache in it",
            hint="build it with --cache-to type=inline, or export the cache to a name of its own",
        )
    return documents


def _documents(source: BlobSource, top: Descriptor, name: str) -> Iterator[CacheDocument]:
    data = read_document(source, top)
    if not is_index(data, top.media_type, name):
        yield from _of_manifest(source, parse_manifest(data, name), name)
        return
    index = parse_index(data, name)
    for config in (child for child in index.manifests if child.media_type == CACHE_CONFIG):
        yield from _of_manifest(source, Manifest(config, index.manifests), name)
        return
    for child in index.manifests[:_MAX_IMAGES]:
        data = read_document(source, child)
        if not is_index(data, child.media_type, name):
            yield from _of_manifest(source, parse_manifest(data, name), name)


def _of_manifest(source: BlobSource, manifest: Manifest, name: str) -> Iterator[CacheDocument]:
    blobs = {layer.digest: layer for layer in manifest.layers}
    data = read_document(source, manifest.config)
    what = f"config {manifest.config.digest} of {name}"
    document = parse_document(data, what)
    if manifest.config.media_type == CACHE_CONFIG:
        if MARK in document:
            yield parse_cache(document, blobs, source, name)
        else:
            yield parse_config(document, blobs, source)
        return
    inline = None
    if BUILDKIT_INLINE_CACHE in document:
        diff_ids = [item.digest() for item in document["rootfs"]["diff_ids"].items()]
        inline = parse_inline(document[BUILDKIT_INLINE_CACHE], manifest, diff_ids, source)
    if INLINE_CACHE in document:
        ours = parse_cache(document[INLINE_CACHE], blobs, source, name)
        yield ours if inline is None else ours._replace(records=inline.records)
    elif inline is not None:
        yield inline


def write_steps(
    place: Place,
    document: CacheDocument,
    source: BlobSource,
    near: Sequence[Reference],
    meter: Meter,
    asked: CachePlace,
) -> Descriptor:
    """Have a document at a place, with all that it names; returns what has its name. See
    `Place`."""
    data = document_bytes(document)
    config = describe(CACHE_CONFIG, data)
    layers = tuple(
        {x.digest: _described(x, c.created) for c in document.layers if (x := c.layer)}.values()
    )
    with place.locked():
        place.send(ManifestParts(layers, data, CACHE_CONFIG), source, near, meter)
        if asked.form == "manifest":
            manifest = manifest_bytes(Manifest(config, layers))
            return place.give_name(manifest, drop=asked.reset)
        kind = OCI_INDEX
        if asked.form == "list":
            layers = tuple(one._replace(media_type=as_docker(one.media_type)) for one in layers)
            kind = DOCKER_INDEX
        index = index_bytes(Index((*layers, config), media_type=kind))
        return place.give_name(index, kind, drop=asked.reset)


def _described(layer: Layer, created: float | None) -> Descriptor:
    """The descriptor of a layer with what BuildKit reads in it."""
    said: dict[str, str] = {UNCOMPRESSED: layer.diff_id}
    if created is not None:
        said[CREATED_AT] = rfc3339(created)
    return layer.descriptor._replace(annotations=dict(sorted(said.items())))
