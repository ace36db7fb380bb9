"""Whole images: every document and blob of one, walked, copied and counted.

Comes in: a descriptor and a source. Goes out: descriptors, the lowest first: a copy in
this order never has a document whose parts are missing. Read next: `image.validate`.
"""

from collections.abc import Iterator

from minibuild.digest import Digest
from minibuild.errors import ImageError
from minibuild.oci.content import BlobSource, ContentStore, read_document
from minibuild.oci.model import Descriptor, Manifest, is_index, parse_index, parse_manifest

_MAX_DEPTH = 4


def manifests_of(source: BlobSource, top: Descriptor) -> Iterator[tuple[Descriptor, Manifest]]:
    """The manifests below an image or index, with the descriptors that name them."""
    for descriptor, document in _documents(source, top, 0, set()):
        if document is not None:
            yield descriptor, document


def _documents(
    source: BlobSource, top: Descriptor, depth: int, seen: set[Digest]
) -> Iterator[tuple[Descriptor, Manifest | None]]:
    """Manifests, and indexes (as None) after what they list, like other blobs in these: a cache may
    be an index of layers. Each index comes once: one that lists another a thousand times, and is
    itself listed a thousand times, would take for ever."""
    if depth > _MAX_DEPTH:
        raise ImageError(f"more than {_MAX_DEPTH} indexes lead to each other")
    data = read_document(source, top)
    what = f"manifest {top.digest}"
    if not is_index(data, top.media_type, what):
        yield top, parse_manifest(data, what)
        return
    seen.add(top.digest)
    for child in parse_index(data, what).manifests:
        if child.media_type and not child.is_document:
            yield child, None
        elif child.digest not in seen:
            yield from _documents(source, child, depth + 1, seen)
    yield top, None


def blobs_of(source: BlobSource, top: Descriptor) -> Iterator[Descriptor]:
    """Every blob of an image or index, itself last; each digest once."""
    seen: set[Digest] = set()
    for descriptor, manifest in _documents(source, top, 0, set()):
        parts = () if manifest is None else (*manifest.layers, manifest.config)
        for part in (*parts, descriptor):
            if part.digest not in seen:
                seen.add(part.digest)
                yield part


def copy_image(content: ContentStore, source: BlobSource, top: Descriptor) -> None:
    """Have an image or index, whole and checked, in the store."""
    for descriptor in blobs_of(source, top):
        content.fetch(source, descriptor)
