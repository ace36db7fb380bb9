"""The documents of the OCI image specification: descriptors, manifests and indexes.

Comes in: JSON, from ourselves or from anybody. Goes out: typed values, checked: a manifest that
got through `parse_manifest` holds only digests from which a path can be made, and sizes that are
numbers. Written documents have the members in the order in which BuildKit writes them.
Rules: descriptor.md, manifest.md and image-index.md of the image spec; Docker's schema 2 is the
same with other media types. Read next: `content`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from minibuild.digest import Digest, InvalidDigest, digest_bytes, parse_digest
from minibuild.errors import ImageError
from minibuild.graph.image import platform_to_json
from minibuild.graph.platform import Platform, sorted_features
from minibuild.startup.tuples import NamedTuple

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = OCI_LAYER + "+gzip"
OCI_LAYER_ZSTD = OCI_LAYER + "+zstd"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = DOCKER_LAYER + ".gzip"
DOCKER_LAYER_ZSTD = DOCKER_LAYER + ".zstd"

Compression = Literal["uncompressed", "gzip", "zstd"]

INDEXES = (OCI_INDEX, DOCKER_INDEX)
MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"

MAX_DOCUMENT_BYTES = 4 << 20
"""The size of a manifest that registries have to take (distribution spec, "Pushing Manifests")."""

_MAX_SIZE = 1 << 62
_MAX_DESCRIPTORS = 20_000

_OCI_TO_DOCKER = {
    OCI_INDEX: DOCKER_INDEX,
    OCI_MANIFEST: DOCKER_MANIFEST,
    OCI_CONFIG: DOCKER_CONFIG,
    OCI_LAYER: DOCKER_LAYER,
    OCI_LAYER_GZIP: DOCKER_LAYER_GZIP,
    OCI_LAYER_ZSTD: DOCKER_LAYER_ZSTD,
}
_DOCKER_TO_OCI = {docker: oci for oci, docker in _OCI_TO_DOCKER.items()}
# Docker's "foreign" layers and OCI's retired "nondistributable" ones are plain layers with urls.
_DOCKER_TO_OCI |= {
    "application/vnd.docker.image.rootfs.foreign.diff.tar": OCI_LAYER,
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": OCI_LAYER_GZIP,
    "application/vnd.oci.image.layer.nondistributable.v1.tar": OCI_LAYER,
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": OCI_LAYER_GZIP,
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": OCI_LAYER_ZSTD,
}


def as_oci(media_type: str) -> str:
    """The OCI name of a media type; unknown ones as they are."""
    return _DOCKER_TO_OCI.get(media_type, media_type)


def as_docker(media_type: str) -> str:
    """Docker's name of a media type; unknown ones as they are."""
    return _OCI_TO_DOCKER.get(media_type, media_type)


class Descriptor(NamedTuple):
    """A blob by its digest, and what is known of it without reading it."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = {}
    platform: Platform | None = None


class Manifest(NamedTuple):
    """One image: a config and its layers, lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = {}
    media_type: str = OCI_MANIFEST


class Index(NamedTuple):
    """Several manifests, usually one for each platform."""

    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = {}
    media_type: str = OCI_INDEX


# --- Reading --------------------------------------------------------------------------------------


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ImageError(f"{what} is not a string")
    return value


