"""What a source of LLB is now, for clients that ask before they build: digests, names, configs.

Comes in: the message `SourceOp`. Goes out: the message with what is known of it. Nothing is kept in
the store, and nothing built: a file from the web is fetched, as its digest has to be known.
Rules: moby/buildkit `frontend/gateway/pb/gateway.proto`, `client/llb/sourceresolver`. Of an image
it may be what is said of it, its chain of attestations: the index, the manifest of attestations
about the image of a platform, those statements that were asked for, and what signs that manifest.
Nothing is judged here: that is for a policy of the client (BuildKit's
docs/attestations/attestation-storage.md, moby/policy-helpers `image/resolve.go`).
Read next: `bridge`.
"""

import os
from collections.abc import Collection
from contextlib import closing
from typing import TYPE_CHECKING, Any

from minibuild.attest.statement import PREDICATE_TYPE
from minibuild.buildflags.request import build_request
from minibuild.buildkit.decode import platform_of, source_of
from minibuild.buildkit.rpc import Failure, api_type
from minibuild.digest import digest_bytes
from minibuild.events import VertexInfo, silent
from minibuild.frontend.question_context import Asking
from minibuild.frontend.subrequests import finder_of
from minibuild.graph.op import GitSource, HttpSource, ImageSource
from minibuild.graph.platform import Platform
from minibuild.graph.reference import parse_reference
from minibuild.image.reader import ReadOnlyContent
from minibuild.linux.descriptors import closing_fd
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
from minibuild.progress.writer import ProgressWriter, reported
from minibuild.registry.pull import RemoteBlobs, connect
from minibuild.serve.answers import as_failures
from minibuild.serve.attributes import PULLS
from minibuild.serve.client_credentials import agents, secrets, with_logins
from minibuild.serve.prepared import Needs
from minibuild.serve.status import set_time
from minibuild.session.request import BuildRequest, RegistryAccess
from minibuild.session.secrets import SecretReader, SshReader
from minibuild.source.image import FoundImage

if TYPE_CHECKING:
    from minibuild.serve.build import Build


def image_config(build: "Build", asked: Any, source: Any) -> Any:
    """The message `ResolveImageConfigResponse` to a request, about the source that may be used for
    the image. Raises `Failure`."""
    image = source_of(api_type("Op")(source=source))
    if not isinstance(image, ImageSource):
        raise Failure(f"a policy has {source.identifier} used for {asked.Ref}: it is no image")
    made = _request(build, asked.ResolveMode, image.ref)
    found = _image(build, made, image.ref, platform_of(asked.Platform))
    return api_type("ResolveImageConfigResponse")(
        Digest=found.digest, Config=found.document, Ref=found.resolved.source.ref
    )


def _image(build: "Build", made: BuildRequest, ref: str, platform: Platform) -> FoundImage:
    with as_failures():
        content = ReadOnlyContent(build.builder.root)
        return finder_of(made, content, silent, build.cancelled).found(ref, platform)


def describe_source(build: "Build", asked: Any) -> Any:
    """The message `ResolveSourceMetaResponse` to a request: the same for all of a build, also if
    the source changes meanwhile. Raises `Failure`."""
    key = asked.SerializeToString(deterministic=True)
    if key not in build.described:
        build.described[key] = _described(build, asked)
    return build.described[key]


def _described(build: "Build", asked: Any) -> Any:
    message = api_type("Op")(source=asked.Source, platform=asked.Platform)
    answer = api_type("ResolveSourceMetaResponse")(Source=asked.Source)
    with as_failures():
        source = source_of(message)
        if isinstance(source, ImageSource):
            made = _request(build, asked.ResolveMode, source.ref)
            found = _image(build, made, source.ref, platform_of(asked.Platform))
            answer.Image.Digest = found.digest
            answer.Image.Config = b"" if asked.Image.NoConfig else found.document
            kinds = list(asked.Image.ResolveAttestations)
            if asked.Image.AttestationChain or kinds:
                chain = attestation_chain(build, made.registries, found, kinds)
                if chain is not None:
                    answer.Image.AttestationChain.CopyFrom(chain)
        elif isinstance(source, GitSource | HttpSource):
            _ask_the_web(build, message, source, asked, answer)
    return answer


def _request(build: "Build", mode: str = "", image: str = "") -> BuildRequest:
    """What says how servers are reached; for an image with the client's logins."""
    given = {"pull": PULLS.get(mode, PULLS[""])}
    made = build_request(build.folder, given, build.builder.environment)
    return with_logins(build, made, [image]) if image else made


def _ask_the_web(
    build: "Build", message: Any, source: GitSource | HttpSource, asked: Any, answer: Any
) -> None:
    data = message.SerializeToString()
    needs = Needs()
    definition = api_type("Definition")()
    getattr(definition, "def").append(data)
    needs.add(definition)
    lent = agents(build.session, needs.agents, build.folder, build.resources)
    ssh = build.resources.enter_context(closing(SshReader(lent)))
    secret = SecretReader(secrets(build.session, needs.secrets))
    client = Asking(_request(build).registries, secret, ssh, build.cancelled, build.status)
    info = VertexInfo(digest_bytes(data), f"resolve {asked.Source.identifier}")
    with reported(build.status, info) as progress:
        if isinstance(source, GitSource):
            _git(client, source, progress, build, asked, answer.Git)
        else:
            _http(client, source, progress, build, answer.HTTP)


def _git(
    client: Asking,
    source: GitSource,
    progress: ProgressWriter,
    build: "Build",
    asked: Any,
    answer: Any,
) -> None:
    from minibuild.source.git_objects import describe

    def scratch() -> str:
        return os.path.join(build.scratch("source-"), "git")

    found = describe(client, source, progress, scratch, objects=asked.Git.ReturnObject)
    commit, answer.Ref, tag = found.meant
    answer.Checksum = tag or commit
    answer.CommitChecksum = commit if tag else ""
    answer.CommitObject, answer.TagObject = found.commit, found.tag


def _http(
    client: Asking, source: HttpSource, progress: ProgressWriter, build: "Build", answer: Any
) -> None:
    from minibuild.source.http import download, open_url

    folder = build.scratch("source-")
    response = open_url(client, source, {})
    with (
        closing(response),
        closing_fd(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as fd,
    ):
        answer.Filename, answer.Checksum = download(client, source, response, fd, progress)
    path = os.path.join(folder, answer.Filename)
    if os.stat(path).st_mtime:
        set_time(answer.LastModified, os.stat(path).st_mtime)
    os.unlink(path)


# --- What is said of an image ---


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
