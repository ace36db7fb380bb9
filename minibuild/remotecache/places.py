"""Where caches of results are kept: a name in a registry, or in a folder.

Comes in: a `CachePlace` of the request. Goes out: the documents there with a source of their blobs;
or a new document in the place of the old one. A place is replaced as a whole, in one step, after
all that it names is there: who reads sees the old cache or the new one.

What is read may also be an image whose config holds a document about its layers (`inline`), or an
index of such images.
Read next: `importer`, `exporter`.
"""

import threading
from collections.abc import Iterator, Sequence

from minibuild.digest import digest_bytes
from minibuild.errors import ImageError
from minibuild.oci.config import INLINE_CACHE
from minibuild.oci.content import BlobSource, read_document
from minibuild.oci.meter import Meter
from minibuild.oci.model import (
    MAX_DOCUMENT_BYTES,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    describe,
    is_index,
    manifest_bytes,
    parse_index,
    parse_json,
    parse_manifest,
)
from minibuild.oci.reference import Reference, parse_reference
from minibuild.remotecache.document import (
    CACHE_CONFIG,
    CacheDocument,
    document_bytes,
    parse_document,
    parse_document_bytes,
)
from minibuild.session.request import CachePlace, RegistryAccess
from minibuild.startup.tuples import NamedTuple

_MAX_IMAGES = 64


class Kept(NamedTuple):
    """The documents at a place, and where the blobs that they name can be read."""

    documents: tuple[CacheDocument, ...]
    source: BlobSource


def name_of(asked: CachePlace) -> str:
    """A place as people name it."""
    if asked.type == "local":
        return asked.path if asked.tag == "latest" else f"{asked.path}:{asked.tag}"
    return asked.ref


def access_to(asked: CachePlace, access: RegistryAccess) -> RegistryAccess:
    """How the registry of a place is reached."""
    if not asked.insecure:
        return access
    return access._replace(insecure=(*access.insecure, parse_reference(asked.ref).domain))


def read_place(asked: CachePlace, access: RegistryAccess, cancelled: threading.Event) -> Kept:
    """What is at a place. Raises `ImageError` if there is no cache, and `RegistryError`."""
    name = name_of(asked)
    source: BlobSource
    if asked.type == "local":
        from minibuild.image.layout import DirectoryLayout

        layout = DirectoryLayout(asked.path)
        top, source = layout.find(asked.digest or asked.tag), layout
    else:
        from minibuild.registry.pull import Registry
        from minibuild.registry.transport import patient

        registry = Registry(access_to(asked, access), patient(cancelled))
        top, source = registry.find(parse_reference(asked.ref))
    found = tuple(_documents(source, top, name))
    if not found:
        raise ImageError(
            f"{name} is an image without a cache in it",
            hint="build it with --cache-to type=inline, or export the cache to a name of its own",
        )
    return Kept(found, source)


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
    if manifest.config.media_type == CACHE_CONFIG:
        yield parse_document_bytes(data, blobs, name)
        return
    inline = parse_json(data, name).get(INLINE_CACHE)
    if isinstance(inline, dict):
        yield parse_document(inline, blobs, name)


# --- Writing --------------------------------------------------------------------------------------


def write_place(
    asked: CachePlace,
    document: CacheDocument,
    source: BlobSource,
    near: Sequence[Reference],
    access: RegistryAccess,
    cancelled: threading.Event,
    meter: Meter,
) -> Descriptor:
    """Have a document at a place, with all that it names; returns its manifest.

    `near` are repositories that may have some of the layers, for the registry to mount.
    """
    config = document_bytes(document)
    layers = tuple({x.blob.digest: x.blob.descriptor for x in document.layers}.values())
    manifest = manifest_bytes(Manifest(describe(CACHE_CONFIG, config), layers))
    if asked.type == "local":
        from minibuild.image.layout_folder import LayoutFolder

        folder = LayoutFolder(asked.path)
        with folder.locked():
            for layer in layers:
                folder.put_blob(layer, source)
                meter(layer, layer.size, done=True)
            folder.put(config)
            folder.put(manifest)
            top = Descriptor(OCI_MANIFEST, digest_bytes(manifest), len(manifest))
            folder.give_name(asked.tag, top, drop=asked.reset)
        return top
    from minibuild.oci.parallel import in_parallel
    from minibuild.registry.pull import Registry
    from minibuild.registry.push import UPLOADS, Located, Repository
    from minibuild.registry.transport import patient

    reference = parse_reference(asked.ref)
    registry = Registry(access_to(asked, access), patient(cancelled))
    repository = Repository(registry, reference, meter=meter)

    def push(layer: Descriptor) -> None:
        place = source.location(layer.digest) if isinstance(source, Located) else None
        others = [*near, *([] if place is None else [place])]
        repository.push_blob(layer, source, mount_from=others)

    in_parallel(push, layers, UPLOADS)
    repository.push_bytes(config, CACHE_CONFIG)
    return repository.push_manifest(manifest, OCI_MANIFEST, reference.tag)
