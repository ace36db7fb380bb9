"""An image that exists becomes another: its documents taken apart and put together again.

Comes in: a manifest and its config. Goes out: new ones. The config is kept as the JSON that it is,
so members that are not known here survive; what changes is its layers, its history and, in a
rebase, what the base gave it. Nothing is said of when it was done: the same edit of the same image
gives the same image. Read next: `squash` for layers, `rebase`.
"""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

from minibuild.digest import Digest
from minibuild.graph.platform import Platform
from minibuild.graph.reference import Reference
from minibuild.image.listing import Layer
from minibuild.oci.config import INLINE_CACHE
from minibuild.oci.content import BlobSource, ContentStore, read_document
from minibuild.oci.document import MAX_DOCUMENT_BYTES
from minibuild.oci.layers import PackedLayer
from minibuild.oci.model import (
    DOCKER_MANIFEST,
    INDEXES,
    Descriptor,
    Index,
    Manifest,
    as_docker,
    as_oci,
    describe,
    index_bytes,
    is_index,
    manifest_bytes,
    parse_config,
    parse_index,
    parse_manifest,
)
from minibuild.startup.tuples import NamedTuple


class Image(NamedTuple):
    """One image, taken apart. `history` has an entry for each instruction. `platform` is what it
    runs on, from its config, which counts for who runs it; less the version of the operating
    system: each new base has another one."""

    descriptor: Descriptor
    manifest: Manifest
    config: Mapping[str, Any]
    layers: tuple[Layer, ...]
    history: tuple[Mapping[str, Any], ...]
    platform: Platform


def read_image(source: BlobSource, descriptor: Descriptor) -> Image:
    """The image of a manifest. Raises `ImageError` if its documents do not fit together."""
    what = f"manifest {descriptor.digest}"
    manifest = parse_manifest(read_document(source, descriptor, MAX_DOCUMENT_BYTES), what)
    data = read_document(source, manifest.config, MAX_DOCUMENT_BYTES)
    config = parse_config(data, f"config {manifest.config.digest}", len(manifest.layers))
    layers = tuple(map(Layer, manifest.layers, config.diff_ids))
    history = tuple(config.value.get("history") or ())
    platform = config.platform._replace(os_version="", os_features=())
    return Image(descriptor, manifest, config.value, layers, history, platform)


def add_layer(image: Image, packed: PackedLayer) -> Layer:
    """A layer with a media type of the image's kind."""
    name_of = as_docker if image.manifest.media_type == DOCKER_MANIFEST else as_oci
    blob = packed.descriptor
    return Layer(blob._replace(media_type=name_of(blob.media_type)), packed.diff_id)


def without_layers(history: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """History entries whose layers are in another now."""
    return [{**entry, "empty_layer": True} for entry in history]


def entries_below(history: Sequence[Mapping[str, Any]], layers: int) -> int:
    """How many entries of a history come before what follows its first `layers` layers."""
    left = layers
    for position, entry in enumerate(history):
        if not entry.get("empty_layer"):
            if not left:
                return position
            left -= 1
    return len(history)


class Drafts(BlobSource):
    """New documents, and the blobs that they name: a source for a store or a push.

    Other blobs are those of `sources`; the first that is said to have a blob is asked for it.
    """

    def __init__(self, *sources: BlobSource) -> None:
        self._sources = sources
        self._owners: dict[str, BlobSource] = {}
        self.documents: dict[str, bytes] = {}

    def owns(self, source: BlobSource, layers: Sequence[Layer]) -> None:
        """Have these layers read from `source`."""
        for layer in layers:
            self._owners.setdefault(layer.blob.digest, source)

    def add(self, data: bytes) -> None:
        """A new document."""
        self.documents[describe("", data).digest] = data

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        """See `BlobSource.open`."""
        if (data := self.documents.get(descriptor.digest)) is not None:
            return io.BytesIO(data[offset:])
        return self._owner(descriptor.digest).open(descriptor, offset)

    def location(self, digest: Digest) -> Reference | None:
        """See `BlobSource.location`."""
        return None if digest in self.documents else self._owner(digest).location(digest)

    def keep(self, content: ContentStore) -> None:
        """Have the new documents in a store."""
        for data in self.documents.values():
            content.put(data)

    def _owner(self, digest: Digest) -> BlobSource:
        return self._owners.get(digest, self._sources[0])


def write_image(
    drafts: Drafts,
    image: Image,
    layers: Sequence[Layer],
    history: Sequence[Mapping[str, Any]],
    *,
    config: Mapping[str, Any] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Descriptor:
    """The image with other layers; `config` and `annotations` replace what it has, if given."""
    value = dict(image.config if config is None else config)
    value["rootfs"] = {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]}
    value["history"] = list(history)
    if tuple(layers) != image.layers:
        value.pop(INLINE_CACHE, None)
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    data = text.encode("utf-8", "surrogateescape")
    manifest = Manifest(
        describe(image.manifest.config.media_type, data),
        tuple(layer.blob for layer in layers),
        image.manifest.annotations if annotations is None else annotations,
        image.manifest.media_type,
    )
    document = manifest_bytes(manifest)
    drafts.add(data)
    drafts.add(document)
    made = describe(manifest.media_type, document)
    return made._replace(
        platform=image.descriptor.platform, annotations=image.descriptor.annotations
    )


def each_image(
    drafts: Drafts,
    source: BlobSource,
    top: Descriptor,
    edit: Callable[[Image], Descriptor],
) -> Descriptor:
    """Edit an image, or each image of an index; what an index says of attestations is left out,
    for they are about the images as they were."""
    data = read_document(source, top, MAX_DOCUMENT_BYTES)
    if not is_index(data, top.media_type, f"manifest {top.digest}"):
        return edit(read_image(source, top))
    index = parse_index(data, f"index {top.digest}")
    edited = [
        each_image(drafts, source, child, edit)
        for child in index.manifests
        if child.platform is None or child.platform.os != "unknown"
    ]
    kind = index.media_type if index.media_type in INDEXES else top.media_type
    document = index_bytes(Index(tuple(edited), index.annotations, kind))
    drafts.add(document)
    return describe(kind, document)