def _annotations(value: Any, what: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise ImageError(f"the annotations of {what} are not strings by name")
    return cast(dict[str, str], value)


def _platform(value: Any, what: str) -> Platform | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ImageError(f"the platform of {what} is not an object")
    return Platform(
        _text(value.get("os", ""), f"the os of {what}"),
        _text(value.get("architecture", ""), f"the architecture of {what}"),
        _text(value.get("variant", ""), f"the variant of {what}"),
        _text(value.get("os.version", ""), f"the os.version of {what}"),
        _features(value.get("os.features"), what),
    )


def _features(value: Any, what: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ImageError(f"the os.features of {what} are not a list")
    return sorted_features(_text(item, f"a feature of {what}") for item in value)


def parse_descriptor(value: Any, what: str) -> Descriptor:
    """The descriptor in parsed JSON; `what` names it in errors."""
    if not isinstance(value, dict):
        raise ImageError(f"{what} is not a descriptor")
    size = value.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < _MAX_SIZE:
        raise ImageError(f"{what} has no valid size")
    try:
        digest = parse_digest(_text(value.get("digest"), f"the digest of {what}"))
    except InvalidDigest as error:
        raise ImageError(f"the digest of {what} is {error}") from None
    return Descriptor(
        _text(value.get("mediaType", ""), f"the media type of {what}"),
        digest,
        size,
        _annotations(value.get("annotations"), what),
        _platform(value.get("platform"), what),
    )


def parse_json(data: bytes, what: str) -> dict[str, Any]:
    """The JSON object in `data`, which must not be larger than a document may be."""
    if len(data) > MAX_DOCUMENT_BYTES:
        raise ImageError(f"{what} is larger than {MAX_DOCUMENT_BYTES} bytes")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"{what} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ImageError(f"{what} is not a JSON object")
    return cast(dict[str, Any], value)


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list) or len(value) > _MAX_DESCRIPTORS:
        raise ImageError(f"{what} is not a list of descriptors")
    return value


def _document(data: bytes, what: str) -> dict[str, Any]:
    value = parse_json(data, what)
    if value.get("schemaVersion") != 2:
        raise ImageError(
            f"{what} has schema version {value.get('schemaVersion')!r}, not 2",
            hint="images of Docker's schema 1 are long deprecated: push or pull the image anew",
        )
    return value


def is_index(data: bytes, media_type: str, what: str) -> bool:
    """Whether a document is an index and not a manifest; one that claims to be both is refused."""
    value = _document(data, what)
    declared = _text(value.get("mediaType", media_type), f"the media type of {what}")
    if "manifests" in value and ("config" in value or "layers" in value):
        raise ImageError(f"{what} claims to be both an index and a manifest")
    if media_type and media_type in INDEXES + MANIFESTS and declared != media_type:
        raise ImageError(f"{what} says it is {declared}, and its descriptor says {media_type}")
    return declared in INDEXES or (declared not in MANIFESTS and "manifests" in value)


def parse_manifest(data: bytes, what: str = "the manifest") -> Manifest:
    """The manifest in `data`. Raises `ImageError`."""
    value = _document(data, what)
    layers = [
        parse_descriptor(layer, f"layer {number} of {what}")
        for number, layer in enumerate(_list(value.get("layers"), f"the layers of {what}"))
    ]
    return Manifest(
        parse_descriptor(value.get("config"), f"the config of {what}"),
        tuple(layers),
        _annotations(value.get("annotations"), what),
        _text(value.get("mediaType", OCI_MANIFEST), f"the media type of {what}"),
    )


def parse_index(data: bytes, what: str = "the index") -> Index:
    """The index in `data`. Raises `ImageError`."""
    value = _document(data, what)
    manifests = [
        parse_descriptor(manifest, f"manifest {number} of {what}")
        for number, manifest in enumerate(_list(value.get("manifests"), f"the list in {what}"))
    ]
    return Index(
        tuple(manifests),
        _annotations(value.get("annotations"), what),
        _text(value.get("mediaType", OCI_INDEX), f"the media type of {what}"),
    )


# --- Writing --------------------------------------------------------------------------------------


def descriptor_to_json(descriptor: Descriptor) -> dict[str, Any]:
    """A descriptor as JSON members; empty ones are left out."""
    value: dict[str, Any] = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
    if descriptor.annotations:
        value["annotations"] = dict(sorted(descriptor.annotations.items()))
    if descriptor.platform is not None:
        value["platform"] = platform_to_json(descriptor.platform)
    return value


def _write(value: dict[str, Any], annotations: Mapping[str, str]) -> bytes:
    if annotations:
        value["annotations"] = dict(sorted(annotations.items()))
    return json.dumps(value, indent=2, ensure_ascii=False).encode("utf-8", "surrogateescape")


def manifest_bytes(manifest: Manifest) -> bytes:
    """A manifest as it is stored: the same value always gives the same bytes."""
    value = {
        "schemaVersion": 2,
        "mediaType": manifest.media_type,
        "config": descriptor_to_json(manifest.config),
        "layers": [descriptor_to_json(layer) for layer in manifest.layers],
    }
    return _write(value, manifest.annotations)


def index_bytes(index: Index) -> bytes:
    """An index as it is stored."""
    value = {
        "schemaVersion": 2,
        "mediaType": index.media_type,
        "manifests": [descriptor_to_json(manifest) for manifest in index.manifests],
    }
    return _write(value, index.annotations)


def describe(media_type: str, data: bytes, platform: Platform | None = None) -> Descriptor:
    """The descriptor of a document."""
    return Descriptor(media_type, digest_bytes(data), len(data), {}, platform)


def choose_platform(manifests: Sequence[Descriptor], wanted: Platform, what: str) -> Descriptor:
    """The manifest of an index that runs on `wanted`: its own variant, else the best lower one."""
    from minibuild.graph.platform import matches

    # Attestations of BuildKit hang in the index as images of platform unknown/unknown.
    fitting = [m for m in manifests if m.platform is not None and matches(wanted, m.platform)]
    if not fitting and len(manifests) == 1 and manifests[0].platform is None:
        return manifests[0]
    if not fitting:
        offered = sorted({str(m.platform) for m in manifests if m.platform is not None})
        raise ImageError(
            f"no match for platform {wanted} in {what}",
            hint=f"it has {', '.join(offered)}" if offered else "its index names no platform",
        )
    exact = [m for m in fitting if m.platform == wanted]
    return (exact or sorted(fitting, key=lambda m: str(m.platform), reverse=True))[0]
