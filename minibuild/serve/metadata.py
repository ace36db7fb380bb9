"""What a source of LLB is now, for clients that ask before they build: digests, names, configs.

Comes in: the message `SourceOp`. Goes out: the message with what is known of it. Nothing is kept in
the store, and nothing built: a file from the web is fetched, as its digest has to be known.
Rules: moby/buildkit `frontend/gateway/pb/gateway.proto`, `client/llb/sourceresolver`.
Read next: `bridge`.
"""

import os
from contextlib import closing
from typing import TYPE_CHECKING, Any

from minibuild.buildflags.request import build_request
from minibuild.buildkit.decode import platform_of, source_of
from minibuild.buildkit.rpc import Failure, api_type
from minibuild.digest import digest_bytes
from minibuild.events import VertexInfo, silent
from minibuild.frontend.question_context import Asking
from minibuild.frontend.subrequests import finder_of
from minibuild.graph.op import GitSource, HttpSource, ImageSource
from minibuild.graph.platform import Platform
from minibuild.image.reader import ReadOnlyContent
from minibuild.linux.descriptors import closing_fd
from minibuild.progress.writer import ProgressWriter, reported
from minibuild.serve.answers import as_failures
from minibuild.serve.attested import attestation_chain
from minibuild.serve.attributes import PULLS
from minibuild.serve.lending import agents, secrets, with_logins
from minibuild.serve.needs import Needs
from minibuild.serve.status import set_time
from minibuild.session.request import BuildRequest
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
    from tempfile import mkdtemp

    from minibuild.source.git_objects import describe

    def scratch() -> str:
        return os.path.join(mkdtemp(dir=build.folder), "git")

    found = describe(client, source, progress, scratch, objects=asked.Git.ReturnObject)
    commit, answer.Ref, tag = found.meant
    answer.Checksum = tag or commit
    answer.CommitChecksum = commit if tag else ""
    answer.CommitObject, answer.TagObject = found.commit, found.tag


def _http(
    client: Asking, source: HttpSource, progress: ProgressWriter, build: "Build", answer: Any
) -> None:
    from tempfile import mkdtemp

    from minibuild.source.http import download, open_url

    folder = mkdtemp(dir=build.folder)
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
