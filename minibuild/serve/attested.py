"""What is said of an image, for clients that ask before they build: its chain of attestations.

Comes in: an image that was found. Goes out: a message `AttestationChain`: the index, the manifest
of attestations about the image of a platform, those statements that were asked for, and what signs
that manifest. Nothing is judged here: that is for a policy of the client.
Rules: BuildKit's docs/attestations/attestation-storage.md, moby/policy-helpers `image/resolve.go`.
Read next: `metadata`.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from minibuild.attest.statement import PREDICATE_TYPE
from minibuild.buildkit.rpc import api_type
from minibuild.graph.reference import parse_reference
from minibuild.image.reader import ReadOnlyContent
from minibuild.oci.content import BlobSource, read_document
from minibuild.oci.document import parse_document
from minibuild.oci.model import (
    OCI_INDEX,
    REFERENCE_DIGEST,
    Descriptor,
    is_attestation,
    is_index,
    parse_descriptor,
    parse_index,
    parse_manifest,
)
from minibuild.registry.pull import RemoteBlobs, connect
from minibuild.session.request import RegistryAccess
from minibuild.source.image import FoundImage

if TYPE_CHECKING:
    from minibuild.serve.build import Build

_SIGNATURES = (
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    "application/vnd.dev.cosign.artifact.sig.v1+json",
)
"""The kinds of signatures, the better one first."""
_STATEMENT_BYTES = 32 << 20


def attestation_chain(
    build: "Build", access: RegistryAccess, found: FoundImage, kinds: Collection[str]
) -> Any:
    """The chain of an image, with the statements of these kinds; None if the image is no part of an
    index. Raises `ImageError` and `RegistryError`."""
    image, signed = found.resolved.source, None
    content = ReadOnlyContent(build.builder.root)
    source: BlobSource = content
    if image.origin == "registry":
        reference = parse_reference(image.ref)._replace(digest=found.digest)
        root, source = signed = connect(access, build.cancelled).find(reference)
    else:
        root = Descriptor(OCI_INDEX, found.digest, content.size(found.digest))
    chain = api_type("AttestationChain")(Root=root.digest, ImageManifest=image.digest)

    def add(blob: Descriptor) -> bytes:
        """Put a blob into the chain."""
        data = read_document(source, blob, _STATEMENT_BYTES)
        made = api_type("Blob")(data=data)
        made.descriptor.media_type, made.descriptor.digest = blob.media_type, blob.digest
        made.descriptor.size = blob.size
        made.descriptor.annotations.update(blob.annotations)
        chain.Blobs[blob.digest].CopyFrom(made)
        return data

    data = add(root)
    if not is_index(data, root.media_type, root.digest):
        return None
    for entry in parse_index(data, root.digest).manifests:
        if is_attestation(entry) and entry.annotations.get(REFERENCE_DIGEST) == image.digest:
            chain.AttestationManifest = entry.digest
            for statement in parse_manifest(add(entry), entry.digest).layers:
                if statement.annotations.get(PREDICATE_TYPE) in kinds:
                    add(statement)
            signature = None if signed is None else _signature(signed[1], entry)
            if signature is not None:
                chain.SignatureManifests.append(signature.digest)
                for part in parse_manifest(add(signature), signature.digest).layers:
                    add(part)
            break
    return chain


def _signature(registry: RemoteBlobs, manifest: Descriptor) -> Descriptor | None:
    """The manifest of what signs another one; None if nothing does. Raises `RegistryError`."""
    about = parse_document(registry.referrers(manifest.digest) or b"{}", "the list of signatures")
    found = [(one["artifactType"].text(), one) for one in about["manifests"].items()]
    known = [(_SIGNATURES.index(kind), one) for kind, one in found if kind in _SIGNATURES]
    return parse_descriptor(min(known, key=lambda pair: pair[0])[1]) if known else None
