"""An image that exists becomes another: its documents taken apart and put together again.

Comes in: a manifest and its config. Goes out: new ones. The config is kept as the JSON that it is,
so members that are not known here survive; what changes is its layers, its history and, in a
rebase, what the base gave it. Nothing is said of when it was done: the same edit of the same image
gives the same image. Read next: `squash` for layers, `rebase`.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from minibuild.digest import DiffID
from minibuild.graph.platform import Platform
from minibuild.layer.layer import Layer
from minibuild.oci.config import BUILDKIT_INLINE_CACHE, INLINE_CACHE
from minibuild.oci.content import BlobSource, read_document
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
from minibuild.oci.multi import MultiSource
from minibuild.startup.tuples import NamedTuple

T = TypeVar("T")


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

    @property
    def diff_ids(self) -> list[DiffID]:
        """What its layers hold, whatever they are compressed with."""
        return [layer.diff_id for layer in self.layers]

    @property
    def instructions(self) -> list[str]:
        """What the history says made each layer; empty where it does not say."""
        entries = with_layers(self.history, self.layers)
        return [str(entry.get("created_by") or "") for entry, layer in entries if layer is not None]


def with_layers(
    history: Iterable[Mapping[str, Any]], layers: Iterable[T]
) -> Iterator[tuple[Mapping[str, Any], T | None]]:
    """The entries of a history, the oldest first, each with the layer that it made; and behind them
    the layers of which it says nothing."""
    left = iter(layers)
    for entry in history:
        yield entry, None if entry.get("empty_layer") else next(left, None)
    for layer in left:
        yield {}, layer


def read_image(source: BlobSource, descriptor: Descriptor) -> Image:
    """The image of a manifest. Raises `ImageError` if its documents do not fit together."""
    what = f"manifest {descriptor.digest}"
    manifest = parse_manifest(read_document(source, descriptor), what)
    data = read_document(source, manifest.config)
    config = parse_config(data, f"config {manifest.config.digest}", len(manifest.layers))
    layers = tuple(
        Layer(diff_id, blob, source)
        for diff_id, blob in zip(config.diff_ids, manifest.layers, strict=True)
    )
    history = tuple(config.value.get("history") or ())
    platform = config.platform._replace(os_version="", os_features=())
    return Image(descriptor, manifest, config.value, layers, history, platform)


def layer_for(image: Image, layer: Layer) -> Layer:
    """A layer with a media type of the image's kind."""
    name_of = as_docker if image.manifest.media_type == DOCKER_MANIFEST else as_oci
    descriptor = layer.descriptor._replace(media_type=name_of(layer.media_type))
    return layer._replace(descriptor=descriptor)


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


def write_image(
    blobs: MultiSource,
    image: Image,
    layers: Sequence[Layer],
    history: Sequence[Mapping[str, Any]],
    *,
    config: Mapping[str, Any] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Descriptor:
    """The image with other layers, whose documents `blobs` has afterwards; `config` and
    `annotations` replace what it has, if given."""
    value = dict(image.config if config is None else config)
    value["rootfs"] = {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]}
    value["history"] = list(history)
    if [layer.digest for layer in layers] != [layer.digest for layer in image.layers]:
        value.pop(INLINE_CACHE, None)
        value.pop(BUILDKIT_INLINE_CACHE, None)
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    data = text.encode("utf-8", "surrogateescape")
    manifest = Manifest(
        describe(image.manifest.config.media_type, data),
        tuple(layer.descriptor for layer in layers),
        image.manifest.annotations if annotations is None else annotations,
        image.manifest.media_type,
    )
    document = manifest_bytes(manifest)
    blobs.put(data)
    blobs.put(document)
    for layer in layers:
        blobs.add(layer.digest, layer.source)
    made = describe(manifest.media_type, document)
    return made._replace(
        platform=image.descriptor.platform, annotations=image.descriptor.annotations
    )


def each_image(
    blobs: MultiSource, source: BlobSource, top: Descriptor, edit: Callable[[Image], Descriptor]
) -> Descriptor:
    """Edit an image, or each image of an index, which is put into `blobs`; what an index says of
    attestations is left out, for they are about the images as they were."""
    data = read_document(source, top)
    if not is_index(data, top.media_type, f"manifest {top.digest}"):
        return edit(read_image(source, top))
    index = parse_index(data, f"index {top.digest}")
    edited = [
        each_image(blobs, source, child, edit)
        for child in index.manifests
        if child.platform is None or child.platform.os != "unknown"
    ]
    kind = index.media_type if index.media_type in INDEXES else top.media_type
    document = index_bytes(Index(tuple(edited), index.annotations, kind))
    blobs.put(document)
    return describe(kind, document)
