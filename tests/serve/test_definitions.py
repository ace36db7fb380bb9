"""Definitions of LLB that clients of `minibuild serve` make themselves."""

import base64
import hashlib
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import grpc
import pytest

from minibuild.buildkit.encode import encode
from minibuild.buildkit.encode_source import LocalAccess
from minibuild.digest import digest_bytes
from minibuild.graph.state import local, scratch
from minibuild.serve.prepared import Needs
from tests.conftest import Cli
from tests.serve.clients import client_of
from tests.support.buildkit_client import TYPES, Client, unary

JUDGE = "moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier"
pytestmark = [pytest.mark.integration, pytest.mark.needs("mount")]


@pytest.mark.parametrize("gateway", [True, False], ids=["gateway", "one call"])
def test_definitions(cli: Cli, server: str, tmp_path: Path, context: Path, gateway: bool) -> None:
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


def test_places_of_a_clients_own(client: Client) -> None:
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
    with pytest.raises(grpc.RpcError) as failed:
        client.build({}, [("tar", {})], made.SerializeToString())
    status = dict(failed.value.trailing_metadata())["grpc-status-details-bin"]
    details = TYPES["RpcStatus"].FromString(status).details
    found = [json.loads(d.value) for d in details if "errdefs.Source" in d.type_url]
    (solved,) = [json.loads(d.value) for d in details if "errdefs.Solve" in d.type_url]
    assert solved["op"]["file"]["actions"][0]["mkdir"]["path"] == "/a/b"
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


def test_platforms_that_read_other_files_of_a_folder() -> None:
    needs = Needs()
    for path in ("a", "b"):
        tree = scratch().copy(local("src"), path, "/")
        needs.add(encode(tree.vertex, LocalAccess("session")))
    assert needs.wanted["src"].paths == ["a", "b"] and needs.sessions["src"] == "session"
    needs.add(encode(scratch().copy(local("src"), ".", "/").vertex, LocalAccess("session")))
    assert not needs.wanted["src"].paths  # all of it


def local_of(**patterns: list[str]) -> Any:
    """The definition of a folder of which a client asks for less."""
    attrs = {f"local.{name}": json.dumps(listed) for name, listed in patterns.items()}
    op = TYPES["Op"](source={"identifier": "local://src", "attrs": attrs})
    return TYPES["Definition"](**{"def": [op.SerializeToString(deterministic=True)]})


def test_platforms_that_leave_out_other_files_of_a_folder() -> None:
    needs = Needs()
    for pattern in ("a", "a"):
        needs.add(local_of(excludepatterns=[pattern]))
    assert needs.wanted["src"].exclude == ["a"]
    for pattern in ("b", "a"):
        needs.add(local_of(excludepatterns=[pattern]))
        assert not needs.wanted["src"].exclude


def test_platforms_that_include_other_files_of_a_folder() -> None:
    """No graph says which, so each has a folder of its own."""
    needs = Needs()
    for pattern in ("a", "b", "a"):
        needs.add(local_of(includepattern=[pattern]))
    assert [wanted.include for wanted in needs.wanted.values()] == [["a"], ["b"]]
    assert {wanted.name for wanted in needs.wanted.values()} == {"src"}


def test_inputs_for_several_platforms(client: Client, context: Path) -> None:
    """Each platform stands on its own; the config of an image comes beside its definition."""
    (context / "Dockerfile").write_text("FROM base\nCOPY a /\n")
    inputs: dict[str, bytes] = {}
    attributes = {"platform": "linux/amd64,linux/arm64"}
    for arch in ("amd64", "arm64"):
        key = f"base::linux/{arch}"
        config = {
            "architecture": arch,
            "os": "linux",
            "config": {"Env": [f"A={arch}"]},
            "rootfs": {"type": "layers", "diff_ids": []},
        }
        encoded = base64.b64encode(json.dumps(config).encode()).decode()
        attributes[f"context:{key}"] = f"input:{key}"
        attributes[f"input-metadata:{key}"] = json.dumps({"containerimage.config": encoded})
        inputs[key] = file_of(arch.encode())
    answer = client.build(attributes, [("local", {})], inputs=inputs)
    for arch in ("amd64", "arm64"):
        assert (client.received / f"output-0/linux_{arch}/f").read_text() == arch
        config = json.loads(answer[f"containerimage.config/linux/{arch}"])
        assert f"A={arch}" in config["config"]["Env"]
    with pytest.raises(grpc.RpcError, match="the input base::linux/amd64 is not there"):
        client.build(attributes, [("tar", {})])


def test_a_result_of_another_build_as_go_gives_it_back(
    client: Client, server: str, tmp_path: Path
) -> None:
    """bake, linked: with an empty place for each op that the definition gave none. The folder of
    the other build is not this one's."""
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "Dockerfile").write_text("FROM scratch\nCOPY --from=base /d/a /b\n")
    asked: list[str] = []

    def check(request: Any, context: Any) -> Any:
        asked.append(request.Source.Source.identifier)
        return TYPES["CheckPolicyResponse"](decision={"action": "ALLOW"})

    handler = unary(check, TYPES["CheckPolicyRequest"], TYPES["CheckPolicyResponse"])
    judge = {JUDGE: {"CheckPolicy": handler}}
    other = client_of(server, tmp_path / "l", linked, services=judge)

    def build_other(result: Any) -> None:
        given = getattr(result.ref, "def")
        for data in getattr(given, "def"):
            given.Source.locations[digest_bytes(data)].SetInParent()
        inputs = {"base": given.SerializeToString()}
        other.build({"context:base": "input:base"}, [("local", {})], inputs=inputs)

    client.build({}, change=build_other)
    assert (other.received / "output-0/b").read_text() == "a\n"
    # Its policy is about the sources of what it stands on, too, and about nothing of ours.
    assert asked == ["local://context", "local://dockerfile", "local://context"]


def test_nothing_is_a_result(client: Client) -> None:
    assert client.build({}, [], b"", gateway=False) == {}
    client.build({}, [("tar", {})], b"", gateway=False)
    with tarfile.open(client.received / "output-0") as archive:
        assert archive.getnames() == []


def test_a_broken_definition(client: Client) -> None:
    made = TYPES["Definition"]()
    getattr(made, "def").append(b"\xff\xff")
    with pytest.raises(grpc.RpcError, match="is no op of LLB"):
        client.build({}, [("local", {})], made.SerializeToString())
