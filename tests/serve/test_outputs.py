"""What comes back to a client of `minibuild serve`: folders, archives, and what is said of them."""

import json
import os
import stat
import tarfile
from pathlib import Path
from typing import Any

import grpc
import pytest

from minibuild.graph.platform import host_platform
from tests.serve.clients import client_of, transferred
from tests.support.buildkit_client import Client

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount")]


def test_outputs(server: str, tmp_path: Path, context: Path) -> None:
    """A folder, an archive and a tar, of one build; only what is read is sent, and only once."""
    assert stat.S_IMODE(os.stat(server).st_mode) == 0o600
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


def test_attestations_of_a_client(client: Client, context: Path) -> None:
    """What a step of its own wrote is said of its image; only the builder makes provenance."""
    (context / "a").write_text('{"tested": true}')

    def say(result: Any, kind: str) -> None:
        said = result.attestations[str(host_platform())].attestation.add(path="/d/a")
        said.inTotoPredicateType, said.ref.id = kind, result.ref.id

    client.build({}, [("local", {})], change=lambda result: say(result, "urn:tested"))
    statement = json.loads((client.received / "output-0/a").read_text())
    assert (statement["predicateType"], statement["predicate"]) == ("urn:tested", {"tested": True})
    assert {subject["name"] for subject in statement["subject"]} == {"b", "d/a", "d/b"}
    with pytest.raises(grpc.RpcError, match="only the builder makes"):
        kind = "https://slsa.dev/provenance/v1"
        client.build({}, [("local", {})], change=lambda result: say(result, kind))


def test_what_a_client_says_of_its_result(client: Client) -> None:
    """Names and annotations; and of several outputs the last one's name is the answer."""
    outputs = [("oci", {"name": "a/b:1", "annotation.x": "own"}), ("docker", {"name": "*"})]
    metadata = {"image.name": b"c/d:2,e", "annotation.x": b"result", "annotation.y": b"1"}
    answer = client.build({}, outputs, metadata=metadata)
    assert answer["image.name"] == b"c/d:2,e"
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


def test_what_makes_no_sense_of_a_result(client: Client) -> None:
    for metadata, message in WRONG:
        with pytest.raises(grpc.RpcError, match=message):
            client.build({}, [("oci", {})], b"", metadata=metadata)


def test_times_by_name(client: Client, context: Path) -> None:
    """A client repeats the build argument at the output; a folder has no time, seconds are one."""
    (context / "Dockerfile").write_text("FROM scratch\nWORKDIR /a\n")
    argument = {"build-arg:SOURCE_DATE_EPOCH": "context"}
    client.build(argument, [("oci", {"source-date-epoch": "context"})])
    client.build({"build-arg:SOURCE_DATE_EPOCH": "12"}, [("tar", {"source-date-epoch": ""})])
    with tarfile.open(client.received / "output-0") as archive:
        assert archive.getmember("a").mtime == 12
