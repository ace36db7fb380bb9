"""What a client says beside its definition: policies, exporters in its session, an archive."""

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import grpc
import pytest

from minibuild.digest import digest_bytes
from minibuild.graph.platform import host_platform
from tests.support.buildkit_client import TYPES, Client, two_way, unary
from tests.support.webserver import serving

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount")]
JUDGE = "moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier"
EXPORTER = "moby.exporter.v1.Exporter"


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "a").write_text("a\n")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY a /\n")
    return folder


def client_of(
    server: str, context: Path, services: Mapping[str, Any] = MappingProxyType({}), **folders: Path
) -> Client:
    place = context.parent / "client"
    place.mkdir(exist_ok=True)
    lent = {"context": context, "dockerfile": context, **folders}
    return Client(server, place, lent, services=services)


def local(name: str, caps: tuple[str, ...] = ()) -> bytes:
    """A definition of a folder of the client."""
    op = TYPES["Op"](source={"identifier": f"local://{name}"})
    made = definition_of(op)
    for cap in caps:
        made.metadata[digest_bytes(op.SerializeToString())].caps[cap] = True
    return bytes(made.SerializeToString())


def definition_of(op: Any) -> Any:
    """The definition whose result is an op."""
    data, made = op.SerializeToString(), TYPES["Definition"]()
    end = TYPES["Op"](inputs=[{"digest": digest_bytes(data)}]).SerializeToString()
    getattr(made, "def").extend([data, end])
    return made


def policy(action: str, identifier: str, to: str = "") -> Any:
    made = TYPES["Policy"](rules=[{"action": action, "selector": {"identifier": identifier}}])
    if to:
        made.rules[0].updates.identifier = to
    return made


@pytest.mark.parametrize("definition", [None, local("context")], ids=["dockerfile", "llb"])
def test_policies_of_a_request(
    server: str, context: Path, tmp_path: Path, definition: bytes | None
) -> None:
    """They refuse a folder of the client, or put another in its place: that one is asked for."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a").write_text("other\n")
    client = client_of(server, context, other=tmp_path / "other")
    refused = {"SourcePolicy": policy("DENY", "local://cont*")}
    with pytest.raises(grpc.RpcError, match="source denied by policy: local://context"):
        client.build({}, [("local", {})], definition, fields=refused)
    assert "a" not in client.sent
    instead = {"SourcePolicy": policy("CONVERT", "local://context", "local://other")}
    client.build({}, [("local", {})], definition, fields=instead)
    assert (client.received / "output-0/a").read_text() == "other\n"


def test_policies_that_mean_nothing(server: str, context: Path) -> None:
    client = client_of(server, context)
    wrong = {"SourcePolicy": TYPES["Policy"](rules=[{"action": 9}])}
    with pytest.raises(grpc.RpcError, match="invalid nil selector in policy"):
        client.build({}, fields=wrong, gateway=False)


@pytest.mark.parametrize("definition", [None, local("context")], ids=["dockerfile", "llb"])
def test_a_judge_in_the_session(
    server: str, context: Path, tmp_path: Path, definition: bytes | None
) -> None:
    """It is asked about each source; what it names instead, it is asked about again."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a").write_text("other\n")
    asked: list[str] = []
    verdicts = {
        "local://context": {"action": "CONVERT", "update": {"identifier": "local://other"}},
        "local://other": {"action": "ALLOW"},
        "local://dockerfile": {"action": "ALLOW"},
    }

    def check(request: Any, context: Any) -> Any:
        asked.append(request.Source.Source.identifier)
        return TYPES["CheckPolicyResponse"](decision=verdicts[asked[-1]])

    handler = unary(check, TYPES["CheckPolicyRequest"], TYPES["CheckPolicyResponse"])
    client = client_of(server, context, {JUDGE: {"CheckPolicy": handler}}, other=tmp_path / "other")
    if definition is None:  # A Dockerfile is read with the folders that it names itself.
        verdicts["local://context"] = {"action": "ALLOW"}
        client.build({}, [("local", {})])
        assert asked == ["local://context", "local://dockerfile", "local://context"]
    else:
        client.build({}, [("local", {})], definition)
        assert asked == ["local://context", "local://other"]
        assert (client.received / "output-0/a").read_text() == "other\n"
    verdicts["local://context"] = {"action": "DENY", "denyMessages": [{"message": "not today"}]}
    refusal = 'source "local://context" not allowed by policy: action DENY: not today'
    with pytest.raises(grpc.RpcError, match=refusal):
        client.build({}, [("tar", {})], definition)


