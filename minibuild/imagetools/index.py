"""Images for several platforms, made apart, become one: an index of them.

Comes in: images and indexes, each with a source of its blobs. Goes out: an index, and a source of
all that is below it; or, the other way round, what of an index is about one platform. The images
stay as they are, down to their digests. Of two for the same platform the later one counts; an
attestation goes along with the image that it is about.
Rules: image-spec image-index.md. Read next: `edit`.
"""

from collections.abc import Mapping, Sequence

from minibuild.errors import ImageError
from minibuild.graph.platform import Platform
from minibuild.imagetools.edit import read_image
from minibuild.oci.content import BlobSource, read_document
from minibuild.oci.model import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_INDEX,
    REFERENCE_DIGEST,
    Descriptor,
    Index,
    choose_platform,
    describe,
    index_bytes,
    is_index,
    parse_index,
)
from minibuild.oci.multi import MultiSource
from minibuild.oci.transfer import blobs_of
from minibuild.registry.pull import RemoteBlobs

_MAX_DEPTH = 4


class IndexBuilder:
    """An index in the making; `blobs` has it, and everything below it."""

    def __init__(self) -> None:
        self._members: dict[str, Descriptor] = {}
        self.blobs = MultiSource()

    def add(self, source: BlobSource, top: Descriptor) -> None:
        """Take up an image, or all images of an index. Raises `ImageError`."""
        for blob in blobs_of(source, top):
            self.blobs.add(blob.digest, source)
        data = read_document(source, top)
        if not is_index(data, top.media_type, f"manifest {top.digest}"):
            platform = read_image(source, top).platform
            if not platform.architecture:
                raise ImageError(f"the config of {top.digest} names no platform")
            self._take(Descriptor(top.media_type, top.digest, top.size, {}, platform))
            return
        for child in parse_index(data, f"index {top.digest}").manifests:
            self._take(child)

    def _take(self, child: Descriptor) -> None:
        # Attestations are all of the platform unknown/unknown.
        about = child.annotations.get(REFERENCE_DIGEST, "")
        key = about + child.digest if about else str(child.platform)
        self._members.pop(key, None)
        self._members[key] = child

    def finish(self, annotations: Mapping[str, str]) -> Descriptor:
        """The index of all that was added."""
        digests = {child.digest for child in self._members.values()}
        members: Sequence[Descriptor] = [
            child
            for child in self._members.values()
            if child.annotations.get(REFERENCE_DIGEST, child.digest) in digests
        ]
        docker = all(child.media_type == DOCKER_MANIFEST for child in members)
        kind = DOCKER_INDEX if docker and not annotations else OCI_INDEX
        data = index_bytes(Index(tuple(members), annotations, kind))
        self.blobs.put(data)
        return describe(kind, data)


def for_platform(blobs: RemoteBlobs, top: Descriptor, platform: Platform, name: str) -> Descriptor:
    """The image for a platform with what is said of it: the image itself, or an index of it and of
    its attestations. That is the index of the registry where it holds nothing else; another one is
    kept with the blobs."""
    index, chosen = None, top
    for _ in range(_MAX_DEPTH):
        data = read_document(blobs, chosen)
        if not is_index(data, chosen.media_type, f"manifest {chosen.digest} of {name}"):
            break
        index = parse_index(data, f"index {chosen.digest} of {name}")
        top, chosen = chosen, choose_platform(index.manifests, platform, name)
    if index is None:
        return top
    said = [m for m in index.manifests if m.annotations.get(REFERENCE_DIGEST) == chosen.digest]
    if not said:
        return chosen
    kept = tuple(m for m in index.manifests if m == chosen or m in said)
    if kept == index.manifests:
        return top
    document = index_bytes(index._replace(manifests=kept))
    made = describe(index.media_type, document)
    blobs.keep(made, document)
    return made
