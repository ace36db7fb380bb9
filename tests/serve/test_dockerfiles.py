"""Dockerfiles of clients of `minibuild serve`: their contexts, secrets, errors and questions."""

import json
from pathlib import Path

import grpc
import pytest

from tests.conftest import Cli
from tests.serve.clients import client_of, transferred
from tests.support.buildkit_client import TYPES, Client

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount")]


@pytest.mark.needs("busybox")
def test_steps_secrets_and_their_failure(
    cli: Cli, server: str, tmp_path: Path, context: Path, busybox_tar: str
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
    failed_op = kinds["errdefs.Solve+json"]["op"]  # for debuggers, which stop there
    assert failed_op["exec"]["meta"]["args"][-1] == "echo no; exit 7"
    names = {v.name for s in client.statuses for v in s.vertexes if v.HasField("completed")}
    assert "[internal] load build definition from Dockerfile" in names
    assert "[internal] load .dockerignore" in names


def test_a_context_that_the_client_does_not_have(
    server: str, tmp_path: Path, context: Path
) -> None:
    """Is no error where the Dockerfile reads none."""
    (context / "Dockerfile").write_text("FROM scratch\nWORKDIR /a\n")
    (tmp_path / "c").mkdir()
    client = Client(server, tmp_path / "c", {"dockerfile": context})
    client.build({}, [("local", {})])
    assert (client.received / "output-0/a").is_dir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY a /\n")
    with pytest.raises(grpc.RpcError, match="no access allowed to dir context"):
        client.build({}, [("tar", {})])


def test_a_context_that_is_as_it_was(server: str, tmp_path: Path) -> None:
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


def test_a_wrong_dockerfile(client: Client, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPPY a /\n")
    with pytest.raises(grpc.RpcError) as failed:
        client.build({}, [("local", {})])
    assert "unknown instruction: COPPY (did you mean COPY?)" in failed.value.details()
    with pytest.raises(grpc.RpcError, match="open other: no such file or directory"):
        client.build({"filename": "other"})


def test_a_warning_shows_its_line(client: Client, context: Path) -> None:
    (context / "Dockerfile").write_bytes(b"FROM scratch\r\nCOPY a /\r\nexpose 80\r\n")
    client.build({})
    (warning,) = [w for status in client.statuses for w in status.warnings]
    assert b"ConsistentInstructionCasing" in warning.short
    assert warning.info.data == (context / "Dockerfile").read_bytes()
    assert warning.ranges[0].start.line == 3


def test_questions(client: Client, context: Path) -> None:
    (context / "Dockerfile").write_text("ARG A=1\nFROM scratch as x\nCOPY a /\n")
    answer = client.build({"requestid": "frontend.lint"})
    assert json.loads(answer["result.json"])["warnings"][0]["ruleName"] == "FromAsCasing"
    assert answer["result.statuscode"] == b"1"
    assert b"x" in client.build({"requestid": "frontend.targets"})["result.txt"]
    known = client.build({"requestid": "frontend.subrequests.describe"})
    for question in json.loads(known["result.json"]):
        assert client.build({"requestid": question["name"]})["result.json"]
    assert known["result.txt"].startswith(b"NAME ") and b"\noutline " in known["result.txt"]
