"""The cache of steps at a place: a manifest with a document as its config, and the layers.

Comes in: a `Place`. Goes out: the documents there, or a new one in the place of the old. What is
read may also be an image whose config holds a document about its layers (`inline`), or an index of
such images. BuildKit before 0.21 wrote an index whose entries are the layers and the config.
Read next: `importer`, `exporter`.
"""

from collections.abc import Iterator, Sequence

from minibuild.errors import ImageError
from minibuild.events import rfc3339
from minibuild.graph.reference import Reference
from minibuild.oci.config import BUILDKIT_INLINE_CACHE, INLINE_CACHE
from minibuild.oci.content import BlobSource, read_document
from minibuild.oci.document import MAX_DOCUMENT_BYTES, parse_document
from minibuild.oci.meter import Meter
from minibuild.oci.model import (
    Descriptor,
    Manifest,
    describe,
    is_index,
    manifest_bytes,
    parse_index,
    parse_manifest,
)
from minibuild.remotecache.buildkit import (
    CREATED_AT,
    UNCOMPRESSED,
    BuildkitCache,
    parse_config,
    parse_inline,
)
from minibuild.remotecache.document import (
    CACHE_CONFIG,
    MARK,
    CachedLayer,
    CacheDocument,
    document_bytes,
    parse_cache,
)
from minibuild.remotecache.places import Parts, Place

_MAX_IMAGES = 64


Written = CacheDocument | BuildkitCache
"""A cache, by whichever builder wrote it."""


def read_steps(place: Place) -> tuple[Written, ...]:
    """The documents at a place. Raises `ImageError` if there is no cache, and `RegistryError`."""
    found = place.get()
    documents = tuple(_documents(found.source, found.top, place.name))
    if not documents:
        raise ImageError(
            f"{place.name} is an image without a cache in it",
            hint="build it with --cache-to type=inline, or export the cache to a name of its own",
        )
    return documents


def _documents(source: BlobSource, top: Descriptor, name: str) -> Iterator[Written]:
    data = read_document(source, top, MAX_DOCUMENT_BYTES)
    if not is_index(data, top.media_type, name):
        yield from _of_manifest(source, parse_manifest(data, name), name)
        return
    index = parse_index(data, name)
    for config in (child for child in index.manifests if child.media_type == CACHE_CONFIG):
        yield from _of_manifest(source, Manifest(config, index.manifests), name)
        return
    for child in index.manifests[:_MAX_IMAGES]:
        data = read_document(source, child, MAX_DOCUMENT_BYTES)
        if not is_index(data, child.media_type, name):
            yield from _of_manifest(source, parse_manifest(data, name), name)


def _of_manifest(source: BlobSource, manifest: Manifest, name: str) -> Iterator[Written]:
    blobs = {layer.digest: layer for layer in manifest.layers}
    data = read_document(source, manifest.config, MAX_DOCUMENT_BYTES)
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
        yield ours if inline is None else ours._replace(records=inline.records.records)
    elif inline is not None:
        yield inline


def write_steps(
    place: Place,
    document: CacheDocument,
    source: BlobSource,
    near: Sequence[Reference],
    meter: Meter,
    *,
    drop: bool,
) -> Descriptor:
    """Have a document at a place, with all that it names; returns its manifest. See `Place`."""
    config = document_bytes(document)
    layers = tuple({x.layer.digest: _described(x) for x in document.layers}.values())
    with place.locked():
        place.send(Parts(layers, config, CACHE_CONFIG), source, near, meter)
        manifest = manifest_bytes(Manifest(describe(CACHE_CONFIG, config), layers))
        return place.give_name(manifest, drop=drop)


def _described(cached: CachedLayer) -> Descriptor:
    """The descriptor of a layer with what BuildKit reads in it."""
    said: dict[str, str] = {UNCOMPRESSED: cached.layer.diff_id}
    if cached.created is not None:
        said[CREATED_AT] = rfc3339(cached.created)
    return cached.layer.descriptor._replace(annotations=dict(sorted(said.items())))
