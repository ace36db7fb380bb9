"""`minibuild serve`, as a client sees it: builds, outputs, questions, errors, the end."""

import base64
import hashlib
import json
import os
import signal
import stat
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from minibuild.graph.platform import host_platform
from tests.conftest import Cli
from tests.support.buildkit_client import TYPES, Client
from tests.support.webserver import serving

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount")]


@pytest.fixture
def server(cli: Cli, short_folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    path = str(short_folder / "s.sock")
    process = cli.start("serve", "--addr", f"unix://{path}")
    assert process.stderr is not None
    assert process.stderr.readline() == f"listening at unix://{path}\n"
    yield path, process
    process.terminate()
    process.communicate(timeout=20)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_text("a\n")
    (folder / "sub/b").write_text("b\n")
    (folder / "not-read").write_text("")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY a sub /d/\nCOPY --link sub/b /b\n")
    return folder


def client_of(server: tuple[str, Any], place: Path, context: Path, **lent: Any) -> Client:
    place.mkdir(exist_ok=True)
    folders = {"context": context, "dockerfile": context}
    return Client(server[0], place, folders, **lent)


def transferred(client: Client) -> int:
    """How many bytes of its context a client is told that it sent."""
    found = [status for message in client.statuses for status in message.statuses]
    return max(status.current for status in found if status.ID == "transferring context:")


def test_outputs(server: Any, tmp_path: Path, context: Path) -> None:
    """A folder, an archive and a tar, of one build; only what is read is sent, and only once."""
    assert stat.S_IMODE(os.stat(server[0]).st_mode) == 0o600
    client = client_of(server, tmp_path / "one", context)
    answer = client.build({}, [("local", {}), ("oci", {"name": "x/y:1"}), ("tar", {})])
    received = client.received
    assert (received / "output-0/d/b").read_text() == "b\n"
    assert (received / "output-0/b").read_text() == "b\n"
    with tarfile.open(received / "output-1") as archive:
        index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
    assert index["manifests"][0]["digest"] == answer["containerimage.digest"]
    assert answer["image.name"] == "docker.io/x/y:1"
    with tarfile.open(received / "output-2") as archive:
        assert "b" in archive.getnames()
    assert sorted(client.sent) == ["Dockerfile", "a", "sub/b"]
    names = {v.name for s in client.statuses for v in s.vertexes}
    assert "[1/2] COPY a sub /d/" in names
    assert 0 < transferred(client) < 500

    (context / "a").write_text("changed\n")
    again = client_of(server, tmp_path / "two", context)
    again.build({}, [("local", {})])
    assert (again.received / "output-0/d/a").read_text() == "changed\n"
    assert sorted(again.sent) == ["Dockerfile", "a"]


@pytest.mark.needs("busybox")
def test_steps_secrets_and_their_failure(
    cli: Cli, server: Any, tmp_path: Path, context: Path, busybox_tar: str
) -> None:
    cli("image", "import", busybox_tar, "busybox")
    (context / "Dockerfile").write_text(
        "FROM busybox AS good\nARG V\n"
        "RUN --mount=type=secret,id=s cat /run/secrets/s; echo $V > /v\n"
        "FROM busybox AS failing\nRUN echo no; exit 7\n"
    )
    client = client_of(server, tmp_path / "c", context, secrets={"s": b"hush"})
    client.build({"build-arg:V": "1", "target": "good"}, [("local", {})])
    assert (client.received / "output-0/v").read_text() == "1\n"
    logs = b"".join(log.msg for s in client.statuses for log in s.logs)
    assert logs == b"hush"
    with pytest.raises(grpc.RpcError) as failed:
        client.build({"target": "failing"})
    assert failed.value.details().endswith("did not complete successfully: exit code: 7")
    details = (
        TYPES["RpcStatus"]
        .FromString(dict(failed.value.trailing_metadata())["grpc-status-details-bin"])
        .details
    )
    kinds = {detail.type_url.rpartition("/")[2]: json.loads(detail.value) for detail in details}
    assert kinds["errdefs.Source+json"]["ranges"] == [{"start": {"line": 5}, "end": {"line": 5}}]
    assert kinds["gatewayapi.ExitMessage+json"] == {"Code": 7}
    assert kinds["stack.Stack+json"]["frames"][0]["Line"] > 0  # for `docker -D`
    ended = {v.digest: v.error for s in client.statuses for v in s.vertexes if v.error}
    assert kinds["errdefs.Vertex+json"]["digest"] in ended


def test_attestations_of_a_client(server: Any, tmp_path: Path, context: Path) -> None:
    """What a step of its own wrote is said of its image; only the builder makes provenance."""
    (context / "a").write_text('{"tested": true}')

    def say(result: Any, kind: str) -> None:
        said = result.attestations[str(host_platform())].attestation.add(path="/d/a")
        said.inTotoPredicateType, said.ref.id = kind, result.ref.id

    client = client_of(server, tmp_path / "c", context)
    client.build({}, [("local", {})], change=lambda result: say(result, "urn:tested"))
    statement = json.loads((client.received / "output-0/a").read_text())
    assert (statement["predicateType"], statement["predicate"]) == ("urn:tested", {"tested": True})
    assert {subject["name"] for subject in statement["subject"]} == {"b", "d/a", "d/b"}
    with pytest.raises(grpc.RpcError, match="only the builder makes"):
        kind = "https://slsa.dev/provenance/v1"
        client.build({}, [("local", {})], change=lambda result: say(result, kind))


@pytest.mark.parametrize("gateway", [True, False], ids=["gateway", "one call"])
def test_definitions(cli: Cli, server: Any, tmp_path: Path, context: Path, gateway: bool) -> None:
    """What `--call=llb` writes is built, and the same as the Dockerfile."""
    llb = tmp_path / "llb"
    with llb.open("wb") as file:
        words = [cli.program, "build", "--call=llb", str(context)]
        subprocess.run(words, env=cli.environment, stdout=file, check=True)
    client = client_of(server, tmp_path / "c", context)
    client.build({}, [("local", {})], llb.read_bytes(), gateway=gateway)
    assert (client.received / "output-0/d/b").read_text() == "b\n"
    assert sorted(client.sent) == ["a", "sub/b"]
    client = client_of(server, tmp_path / "d", context)
    client.build({}, [("tar", {})], gateway=gateway)
    cached = {
        v.name: v.cached for s in client.statuses for v in s.vertexes if v.HasField("completed")
    }
    assert cached["[1/2] COPY a sub /d/"]


def test_looking_into_a_result(server: Any, tmp_path: Path, context: Path) -> None:
    """Files are read before the outputs are made; a warning of the client's is shown."""
    client = client_of(server, tmp_path / "c", context)
    seen: dict[str, Any] = {}

    def look(call: Any, ref: str) -> None:
        read = TYPES["ReadFileRequest"](Ref=ref, FilePath="d/a")
        seen["a"] = call("ReadFile", read, "ReadFileResponse").Data
        read = TYPES["ReadDirRequest"](Ref=ref, DirPath="/d")
        seen["d"] = [entry.path for entry in call("ReadDir", read, "ReadDirResponse").entries]
        read = TYPES["StatFileRequest"](Ref=ref, Path="d")
        seen["mode"] = call("StatFile", read, "StatFileResponse").stat.mode
        call("Warn", TYPES["WarnRequest"](short=b"take care", level=2), "Empty")
        asked = TYPES["ResolveSourceMetaRequest"]()
        with pytest.raises(grpc.RpcError, match="source is required"):
            call("ResolveSourceMeta", asked, "ResolveSourceMetaResponse")

    client.build({}, [("local", {})], look=look)
    assert seen["a"] == b"a\n" and seen["d"] == ["a", "b"]
    assert seen["mode"] == 1 << 31 | 0o755
    assert (client.received / "output-0/d/a").read_text() == "a\n"
    warnings = [w for s in client.statuses for w in s.warnings]
    assert [(w.short, w.level) for w in warnings] == [(b"take care", 2)]


def test_what_a_client_says_of_its_result(server: Any, tmp_path: Path, context: Path) -> None:
    """Names and annotations; and of several outputs the last one's name is the answer."""
    client = client_of(server, tmp_path / "c", context)
    outputs = [("oci", {"name": "a/b:1", "annotation.x": "own"}), ("docker", {"name": "*"})]
    metadata = {"image.name": b"c/d:2,e", "annotation.x": b"result", "annotation.y": b"1"}
    answer = client.build({}, outputs, metadata=metadata)
    assert answer["image.name"] == b"c/d:2,e"  # type: ignore[comparison-overlap]
    with tarfile.open(client.received / "output-0") as archive:
        index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
        name = index["manifests"][0]["digest"].replace("sha256:", "blobs/sha256/")
        manifest = json.load(archive.extractfile(name))  # type: ignore[arg-type]
    assert manifest["annotations"] == {"x": "own", "y": "1"}
    with tarfile.open(client.received / "output-1") as archive:
        (image,) = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert image["RepoTags"] == ["c/d:2", "e:latest"]


WRONG = [
    ({"refs.platforms": b"null"}, "invalid empty platforms index for exporter"),
    ({"refs.platforms": b"{"}, "refs.platforms of a result is no JSON"),
    ({"refs.platforms": b'{"Platforms": [{"ID": ""}]}'}, "invalid empty platform key"),
    ({"refs.platforms": b'{"Platforms": [{"ID": "a"}]}'}, "invalid refs.platforms of a result"),
    ({"refs.platforms": b'{"Platforms": [{"ID": "a", "Platform": {}}]}'}, "invalid platform value"),
    ({"containerimage.config": b"null"}, "invalid null image config for export"),
    ({"containerimage.config": b'{"os": "linux"}'}, "os and architecture must be specified"),
]


def test_what_makes_no_sense_of_a_result(server: Any, tmp_path: Path, context: Path) -> None:
    client = client_of(server, tmp_path / "c", context)
    for metadata, message in WRONG:
        with pytest.raises(grpc.RpcError, match=message):
            client.build({}, [("oci", {})], b"", metadata=metadata)


def test_places_of_a_clients_own(server: Any, tmp_path: Path, context: Path) -> None:
    """A step that fails names all places that the client gave it, in the client's texts."""
    op = TYPES["Op"]()
    action = op.file.actions.add(input=-1, secondaryInput=-1, output=0)
    action.mkdir.path, action.mkdir.mode, action.mkdir.timestamp = "/a/b", 0o755, -1
    made, end = TYPES["Definition"](), TYPES["Op"]()
    digest = f"sha256:{hashlib.sha256(op.SerializeToString()).hexdigest()}"
    end.inputs.add(digest=digest)
    getattr(made, "def").extend([op.SerializeToString(), end.SerializeToString()])
    made.Source.infos.add(filename="f", data=b"text", language="mine")
    for line in (3, 5):
        place = made.Source.locations[digest].locations.add(sourceIndex=0)
        place.ranges.add().start.line = line
    client = client_of(server, tmp_path / "c", context)
    with pytest.raises(grpc.RpcError) as failed:
        client.build({}, [("tar", {})], made.SerializeToString())
    status = dict(failed.value.trailing_metadata())["grpc-status-details-bin"]
    found = [
        json.loads(detail.value)
        for detail in TYPES["RpcStatus"].FromString(status).details
        if "errdefs.Source" in detail.type_url
    ]
    info = {"filename": "f", "data": "dGV4dA==", "language": "mine"}
    assert [one["info"] for one in found] == [info, info]
    assert [one["ranges"] for one in found] == [[{"start": {"line": n}}] for n in (5, 3)]


def file_of(data: bytes) -> bytes:
    """A definition of one file, /f."""
    op, end, made = TYPES["Op"](), TYPES["Op"](), TYPES["Definition"]()
    action = op.file.actions.add(input=-1, secondaryInput=-1, output=0)
    action.mkfile.path, action.mkfile.mode, action.mkfile.data = "/f", 0o644, data
    action.mkfile.timestamp = -1
    end.inputs.add(digest=f"sha256:{hashlib.sha256(op.SerializeToString()).hexdigest()}")
    getattr(made, "def").extend([op.SerializeToString(), end.SerializeToString()])
    return bytes(made.SerializeToString())


def test_inputs_for_several_platforms(server: Any, tmp_path: Path, context: Path) -> None:
    """Each platform stands on its own; the config of an image comes beside its definition."""
    (context / "Dockerfile").write_text("FROM base\nCOPY a /\n")
    attributes, inputs = {"platform": "linux/amd64,linux/arm64"}, {}
    for arch in ("amd64", "arm64"):
        key = f"base::linux/{arch}"
        config = {"architecture": arch, "os": "linux", "config": {"Env": [f"A={arch}"]}}
        config["rootfs"] = {"type": "layers", "diff_ids": []}
        encoded = base64.b64encode(json.dumps(config).encode()).decode()
        attributes[f"context:{key}"] = f"input:{key}"
        attributes[f"input-metadata:{key}"] = json.dumps({"containerimage.config": encoded})
        inputs[key] = file_of(arch.encode())
    client = client_of(server, tmp_path / "c", context)
    answer = client.build(attributes, [("local", {})], inputs=inputs)
    for arch in ("amd64", "arm64"):
        assert (client.received / f"output-0/linux_{arch}/f").read_text() == arch
        config = json.loads(answer[f"containerimage.config/linux/{arch}"])
        assert f"A={arch}" in config["config"]["Env"]
    with pytest.raises(grpc.RpcError, match="the input base::linux/amd64 is not there"):
        client.build(attributes, [("tar", {})])


def test_a_build_that_is_refused(server: Any, tmp_path: Path, context: Path) -> None:
    """At once, also for calls of the gateway, which wait for a build that is to come."""
    client = client_of(server, tmp_path / "c", context)
    asked = TYPES["SolveRequest"](Ref="r", ProxyNetwork=True)
    with pytest.raises(grpc.RpcError, match="through a proxy of the builder is not possible"):
        client.call("/moby.buildkit.v1.Control/Solve", asked, "SolveResponse")
    began = time.monotonic()
    with pytest.raises(grpc.RpcError, match="no such job r"):
        call = "/moby.buildkit.v1.frontend.LLBBridge/Ping"
        belongs = (("buildkit-controlapi-buildid", "r"),)
        client.call(call, TYPES["Empty"](), "PongResponse", belongs)
    assert time.monotonic() - began < 10


def test_a_context_that_the_client_does_not_have(
    server: Any, tmp_path: Path, context: Path
) -> None:
    """Is no error where the Dockerfile reads none."""
    (context / "Dockerfile").write_text("FROM scratch\nWORKDIR /a\n")
    (tmp_path / "c").mkdir()
    client = Client(server[0], tmp_path / "c", {"dockerfile": context})
    client.build({}, [("local", {})])
    assert (client.received / "output-0/a").is_dir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY a /\n")
    with pytest.raises(grpc.RpcError, match="no access allowed to dir context"):
        client.build({}, [("tar", {})])


def test_times_by_name(server: Any, tmp_path: Path, context: Path) -> None:
    """A client repeats the build argument at the output; a folder has no time, seconds are one."""
    (context / "Dockerfile").write_text("FROM scratch\nWORKDIR /a\n")
    client = client_of(server, tmp_path / "c", context)
    argument = {"build-arg:SOURCE_DATE_EPOCH": "context"}
    client.build(argument, [("oci", {"source-date-epoch": "context"})])
    client.build({"build-arg:SOURCE_DATE_EPOCH": "12"}, [("tar", {"source-date-epoch": ""})])
    with tarfile.open(client.received / "output-0") as archive:
        assert archive.getmember("a").mtime == 12


def test_nothing_is_a_result(server: Any, tmp_path: Path, context: Path) -> None:
    client = client_of(server, tmp_path / "c", context)
    assert client.build({}, [], b"", gateway=False) == {}
    client.build({}, [("tar", {})], b"", gateway=False)
    with tarfile.open(client.received / "output-0") as archive:
        assert archive.getnames() == []


NAMES = [
    ("", "f"),
    ('attachment; filename="a b"', "a b"),
    ('attachment; filename="../../e"', "e"),
    ("attachment; filename*=UTF-8''%C3%A4", "ä"),
    ('attachment; filename=".."', "f"),
]


def test_files_from_the_web(server: Any, tmp_path: Path, context: Path) -> None:
    """The client's headers and secrets go with the request, and the server says the file's name."""
    client = client_of(server, tmp_path / "c", context, secrets={"s": b"Bearer x\n"})
    asked = TYPES["ResolveSourceMetaRequest"]()
    asked.Source.attrs.update({"http.header.accept": "a/b", "http.authheadersecret": "s"})

    def look(call: Any, ref: str) -> None:
        for number, (header, name) in enumerate(NAMES):
            asked.Source.identifier = web.url(f"/{number}/f")  # it is asked once in a build
            web.files[f"/{number}/f"] = b"data", {"Content-Disposition": header}
            found = call("ResolveSourceMeta", asked, "ResolveSourceMetaResponse").HTTP
            assert found.Filename == name

    with serving() as web:
        client.build({}, [], look=look)
        assert web.headers[0]["Accept"] == "a/b" and web.headers[0]["Authorization"] == "Bearer x"
        llb = TYPES["Definition"]()
        asked.Source.attrs.update({"http.uid": "7", "http.filename": "g"})
        last = TYPES["Op"](source=asked.Source).SerializeToString()
        end = TYPES["Op"]()
        end.inputs.add(digest=f"sha256:{hashlib.sha256(last).hexdigest()}")
        getattr(llb, "def").extend([last, end.SerializeToString()])
        client.build({}, [("tar", {})], llb.SerializeToString())
    with tarfile.open(client.received / "output-0") as archive:
        assert [(entry.name, entry.uid, entry.mode) for entry in archive] == [("g", 7, 0o600)]


@pytest.mark.needs("git")
def test_what_sources_are(server: Any, tmp_path: Path, context: Path) -> None:
    """A file's digest, name and time, and what a tag of a repository is."""
    folder = tmp_path / "repository"
    identity = ("-c", "user.name=a", "-c", "user.email=a@x")

    def git(*words: str) -> str:
        line = ["git", "-C", str(folder), *identity, *words]
        return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()

    folder.mkdir()
    git("init", "-q", "-b", "trunk")
    git("commit", "-q", "--allow-empty", "-m", "one")
    git("tag", "-a", "v1", "-m", "first")
    with serving() as web:
        url = web.put("/f", b"data", modified="Sat, 01 Jan 2000 00:00:00 GMT")
        repository = web.git("/r.git", folder)

        def look(call: Any, ref: str) -> None:
            asked = TYPES["ResolveSourceMetaRequest"]()
            asked.Source.identifier = url
            found = call("ResolveSourceMeta", asked, "ResolveSourceMetaResponse").HTTP
            assert found.Checksum == f"sha256:{hashlib.sha256(b'data').hexdigest()}"
            assert (found.Filename, found.LastModified.seconds) == ("f", 946684800)
            for name in ("", "#v1"):
                asked.Source.identifier = f"git://{repository.removeprefix('http://')}{name}"
                asked.Source.attrs["git.fullurl"] = repository
                asked.Git.ReturnObject = bool(name)
                found = call("ResolveSourceMeta", asked, "ResolveSourceMetaResponse").Git
                assert found.Ref == ("refs/tags/v1" if name else "refs/heads/trunk")
                assert found.Checksum == git("rev-parse", name.strip("#") or "HEAD")
                assert found.CommitChecksum == (git("rev-parse", "HEAD") if name else "")
            assert found.TagObject.decode() == git("cat-file", "tag", "v1") + "\n"
            assert found.CommitObject.decode() == git("cat-file", "commit", "HEAD") + "\n"

        client_of(server, tmp_path / "c", context).build({}, [], look=look)


def test_a_broken_definition(server: Any, tmp_path: Path, context: Path) -> None:
    client = client_of(server, tmp_path / "c", context)
    made = TYPES["Definition"]()
    getattr(made, "def").append(b"\xff\xff")
    with pytest.raises(grpc.RpcError, match="is no op of LLB"):
        client.build({}, [("local", {})], made.SerializeToString())


def test_a_wrong_dockerfile(server: Any, tmp_path: Path, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPPY a /\n")
    client = client_of(server, tmp_path / "c", context)
    with pytest.raises(grpc.RpcError) as failed:
        client.build({}, [("local", {})])
    assert "unknown instruction: COPPY (did you mean COPY?)" in failed.value.details()
    with pytest.raises(grpc.RpcError, match="open other: no such file or directory"):
        client.build({"filename": "other"})


def test_questions(server: Any, tmp_path: Path, context: Path) -> None:
    (context / "Dockerfile").write_text("ARG A=1\nFROM scratch as x\nCOPY a /\n")
    client = client_of(server, tmp_path / "c", context)
    answer = client.build({"requestid": "frontend.lint"})
    assert json.loads(answer["result.json"])["warnings"][0]["ruleName"] == "FromAsCasing"
    assert answer["result.statuscode"] == b"1"  # type: ignore[comparison-overlap]
    assert b"x" in client.build({"requestid": "frontend.targets"})["result.txt"]  # type: ignore[operator]


def test_what_the_store_holds(server: Any, tmp_path: Path, context: Path) -> None:
    client = client_of(server, tmp_path / "c", context)
    client.build({})
    asked = TYPES["DiskUsageRequest"]()
    answer = client.call("/moby.buildkit.v1.Control/DiskUsage", asked, "DiskUsageResponse")
    assert any("COPY a sub /d/" in record.Description for record in answer.record)
    pruned = client.channel.unary_stream(
        "/moby.buildkit.v1.Control/Prune",
        TYPES["PruneRequest"].SerializeToString,
        TYPES["UsageRecord"].FromString,
    )(TYPES["PruneRequest"](all=True))
    copies = {record.ID for record in answer.record if "COPY" in record.Description}
    assert {record.ID for record in pruned} >= copies


def stream(client: Client, method: str, request: Any, kind: str) -> list[Any]:
    """What a call answers with many messages."""
    made = client.channel.unary_stream(
        f"/{method}", type(request).SerializeToString, TYPES[kind].FromString
    )
    return list(made(request, timeout=30))


def past(client: Client) -> list[Any]:
    """The records of builds that have ended, newest first."""
    asked = TYPES["BuildHistoryRequest"](EarlyExit=True)
    events = stream(
        client, "moby.buildkit.v1.Control/ListenBuildHistory", asked, "BuildHistoryEvent"
    )
    return [event.record for event in events if event.type == 1]


def read(client: Client, digest: str) -> bytes:
    """A blob of the builder."""
    asked = TYPES["ContentReadRequest"](digest=digest)
    sent = stream(
        client, "containerd.services.content.v1.Content/Read", asked, "ContentReadResponse"
    )
    return b"".join(message.data for message in sent)


def test_history(cli: Cli, server: Any, tmp_path: Path, context: Path) -> None:
    """Builds of clients and of the command line, their progress again, and their end."""
    cli("build", "-o", str(tmp_path / "o"), str(context))
    client = client_of(server, tmp_path / "c", context)
    client.build({"target": "", "label:a": "b"}, [("local", {}), ("oci", {})])
    (context / "Dockerfile").write_text("FROM scratch\nCOPY gone /\n")
    with pytest.raises(grpc.RpcError):
        client.build({})
    failed, made, here = past(client)
    assert "not found" in failed.error.message and not failed.error.details
    asked = TYPES["ContentReadRequest"](digest=failed.externalError.digest)
    content = "containerd.services.content.v1.Content"
    (sent,) = stream(client, f"{content}/Read", asked, "ContentReadResponse")
    (source, *_) = TYPES["RpcStatus"].FromString(sent.data).details
    assert source.type_url.endswith("errdefs.Source+json")
    assert not made.error.message and made.FrontendAttrs["label:a"] == "b"
    assert [exporter.Type for exporter in made.Exporters] == ["local", "oci"]
    (said,) = made.Result.Attestations  # though it was not asked for
    assert said.annotations["in-toto.io/predicate-type"] == "https://slsa.dev/provenance/v1"
    provenance = json.loads(read(client, said.digest))
    request = provenance["buildDefinition"]["externalParameters"]["request"]
    assert request["args"] == {"label:a": "b", "target": ""}
    assert provenance["buildDefinition"]["internalParameters"]["buildConfig"]["llbDefinition"]
    assert list(made.Result.Results) == [1] and not failed.Result.Results
    manifest = json.loads(read(client, made.Result.Results[1].digest))
    assert manifest["mediaType"] == made.Result.ResultDeprecated.media_type
    assert made.numTotalSteps == made.numCompletedSteps > 2
    assert here.FrontendAttrs["context"] == str(context)
    for record in (made, here):
        asked = TYPES["StatusRequest"](Ref=record.Ref)
        messages = stream(client, "moby.buildkit.v1.Control/Status", asked, "StatusResponse")
        assert "[1/2] COPY a sub /d/" in {v.name for m in messages for v in m.vertexes}

    asked = TYPES["ContentReadRequest"](digest=made.logs.digest, offset=4)
    sent = stream(client, f"{content}/Read", asked, "ContentReadResponse")
    assert sum(len(message.data) for message in sent) == made.logs.size - 4
    for wrong in ("sha256:../../x", f"sha256:{'0' * 64}"):
        with pytest.raises(grpc.RpcError):
            client.call(
                f"/{content}/Info", TYPES["ContentInfoRequest"](digest=wrong), "ContentInfoResponse"
            )
    update = "/moby.buildkit.v1.Control/UpdateBuildHistory"
    for record in (made, here):
        client.call(
            update, TYPES["UpdateBuildHistoryRequest"](Ref=record.Ref, Delete=True), "Empty"
        )
    assert [record.Ref for record in past(client)] == [failed.Ref]
    asked = TYPES["UpdateBuildHistoryRequest"](Ref=failed.Ref, Delete=True)
    client.call(update, asked, "Empty")
    (listed,) = stream(client, f"{content}/List", TYPES["Empty"](), "ContentListResponse")
    assert not listed.info
    with pytest.raises(grpc.RpcError, match="not found"):
        client.call(update, TYPES["UpdateBuildHistoryRequest"](Ref=made.Ref, Delete=True), "Empty")


@pytest.mark.needs("busybox")
def test_the_end_of_the_server_ends_builds(
    cli: Cli, server: Any, tmp_path: Path, context: Path, busybox_tar: str
) -> None:
    cli("image", "import", busybox_tar, "busybox")
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo up; sleep 77\n")
    client = client_of(server, tmp_path / "c", context)
    path, process = server
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as hand:
        built = hand.submit(client.build, {})
        deadline = time.monotonic() + 30
        while not _sleeping() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)
        with pytest.raises(grpc.RpcError):
            built.result(timeout=30)
    assert not _sleeping() and not os.path.exists(path)
    assert process.returncode == 0


def _sleeping() -> bool:
    """Whether the step of the test is running."""
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            words = Path("/proc", name, "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", b"77"]:
            return True
    return False


def test_it_ends_by_itself(cli: Cli, short_folder: Path) -> None:
    done = cli("serve", "--addr", f"unix://{short_folder}/s", "--idle-exit", "1s")
    assert done.stderr.startswith("listening at") and not (short_folder / "s").exists()


def test_two_servers_at_one_address(cli: Cli, server: Any) -> None:
    done = cli("serve", "--addr", f"unix://{server[0]}", code=2)
    assert "there is a server at" in done.stderr
    long = f"unix:///{'x' * 120}"
    assert "has 107 bytes at most" in cli("serve", "--addr", long, code=2).stderr


def test_a_context_that_is_as_it_was(server: Any, tmp_path: Path) -> None:
    """Copies of it are found without a look, until a file or a pattern is another one."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY . /x/\nCOPY b /c\n")
    (context / "b").write_text("1")
    for number, (name, text, cached) in enumerate(
        [
            ("a", "1", False), ("a", "1", True), ("a", "2", False), ("a", "2", True),
            ("a", "1", True), (".dockerignore", "a", False), (".dockerignore", "a", True),
            ("b", "3", False),
        ]
    ):  # fmt: skip
        path = context / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
        client = client_of(server, tmp_path / str(number), context)
        client.build({}, [("local", {})])
        expected = {path.name: path.read_text() for path in context.iterdir()}
        if ".dockerignore" in expected:
            del expected["a"]
        found = client.received / "output-0"
        assert {path.name: path.read_text() for path in (found / "x").iterdir()} == expected
        assert (found / "c").read_text() == expected["b"]
        assert 0 < transferred(client) < 500  # at least the list of files comes each time
        steps = [v.cached for s in client.statuses for v in s.vertexes if "COPY . " in v.name]
        assert steps[-1] == cached, name
