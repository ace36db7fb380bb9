"""Layers become an image: its config and its manifest.

Comes in: a config without a root filesystem, and the layers. Goes out: two documents, and their
descriptors. The history is completed as BuildKit does it: entries of the base keep their times, an
entry with a layer takes the time at which the layer was made, and one without takes that of the
layer before it. With an epoch (SOURCE_DATE_EPOCH) every new time is the epoch, so that the same
layers give the same image. Rules: image-spec config.md and manifest.md. Read next: `image.store`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from minibuild.digest import DiffID, Digest
from minibuild.events import rfc3339
from minibuild.graph.image import History, ImageConfig, config_to_json
from minibuild.oci.content import ContentStore
from minibuild.oci.model import (
    DOCKER_CONFIG,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    as_docker,
    as_oci,
    describe,
    manifest_bytes,
)
from minibuild.startup.tuples import NamedTuple

COMMENT = "buildkit.exporter.image.v0"
"""BuildKit's mark on history entries that only an exporter knows of."""

INLINE_CACHE = "minibuild.cache"
"""The member of a config with what the cache of its builder knows of the image's layers (see
`minibuild.remotecache`). It is about these layers: a tool that changes them takes it out."""

BUILDKIT_INLINE_CACHE = "moby.buildkit.cache.v0"
"""The member with what BuildKit's cache knows of the layers."""

_CONFIG_ORDER = (
    "User ExposedPorts Env Entrypoint Cmd Volumes WorkingDir Labels StopSignal ArgsEscaped "
    "Healthcheck OnBuild Shell"
).split()


_TO_THE_SECOND = len("2026-01-31T23:59:59")


class ImageLayer(NamedTuple):
    """A layer as the documents of an image name it, and when its diff was made, in seconds since
    the epoch; None if that is not known. Annotations of the descriptor are written with OCI's types
    alone: Docker's have none."""

    diff_id: DiffID
    descriptor: Descriptor
    created: float | None = None


class AssembledImage(NamedTuple):
    """The documents of an image. `image` is the config with all times filled in."""

    image: ImageConfig
    layers: tuple[ImageLayer, ...]
    config: Descriptor
    config_bytes: bytes
    manifest: Descriptor
    manifest_bytes: bytes

    @property
    def digest(self) -> Digest:
        """The digest of the manifest, which is the image's."""
        return self.manifest.digest

    @property
    def size_bytes(self) -> int:
        """What a registry stores for the image."""
        return self.manifest.size + self.config.size + sum(x.descriptor.size for x in self.layers)


def assemble(
    image: ImageConfig,
    layers: Sequence[ImageLayer],
    *,
    made: int | None = None,
    epoch: int | None = None,
    annotations: Mapping[str, str] = {},
    oci_mediatypes: bool = True,
) -> AssembledImage:
    """The documents of the image that has these layers, lowest first; `made` is the epoch of the
    build, which the one of an output may differ from."""
    history = complete_history(image.history, layers, made, epoch)
    created = _not_after(image.created, epoch) if image.created else ""
    if not created:
        created = next((h["created"] for h in reversed(history) if h.get("created")), "")
    image = image._replace(history=history, created=created)
    data = config_bytes(image, [layer.diff_id for layer in layers])
    config = describe(OCI_CONFIG if oci_mediatypes else DOCKER_CONFIG, data)
    name_of = as_oci if oci_mediatypes else as_docker
    named = tuple(
        layer._replace(
            descriptor=layer.descriptor._replace(
                media_type=name_of(layer.descriptor.media_type),
                annotations=layer.descriptor.annotations if oci_mediatypes else {},
            )
        )
        for layer in layers
    )
    media_type = OCI_MANIFEST if oci_mediatypes else DOCKER_MANIFEST
    descriptors = tuple(layer.descriptor for layer in named)
    manifest = manifest_bytes(Manifest(config, descriptors, annotations, media_type))
    described = describe(media_type, manifest, image.platform)
    return AssembledImage(image, named, config, data, described, manifest)


def store_documents(content: ContentStore, assembled: AssembledImage) -> None:
    """Keep config and manifest in the store; the layers are there, or come later."""
    content.put(assembled.config_bytes)
    content.put(assembled.manifest_bytes)


def config_bytes(image: ImageConfig, diff_ids: Sequence[str]) -> bytes:
    """The config as it is stored: members in BuildKit's order, maps sorted, no blanks."""
    value = config_to_json(image, list(diff_ids))
    config = cast(dict[str, Any], value["config"])
    names = [n for n in _CONFIG_ORDER if n in config]
    names += sorted(config.keys() - set(_CONFIG_ORDER))
    value["config"] = {name: _sorted(config[name]) for name in names}
    # BuildKit writes the config as a map, which Go sorts.
    text = json.dumps(dict(sorted(value.items())), separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogateescape")


def _sorted(value: Any) -> Any:
    return dict(sorted(value.items())) if isinstance(value, dict) else value


def complete_history(
    history: Sequence[History], layers: Sequence[ImageLayer], made: int | None, epoch: int | None
) -> tuple[History, ...]:
    """The history with one entry for each layer, and a time in each entry that can have one.

    Entries of a base have times already, and keep them whatever the epoch is. The others are of the
    time `made`, if there is one, whenever their layers were made, as with BuildKit; and of none
    after the epoch.
    """
    entries = [cast(History, dict(entry)) for entry in history]
    _match_layers(entries, len(layers))
    kept = (one == old and one.get("created") for one, old in zip(entries, history, strict=False))
    base = next((n for n, same in enumerate(kept) if not same), len(history))
    if made is not None:
        for entry in entries[base : len(history)]:
            entry["created"] = entry.get("created") or rfc3339(made)
    times = iter(layers)
    for entry in entries:
        if entry.get("empty_layer"):
            continue
        created = next(times).created
        if not entry.get("created") and created is not None:
            entry["created"] = rfc3339(created)
    _fill_times(entries)
    for entry in entries[base:]:
        if latest := _not_after(entry.get("created", ""), epoch):
            entry["created"] = latest
    return tuple(entries)


def _not_after(created: str, epoch: int | None) -> str:
    """The time, but none after the epoch; the epoch if there is no time."""
    if epoch is None:
        return created
    latest = rfc3339(epoch)
    return created if created and created[:_TO_THE_SECOND] < latest[:_TO_THE_SECOND] else latest


def _match_layers(entries: list[History], layers: int) -> None:
    """Make the entries without `empty_layer` as many as there are layers."""
    filled = [entry for entry in entries if not entry.get("empty_layer")]
    # Too many should not happen; then the last ones count as empty, as with BuildKit.
    for entry in filled[layers:]:
        entry["empty_layer"] = True
    for _ in range(layers - len(filled)):
        entries.append({"comment": COMMENT})


def _fill_times(entries: list[History]) -> None:
    """Give entries without a time that of the entry before, or of the first new layer."""
    gap = next((n for n, entry in enumerate(entries) if not entry.get("created")), len(entries))
    current = ""
    # The first time behind the gap, or the last one before it.
    for entry in (*entries[:gap], *reversed(entries[gap:])):
        current = entry.get("created") or current
    for entry in entries[gap:] if current else ():
        current = entry.get("created") or current
        entry["created"] = current
