"""The cache of steps at a place: a manifest with a document as its config, and the layers.

Comes in: a `Place`. Goes out: the documents there, or a new one in the place of the old. What is
read may also be an image whose config holds a document about its layers (`inline`), or an index of
such images.
Read next: `importer`, `exporter`.
"""

from collections.abc import Iterator, Sequence

from minibuild.errors import ImageError
from minibuild.graph.reference import Reference
from minibuild.oci.config import INLINE_CACHE
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
from minibuild.remotecache.document import (
    CACHE_CONFIG,
    CacheDocument,
    document_bytes,
    parse_cache,
)
from minibuild.remotecache.places import Parts, Place

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
    data = read_document(source, top, MAX_DOCUMENT_BYTES)
    if not is_index(data, top.media_type, name):
        yield from _of_manifest(source, parse_manifest(data, name), name)
        return
    index = parse_index(data, name)
    if any(child.media_type == CACHE_CONFIG for child in index.manifests):
        raise ImageError(f"{name} was written by another builder: its keys mean nothing here")
    for child in index.manifests[:_MAX_IMAGES]:
        data = read_document(source, child, MAX_DOCUMENT_BYTES)
        if not is_index(data, child.media_type, name):
            yield from _of_manifest(source, parse_manifest(data, name), name)


def _of_manifest(source: BlobSource, manifest: Manifest, name: str) -> Iterator[CacheDocument]:
    blobs = {layer.digest: layer for layer in manifest.layers}
    data = read_document(source, manifest.config, MAX_DOCUMENT_BYTES)
    what = f"config {manifest.config.digest} of {name}"
    if manifest.config.media_type == CACHE_CONFIG:
        yield parse_cache(parse_document(data, what), blobs, source, name)
        return
    inline = parse_document(data, what)[INLINE_CACHE]
    if inline.value is not None:
        yield parse_cache(inline, blobs, source, name)


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
    layers = tuple({x.layer.digest: x.layer.descriptor for x in document.layers}.values())
    with place.locked():
        place.send(Parts(layers, config, CACHE_CONFIG), source, near, meter)
        manifest = manifest_bytes(Manifest(describe(CACHE_CONFIG, config), layers))
        return place.give_name(manifest, drop=drop)
