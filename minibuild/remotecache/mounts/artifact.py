"""Cache mounts at a place: an OCI artifact, a manifest with one layer for each mount.

Comes in: layers by the ids of their cache mounts. Goes out: the artifact at a `Place`, and back.
Writing replaces the layers of the mounts that are written, and keeps those of all others, so that
several builds can share one name. An artifact is
no image: its type says so (image-spec manifest.md, "Guidelines for Artifact Usage"), its config is
the empty one, and it cannot be run. Each layer bears the id of its mount as an annotation. Ids
come in order, so equal contents are an equal manifest.
Read next: `remotecache.places`, `importer`, `exporter`.
"""

from collections.abc import Mapping

from minibuild.errors import ImageError
from minibuild.oci.content import BlobSource, read_document
from minibuild.oci.document import parse_document
from minibuild.oci.meter import Meter
from minibuild.oci.model import (
    EMPTY,
    EMPTY_CONFIG,
    Descriptor,
    Manifest,
    manifest_bytes,
    parse_manifest,
)
from minibuild.remotecache.places import ManifestParts, Place
from minibuild.startup.tuples import NamedTuple

ARTIFACT_TYPE = "application/vnd.minibuild.cache-mounts.v1"
ID = "minibuild.cache-mount.id"

_ATTEMPTS = 5

Layers = Mapping[str, Descriptor]
"""The layer of each cache mount, by its id."""


class MountCache(NamedTuple):
    """The cache mounts at a place: their layers by id, and where these can be read."""

    layers: Layers
    source: BlobSource


def artifact_bytes(layers: Layers) -> bytes:
    """The manifest of these cache mounts."""
    named = tuple(layers[id]._replace(annotations={ID: id}) for id in sorted(layers))
    return manifest_bytes(Manifest(EMPTY_CONFIG, named, artifact_type=ARTIFACT_TYPE))


def parse_artifact(data: bytes, what: str) -> dict[str, Descriptor]:
    """The cache mounts of a manifest. Raises `ImageError` if it is of something else."""
    if parse_document(data, what)["artifactType"].text() != ARTIFACT_TYPE:
        raise ImageError(
            f"{what} holds something else than cache mounts",
            hint="give cache mounts a name of their own, such as REGISTRY/app/cache:mounts",
        )
    found: dict[str, Descriptor] = {}
    for layer in parse_manifest(data, what).layers:
        id = layer.annotations.get(ID)
        if id is None or id in found:
            raise ImageError(f"{what} has a layer that is not one of a cache mount")
        found[id] = layer
    return found


def read_mounts(place: Place) -> MountCache | None:
    """What is at a place; None if nothing is. Raises `ImageError` if it is something else, and
    `RegistryError` if it cannot be known."""
    found = place.find()
    if found is None:
        return None
    data = read_document(found.source, found.top)
    return MountCache(parse_artifact(data, place.name), found.source)


def write_mounts(place: Place, layers: Layers, source: BlobSource, meter: Meter) -> bool:
    """Have these layers there beside those of other ids; says whether anything changed.

    Where nothing keeps other writers out, the manifest is read once more when the blobs are there,
    merged and replaced. That leaves two builds that end in the same instant only that instant. Then
    it is looked at again: a mount that is what it was before has been written back by a writer that
    had read that, and all is merged and replaced once more.
    """
    with place.locked():
        before = _layers(place)
        new = differing(layers, before)
        if not new:
            return False
        place.send(ManifestParts(new, EMPTY, EMPTY_CONFIG.media_type), source, (), meter)
        if place.alone:
            place.give_name(artifact_bytes({**before, **layers}))
            return True
        for attempt in range(1, _ATTEMPTS + 1):
            before = _layers(place)
            merged = artifact_bytes({**before, **layers})
            if attempt == _ATTEMPTS:
                place.give_name(merged)
                break
            # One attempt: what was read is soon out of date.
            if not place.try_name(merged):
                place.wait(attempt)
                continue
            place.wait()
            if not _lost(layers, before, _layers(place)):
                break
    return True


def _layers(place: Place) -> Layers:
    kept = read_mounts(place)
    return {} if kept is None else kept.layers


def _lost(layers: Layers, before: Layers, now: Layers) -> bool:
    """Whether one of `layers` is what it was before, and not what was written."""
    digests = {id: layer.digest for id, layer in before.items()}
    found = {id: now[id].digest if id in now else None for id in layers}
    return any(
        found[id] == digests.get(id) and found[id] != layer.digest for id, layer in layers.items()
    )


def differing(layers: Layers, known: Layers) -> list[Descriptor]:
    """Those of `layers` that are not the same in `known`."""
    same = {(id, layer.digest) for id, layer in known.items()}
    return [layer for id, layer in layers.items() if (id, layer.digest) not in same]
