"""What travels: an OCI artifact, a manifest with one layer for each cache mount.

Comes in: layers by the ids of their cache mounts. Goes out: a manifest, and back. An artifact is
no image: its type says so (image-spec manifest.md, "Guidelines for Artifact Usage"), its config is
the empty one, and nobody can run it. Each layer bears the id of its mount as an annotation. Ids
come in order, so equal contents are an equal manifest.
Read next: `places`, where artifacts are kept.
"""

import json
from collections.abc import Mapping

from minibuild.digest import digest_bytes
from minibuild.errors import ImageError
from minibuild.oci.content import BlobSource
from minibuild.oci.model import (
    OCI_MANIFEST,
    Descriptor,
    descriptor_to_json,
    parse_json,
    parse_manifest,
)
from minibuild.startup.tuples import NamedTuple

ARTIFACT_TYPE = "application/vnd.minibuild.cache-mounts.v1"
ID = "minibuild.cache-mount.id"

EMPTY = b"{}"
EMPTY_CONFIG = Descriptor("application/vnd.oci.empty.v1+json", digest_bytes(EMPTY), len(EMPTY))

Layers = Mapping[str, Descriptor]
"""The layer of each cache mount, by its id."""


class Kept(NamedTuple):
    """The cache mounts at a place: their layers by id, and where these can be read."""

    layers: Layers
    source: BlobSource


def artifact_bytes(layers: Layers) -> bytes:
    """The manifest of these cache mounts."""
    value = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": ARTIFACT_TYPE,
        "config": descriptor_to_json(EMPTY_CONFIG),
        "layers": [
            descriptor_to_json(layers[id]._replace(annotations={ID: id})) for id in sorted(layers)
        ],
    }
    return json.dumps(value, indent=2, ensure_ascii=False).encode("utf-8", "surrogateescape")


def parse_artifact(data: bytes, what: str) -> dict[str, Descriptor]:
    """The cache mounts of a manifest. Raises `ImageError` if it is of something else."""
    if parse_json(data, what).get("artifactType") != ARTIFACT_TYPE:
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


def differing(layers: Layers, known: Layers) -> list[Descriptor]:
    """Those of `layers` that are not the same in `known`."""
    same = {(id, layer.digest) for id, layer in known.items()}
    return [layer for id, layer in layers.items() if (id, layer.digest) not in same]