@pytest.mark.parametrize(
    ("attributes", "dockerfile", "asked_last"),
    [
        ({}, "", "local://dockerfile"),
        ({}, "FROM example.test/base:1\n", "docker-image://example.test/base:1"),
        ({"platform": "linux/arm64"}, "FROM busybox\n", "docker-image://docker.io/library/busybox"),
        ({"context": "http://127.0.0.1:1/x.tar"}, "FROM scratch\n", "http://127.0.0.1:1/x.tar"),
        (
            {"context": "http://127.0.0.1:1/x.git#v1"},
            "FROM scratch\n",
            "git://127.0.0.1:1/x.git#v1",
        ),
        ({"requestid": "frontend.outline"}, "FROM busybox\n", "docker-image://docker.io/"),
    ],
    ids=["dockerfile", "image", "platform", "archive", "git", "question"],
)
def test_a_judge_refuses_before_anything_is_fetched(
    server: str, context: Path, attributes: Mapping[str, str], dockerfile: str, asked_last: str
) -> None:
    """An image is asked about by the name that the Dockerfile gives it: no registry is there."""
    (context / "Dockerfile").write_text(dockerfile)
    asked: list[Any] = []

    def check(request: Any, context: Any) -> Any:
        asked.append(request)
        identifier = request.Source.Source.identifier
        action = "DENY" if identifier.startswith(asked_last) else "ALLOW"
        return TYPES["CheckPolicyResponse"](decision={"action": action})

    handler = unary(check, TYPES["CheckPolicyRequest"], TYPES["CheckPolicyResponse"])
    client = client_of(server, context, {JUDGE: {"CheckPolicy": handler}})
    with pytest.raises(grpc.RpcError, match=f'source "{asked_last}.*" not allowed by policy'):
        client.build(attributes, [("local", {})])
    of_image = asked_last.startswith("docker-image://")
    architecture = attributes.get("platform", f"linux/{host_platform().architecture}")
    platform = asked[-1].Platform
    assert f"{platform.OS}/{platform.Architecture}" == (architecture if of_image else "/")


def test_exporters_in_the_session(server: str, context: Path) -> None:
    """They are asked for with the result, and hear what was made."""
    ended: list[Any] = []

    def find(request: Any, context: Any) -> Any:
        assert len(request.refs) == 1
        return TYPES["FindExportersResponse"](exporters=[{"Type": "oci"}])

    def end(request: Any, context: Any) -> Any:
        ended.append(request.exporter_response["containerimage.digest"])
        return TYPES["FinalizeExportResponse"]()

    services = {
        EXPORTER: {
            "FindExporters": unary(
                find, TYPES["FindExportersRequest"], TYPES["FindExportersResponse"]
            ),
            "FinalizeExport": unary(
                end, TYPES["FinalizeExportRequest"], TYPES["FinalizeExportResponse"]
            ),
        }
    }
    fields = {"EnableSessionExporter": True}
    client = client_of(server, context, services)
    answer = client.build({}, [("tar", {})], fields=fields)
    assert ended == [answer["containerimage.digest"]]
    with tarfile.open(client.received / "output-1") as archive:
        assert "index.json" in archive.getnames()
    without = client_of(server, context)
    without.received.joinpath("output-0").unlink()
    without.build({}, [("tar", {})], fields=fields)


