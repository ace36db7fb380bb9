"""The documents of the OCI image specification: descriptors, manifests, indexes and configs.

Comes in: JSON, from this program or any other. Goes out: typed values, checked: a manifest that
got through `parse_manifest` holds only digests from which a path can be made, and sizes that are
numbers; in a config the environment is a list of strings, and so on. Written documents have the
members in the order in which BuildKit writes them.
Rules: descriptor.md, manifest.md, image-index.md and config.md of the image spec; Docker's schema 2
is the same with other media types. Read next: `content`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from minibuild.digest import DiffID, Digest, digest_bytes
from minibuild.errors import ImageError
from minibuild.graph.image import ContainerConfig, History, ImageConfig, platform_to_json
from minibuild.graph.platform import Platform, matches, sorted_features
from minibuild.oci.document import Member, parse_document
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

REFERENCE_TYPE = "vnd.docker.reference.type"
"""The annotation of an entry of an index that is no image, but about one."""
REFERENCE_DIGEST = "vnd.docker.reference.digest"
"""The annotation that says about which."""
REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"

_MAX_DESCRIPTORS = 20_000
_MAX_DURATION = 1 << 63

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
    """A blob by its digest, and what is known of it without reading it. `data` is a copy of it, to
    be written where the specification wants one; none that is read is believed."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = {}
    platform: Platform | None = None
    data: bytes = b""

    @property
    def is_index(self) -> bool:
        """Whether it says that it is of an index."""
        return self.media_type in INDEXES

    @property
    def is_document(self) -> bool:
        """Whether it says that it is of a manifest or an index, which registries keep apart from
        other blobs."""
        return self.media_type in INDEXES + MANIFESTS


