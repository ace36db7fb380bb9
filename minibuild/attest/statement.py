"""Attestations as documents: statements about an image, and the manifest that holds them.

Comes in: predicates, and the image they are about. Goes out: a descriptor for the image's index.
The manifest is an OCI artifact, or an image in form only; its platform is `unknown/unknown`, so
that it is not pulled by mistake, and annotations say which image it is about. Rules: the Statement
of in-toto's attestation framework, and BuildKit's docs/attestations/attestation-storage.md.
Read next: `provenance`, `sbom`.
"""

import json
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring
from typing import Any

from minibuild.digest import digest_hex
from minibuild.exporter.result import Subject
from minibuild.graph.platform import Platform
from minibuild.graph.reference import DEFAULT_DOMAIN, Reference
from minibuild.oci.content import BlobSource, ContentStore
from minibuild.oci.model import (
    EMPTY,
    EMPTY_CONFIG,
    OCI_CONFIG,
    OCI_MANIFEST,
    REFERENCE_DIGEST,
    REFERENCE_TYPE,
    Descriptor,
    Manifest,
    describe,
    is_attestation,
    manifest_bytes,
)
from minibuild.oci.transfer import manifests_of
from minibuild.startup.tuples import NamedTuple

STATEMENT = "https://in-toto.io/Statement/v1"
MEDIA_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPE = "in-toto.io/predicate-type"
ARTIFACT_TYPE = "application/vnd.docker.attestation.manifest.v1+json"
NOBODY = Platform("unknown", "unknown")


class Predicate(NamedTuple):
    """What is said, and the URI of the kind of saying. `file` is the name of the file that it goes
    into where an output is files. `subjects` are what it is about, if that is not just the image or
    the files; an empty one stands for these. `core` says that it is an SBOM of the image itself."""

    type: str
    content: Any
    file: str = ""
    subjects: tuple[Mapping[str, Any], ...] = ()
    core: bool = False


def attach(
    content: ContentStore,
    image: Descriptor,
    names: Sequence[Reference],
    predicates: Sequence[Predicate],
    *,
    artifact: bool = True,
) -> Descriptor:
    """The attestation manifest about an image, kept in the store with all its parts."""
    layers = []
    for predicate in predicates:
        data = statement(image_subjects(image, names), predicate)
        content.put(data)
        layers.append(
            describe(MEDIA_TYPE, data)._replace(annotations={PREDICATE_TYPE: predicate.type})
        )
    if artifact:
        content.put(EMPTY)
        config = EMPTY_CONFIG._replace(data=EMPTY)
        subject = Descriptor(image.media_type, image.digest, image.size)
        manifest = Manifest(config, tuple(layers), artifact_type=ARTIFACT_TYPE, subject=subject)
    else:
        manifest = _as_image(content, layers)
    data = manifest_bytes(manifest)
    content.put(data)
    return describe(OCI_MANIFEST, data, NOBODY)._replace(
        annotations={REFERENCE_TYPE: "attestation-manifest", REFERENCE_DIGEST: image.digest},
    )


def _as_image(content: ContentStore, layers: Sequence[Descriptor]) -> Manifest:
    """With a config that tools which expect one can read: as many diff ids as layers, and no
    platform."""
    config = as_json(
        {
            "architecture": NOBODY.architecture,
            "os": NOBODY.os,
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        }
    )
    content.put(config)
    return Manifest(describe(OCI_CONFIG, config), tuple(layers))


class Attestation(NamedTuple):
    """A statement in the store: the image it is about, the kind of its predicate, and its blob."""

    image: str
    type: str
    blob: Descriptor


def attestations_of(source: BlobSource, top: Descriptor) -> list[Attestation]:
    """What is said of an image, or of the images of an index, by the builder."""
    return [
        Attestation(
            entry.annotations.get(REFERENCE_DIGEST, ""),
            blob.annotations.get(PREDICATE_TYPE, ""),
            blob,
        )
        for entry, manifest in manifests_of(source, top)
        if is_attestation(entry)
        for blob in manifest.layers
        if blob.media_type == MEDIA_TYPE
    ]


def image_subjects(image: Descriptor, names: Sequence[Reference]) -> list[Subject]:
    """An image as the subject of a statement, by each of its names."""
    known = [package_url(name, image.platform) for name in names if name.tag] or ["_"]
    return [Subject(name, digest_hex(image.digest)) for name in known]


def statement(subjects: Sequence[Subject], predicate: Predicate) -> bytes:
    """The statement as it is stored: what it is about, and what is said."""
    itself = [{"name": name, "digest": {"sha256": sha256}} for name, sha256 in subjects]
    given = predicate.subjects or ({},)
    about = [subject for one in given for subject in ([one] if one else itself)]
    return as_json(
        {
            "_type": STATEMENT,
            "predicateType": predicate.type,
            "subject": about,
            "predicate": predicate.content,
        }
    )


def package_url(name: Reference, platform: Platform | None, kind: str = "docker") -> str:
    """An image as a package URL: `pkg:docker/busybox@1.36?platform=linux%2Famd64`.

    Rules: the types `docker` and `oci` of the purl specification.
    """
    from urllib.parse import quote

    path = name.path if name.domain == DEFAULT_DOMAIN else f"{name.domain}/{name.path}"
    path = path.removeprefix("library/")
    qualifiers = {
        "digest": name.digest or "",
        "platform": "" if platform is None else str(platform),
    }
    query = "&".join(f"{key}={quote(value, '')}" for key, value in qualifiers.items() if value)
    version = f"@{quote(name.tag, '')}" if name.tag else ""
    return f"pkg:{kind}/{quote(path, '/')}{version}" + (f"?{query}" if query else "")


def as_json(value: Mapping[str, Any]) -> bytes:
    """A document as it is stored: what `json.dumps` gives with `indent=2`, in a quarter of the
    time. Python writes indented JSON with a generator for each level."""
    return _indented(value, "\n").encode("utf-8", "surrogateescape")


def _indented(value: Any, margin: str) -> str:
    if isinstance(value, str):
        return encode_basestring(value)
    inner = f"{margin}  "
    if isinstance(value, dict) and value:
        parts = [f"{encode_basestring(k)}: {_indented(v, inner)}" for k, v in value.items()]
        return f"{{{inner}{f',{inner}'.join(parts)}{margin}}}"
    if isinstance(value, list | tuple) and value:
        parts = [_indented(part, inner) for part in value]
        return f"[{inner}{f',{inner}'.join(parts)}{margin}]"
    return json.dumps(value)