def test_what_an_op_needs(server: str, context: Path) -> None:
    """A client says so; what is not here would be left out in silence."""
    client = client_of(server, context)
    client.build({}, [("local", {})], local("context", ("source.local", "source.local.differ")))
    with pytest.raises(grpc.RpcError, match="metadatatransfer is not possible here"):
        client.build({}, [("tar", {})], local("context", ("source.local.metadatatransfer",)))


def test_a_dockerfile_beside_an_archive(server: str, context: Path) -> None:
    """The archive is uploaded, a folder of it is the context, and its ignore file counts."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for path, text in (("sub/dir/a", "a"), ("sub/dir/b", "b"), ("sub/dir/.dockerignore", "b")):
            member = tarfile.TarInfo(path)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    kind = TYPES["BytesMessage"]

    def upload(requests: Iterator[Any], context: Any) -> Iterator[Any]:
        yield kind(data=data.getvalue())

    services = {"moby.upload.v1.Upload": {"Pull": two_way(upload, kind, kind)}}
    client = client_of(server, context, services)
    (context / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    attributes = {
        "context": "http://buildkit-session/x",
        "dockerfilekey": "dockerfile",
        "contextsubdir": "sub/dir",
    }
    client.build(attributes, [("local", {})])
    assert sorted(os.listdir(client.received / "output-0")) == [".dockerignore", "a"]


def layout_services(top: bytes, layer: bytes, config: bytes, manifest: bytes) -> Any:
    """A store with an image, of which the layer may be another one."""
    blobs = {digest_bytes(data): data for data in (top, config, manifest)}
    blobs[digest_bytes(LAYER)] = layer

    def info(request: Any, context: Any) -> Any:
        return TYPES["ContentInfoResponse"](
            info={"digest": request.digest, "size": len(blobs[request.digest])}
        )

    def read(request: Any, context: Any) -> Iterator[Any]:
        for at in range(0, len(blobs[request.digest]), 1000):
            yield TYPES["ContentReadResponse"](data=blobs[request.digest][at : at + 1000])

    asked, answer = TYPES["ContentReadRequest"], TYPES["ContentReadResponse"]
    reading = grpc.unary_stream_rpc_method_handler(read, asked.FromString, answer.SerializeToString)
    sizes = unary(info, TYPES["ContentInfoRequest"], TYPES["ContentInfoResponse"])
    return {"containerd.services.content.v1.Content": {"Info": sizes, "Read": reading}}


def tar(name: str) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return data.getvalue()


LAYER = tar("x")


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (LAYER, ""),
        (tar("y"), "has the digest sha256:"),
        (LAYER + b"z", "is larger than the"),
        (LAYER[:-1], "has 10239 bytes, and its descriptor says 10240"),
    ],
    ids=["right", "other", "longer", "shorter"],
)
def test_an_image_in_a_layout_of_a_client(
    server: str, context: Path, layer: bytes, message: str
) -> None:
    """By an index, which need not say that it is one."""
    here, kind = host_platform(), "application/vnd.oci.image."
    config = json.dumps(
        {"os": here.os, "architecture": here.architecture,
         "rootfs": {"type": "layers", "diff_ids": [digest_bytes(LAYER)]}}
    ).encode()  # fmt: skip

    def described(name: str, data: bytes) -> dict[str, Any]:
        return {"mediaType": kind + name, "digest": digest_bytes(data), "size": len(data)}

    parts = {"config": described("config.v1+json", config),
             "layers": [described("layer.v1.tar", LAYER)]}  # fmt: skip
    manifest = json.dumps({"schemaVersion": 2, **parts}).encode()
    listed = [described("manifest.v1+json", manifest)]
    top = json.dumps({"schemaVersion": 2, "manifests": listed}).encode()
    client = client_of(server, context, layout_services(top, layer, config, manifest))
    (context / "Dockerfile").write_text("FROM base\nCOPY a /\n")
    attributes = {"context:base": f"oci-layout:s@{digest_bytes(top)}"}
    if not message:
        client.build(attributes, [("local", {})])
        assert sorted(path.name for path in (client.received / "output-0").iterdir()) == ["a", "x"]
        return
    with pytest.raises(grpc.RpcError, match=message):
        client.build(attributes)
    with pytest.raises(grpc.RpcError, match="sha256:!"):
        client.build({"context:base": "oci-layout:s@sha256:!"})


@pytest.mark.parametrize(
    ("platforms", "expected"),
    [
        ("linux/amd64,linux/arm64", ["Multiple platforms requested but result is not"]),
        ("linux/arm64/v8", ["Requested platforms linux/arm64 do not match result platforms"]),
        ("", []),
    ],
)
def test_platforms_that_were_not_asked_for(
    server: str, context: Path, platforms: str, expected: list[str]
) -> None:
    attributes = {"platform": platforms} if platforms else {}
    client = client_of(server, context)
    client.build(attributes, [("local", {})], local("context"))
    warnings = [w.short.decode() for status in client.statuses for w in status.warnings]
    assert len(warnings) == len(expected)
    assert all(text.startswith(start) for text, start in zip(warnings, expected, strict=True))


def test_a_cache_of_the_client_that_cannot_be_read(server: str, context: Path) -> None:
    """The client gets a warning, and the build goes on without the cache."""
    cache = {"Type": "local", "Attrs": {"src": "/cache", "digest": f"sha256:{'0' * 64}"}}
    client = client_of(server, context)
    client.build({"cache-imports": json.dumps([cache])}, [("local", {})])
    (warning,) = [w.short.decode() for status in client.statuses for w in status.warnings]
    assert warning.startswith("the cache in /cache is of no use: ")
    assert (client.received / "output-0/a").read_text() == "a\n"


def commit(repository: Path, text: str) -> None:
    (repository / "f").write_text(text)
    git = ("git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=b")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", text], check=True)


def test_what_a_client_was_told_of_a_source(server: str, context: Path, tmp_path: Path) -> None:
    """It stays so for the build, also if the branch moves: that commit is built."""
    repository = tmp_path / "repository"
    subprocess.run(["git", "init", "-q", "-b", "main", repository], check=True)
    commit(repository, "first")
    with serving() as web:
        url = web.git("/r.git", repository)
        op = TYPES["Op"](source={"identifier": f"git://{url.removeprefix('http://')}#main"})
        op.source.attrs["git.fullurl"] = url
        asked = TYPES["ResolveSourceMetaRequest"](Source=op.source)
        question = TYPES["GatewaySolveRequest"](Definition=definition_of(op))
        told: list[str] = []

        def look(call: Callable[..., Any], result: str) -> None:
            for _ in range(2):
                answer = call("ResolveSourceMeta", asked, "ResolveSourceMetaResponse")
                told.append(answer.Git.Checksum)
                commit(repository, "second" * len(told))
            solved = call("Solve", question, "GatewaySolveResponse").result.ref.id
            read = TYPES["ReadFileRequest"](Ref=solved, FilePath="f")
            told.append(call("ReadFile", read, "ReadFileResponse").Data.decode())

        client_of(server, context).build({}, (), local("context"), look=look)
    assert told[0] == told[1] and told[2] == "first"


def test_only_logins_that_are_needed(server: str, context: Path) -> None:
    """A registry that no image is of is none of the builder's business."""
    hosts: list[str] = []

    def credentials(request: Any, call: Any) -> Any:
        hosts.append(request.Host)
        return TYPES["CredentialsResponse"]()

    def look(call: Any, ref: str) -> None:
        asked = TYPES["ResolveSourceMetaRequest"]()
        asked.Source.identifier = "docker-image://127.0.0.1:1/x"
        hosts.clear()
        with pytest.raises(grpc.RpcError):
            call("ResolveSourceMeta", asked, "ResolveSourceMetaResponse")

    handler = unary(credentials, TYPES["CredentialsRequest"], TYPES["CredentialsResponse"])
    client_of(server, context, {"moby.filesync.v1.Auth": {"Credentials": handler}}).build(
        {}, look=look
    )
    assert hosts == ["127.0.0.1:1"]