class Manifest(NamedTuple):
    """One image: a config and its layers, lowest first. With an `artifact_type` it is no image, but
    something else that has layers; `subject` is what such an artifact is about."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = {}
    media_type: str = OCI_MANIFEST
    artifact_type: str = ""
    subject: Descriptor | None = None


class ConfigDocument(NamedTuple):
    """The config of an image. `platform` is what it says of it, with nothing filled in; `value` is
    its JSON, to be written again: it may hold more than has a name here."""

    image: ImageConfig
    diff_ids: tuple[DiffID, ...]
    platform: Platform
    value: dict[str, Any]


class Index(NamedTuple):
    """Several manifests, usually one for each platform."""

    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = {}
    media_type: str = OCI_INDEX


EMPTY = b"{}"
EMPTY_CONFIG = Descriptor("application/vnd.oci.empty.v1+json", digest_bytes(EMPTY), len(EMPTY))
"""The config of an artifact that needs none (image-spec manifest.md, "Guidance for an Empty
Descriptor")."""


# --- Reading --------------------------------------------------------------------------------------


def _platform(platform: Member) -> Platform:
    """The platform that a member of a descriptor is, and a config itself."""
    return Platform(
        platform["os"].text(),
        platform["architecture"].text(),
        platform["variant"].text(),
        platform["os.version"].text(),
        sorted_features(platform["os.features"].texts()),
    )


def parse_descriptor(descriptor: Member) -> Descriptor:
    """The descriptor that a member of a document is. Raises the error of the document."""
    descriptor.required().object()
    return Descriptor(
        descriptor["mediaType"].text(),
        descriptor["digest"].digest(),
        descriptor["size"].whole(),
        descriptor["annotations"].strings(),
        _platform(descriptor["platform"]) if "platform" in descriptor else None,
    )


def _versioned(data: bytes, what: str) -> Member:
    document = parse_document(data, what)
    version = document["schemaVersion"]
    if version.value != 2:
        error = version.wrong("is missing" if version.value is None else "is not 2")
        error.hint = "images of Docker's schema 1 are long deprecated: push or pull the image again"
        raise error
    return document


def is_index(data: bytes, media_type: str, what: str) -> bool:
    """Whether a document is an index and not a manifest; one that claims to be both is refused."""
    document = _versioned(data, what)
    declared = document["mediaType"].text(media_type)
    if "manifests" in document and ("config" in document or "layers" in document):
        raise document.wrong("claims to be both an index and a manifest")
    if media_type and media_type in INDEXES + MANIFESTS and declared != media_type:
        raise document.wrong(f"says it is {declared}, and its descriptor says {media_type}")
    return declared in INDEXES or (declared not in MANIFESTS and "manifests" in document)


def parse_manifest(data: bytes, what: str = "the manifest") -> Manifest:
    """The manifest in `data`. Raises `ImageError`."""
    document = _versioned(data, what)
    layers = document["layers"].required().items(_MAX_DESCRIPTORS)
    return Manifest(
        parse_descriptor(document["config"]),
        tuple(parse_descriptor(layer) for layer in layers),
        document["annotations"].strings(),
        document["mediaType"].text(OCI_MANIFEST),
        document["artifactType"].text(),
        parse_descriptor(document["subject"]) if "subject" in document else None,
    )


def parse_index(data: bytes, what: str = "the index") -> Index:
    """The index in `data`. Raises `ImageError`."""
    document = _versioned(data, what)
    manifests = document["manifests"].required().items(_MAX_DESCRIPTORS)
    return Index(
        tuple(parse_descriptor(manifest) for manifest in manifests),
        document["annotations"].strings(),
        document["mediaType"].text(OCI_INDEX),
    )


_KNOWN = frozenset(
    "os architecture variant os.version os.features config history author created rootfs".split()
)


def parse_config(
    data: bytes, what: str = "the config", layers: int | None = None
) -> ConfigDocument:
    """The config of an image in `data`, whose manifest has so many `layers`; members that have no
    name here are kept. Raises `ImageError`."""
    document = parse_document(data, what)
    platform = _platform(document)
    image = ImageConfig(
        platform=platform._replace(
            os=platform.os or "linux", architecture=platform.architecture or "amd64"
        ),
        config=_container(document["config"]),
        history=tuple(_history(entry) for entry in document["history"].items()),
        author=document["author"].text(),
        created=document["created"].time(),
        extra={name: value for name, value in document.object().items() if name not in _KNOWN},
    )
    rootfs = document["rootfs"]
    rootfs["type"].text()
    diff_ids = tuple(DiffID(item.digest()) for item in rootfs["diff_ids"].items(_MAX_DESCRIPTORS))
    if layers is not None and len(diff_ids) != layers:
        raise rootfs["diff_ids"].wrong(f"names {len(diff_ids)} layers, and the manifest {layers}")
    value = document.object()
    if "history" in document:  # an entry that is null is one that says nothing
        value = {**value, "history": [entry or {} for entry in value["history"]]}
    return ConfigDocument(image, diff_ids, platform, value)


def _container(config: Member) -> ContainerConfig:
    """The `config` of a config: what starts in a container. Null is what is not there."""
    found = {name: value for name, value in config.object().items() if value is not None}
    for name, member in config.members():
        match name:
            case "User" | "WorkingDir" | "StopSignal":
                member.word()
            case "Env" | "Entrypoint" | "Cmd" | "Shell" | "OnBuild":
                member.words()
            case "Labels" if name in found:
                found[name] = member.strings()
            case "ExposedPorts" | "Volumes" if name in found:
                found[name] = {key: value.object() for key, value in member.members()}
            case "ArgsEscaped":
                member.flag()
            case "Healthcheck":
                _healthcheck(member)
    return cast(ContainerConfig, found)


def _healthcheck(check: Member) -> None:
    check["Test"].texts()
    for name in ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"):
        if name in check:
            check[name].whole(-_MAX_DURATION, _MAX_DURATION)


def _history(entry: Member) -> History:
    for name in ("created_by", "author", "comment"):
        entry[name].text()
    entry["created"].time()
    entry["empty_layer"].flag()
    return cast(History, {name: value for name, value in entry.object().items() if value})


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
    if descriptor.data:
        from base64 import b64encode

        value["data"] = b64encode(descriptor.data).decode()
    if descriptor.platform is not None:
        value["platform"] = platform_to_json(descriptor.platform)
    return value


def _write(value: dict[str, Any], annotations: Mapping[str, str]) -> bytes:
    if annotations:
        value["annotations"] = dict(sorted(annotations.items()))
    return json.dumps(value, indent=2, ensure_ascii=False).encode("utf-8", "surrogateescape")


def manifest_bytes(manifest: Manifest) -> bytes:
    """A manifest as it is stored: the same value always gives the same bytes."""
    value: dict[str, Any] = {"schemaVersion": 2, "mediaType": manifest.media_type}
    if manifest.artifact_type:
        value["artifactType"] = manifest.artifact_type
    value["config"] = descriptor_to_json(manifest.config)
    value["layers"] = [descriptor_to_json(layer) for layer in manifest.layers]
    if manifest.subject is not None:
        value["subject"] = descriptor_to_json(manifest.subject)
    return _write(value, manifest.annotations)


def index_bytes(index: Index) -> bytes:
    """An index as it is stored."""
    value = {
        "schemaVersion": 2,
        "mediaType": index.media_type,
        "manifests": [descriptor_to_json(manifest) for manifest in index.manifests],
    }
    return _write(value, index.annotations)


def is_attestation(descriptor: Descriptor) -> bool:
    """Whether an entry of an index is no image, but holds statements about one. Rule: BuildKit,
    docs/attestations/attestation-storage.md."""
    return descriptor.annotations.get(REFERENCE_TYPE) == "attestation-manifest"


def describe(media_type: str, data: bytes, platform: Platform | None = None) -> Descriptor:
    """The descriptor of a document."""
    return Descriptor(media_type, digest_bytes(data), len(data), {}, platform)


def choose_platform(manifests: Sequence[Descriptor], wanted: Platform, what: str) -> Descriptor:
    """The manifest of an index that runs on `wanted`: its own variant, else the best lower one."""
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
