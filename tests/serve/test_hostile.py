"""Clients that lie, stop in the middle or die: `minibuild serve` ends their builds alone."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.conftest import Cli
from tests.support.buildkit_client import TYPES, Client
from tests.support.processes import begun, gone
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount")]
PACKET, STAT = TYPES["Packet"], TYPES["Stat"]
DIRECTORY, LINK = 1 << 31, 1 << 27
DATA, FIN = 2, 3
Packets = Callable[[Iterator[Any]], Iterator[Any]]


@pytest.fixture
def server(cli: Cli, short_folder: Path) -> Iterator[str]:
    """The socket of a server, whose temporary files are beside it."""
    path = str(short_folder / "s.sock")
    (short_folder / "tmp").mkdir()
    process = cli.start(
        "serve", "--addr", f"unix://{path}", env={"TMPDIR": str(short_folder / "tmp")}
    )
    assert process.stderr is not None
    assert process.stderr.readline() == f"listening at unix://{path}\n"
    yield path
    process.terminate()
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in errors
    assert os.listdir(short_folder / "tmp") == []


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "a").write_text("a\n")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    return folder


class Hostile(Client):
    """Sends what it likes in place of its context."""

    packets: Packets

    def _diff_copy(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        asked = context.invocation_metadata()
        if ("dir-name", "context") in asked and ("followpaths", ".dockerignore") not in asked:
            return self.packets(requests)
        return super()._diff_copy(requests, context)


def files(*entries: Any, data: bytes = b"x") -> Packets:
    """Sends these entries, and the same for each file that is asked for."""

    def send(requests: Iterator[Any]) -> Iterator[Any]:
        for entry in entries:
            yield PACKET(stat=entry)
        yield PACKET()
        for request in requests:
            if request.type == FIN:
                yield PACKET(type=FIN)
                return
            yield PACKET(type=DATA, ID=request.ID, data=data)
            yield PACKET(type=DATA, ID=request.ID)

    return send


def endless(requests: Iterator[Any]) -> Iterator[Any]:
    yield PACKET(stat=STAT(path="a", mode=0o644, size=1 << 20))
    yield PACKET()
    while True:
        yield PACKET(type=DATA, data=b"x" * 32768)


def ended(requests: Iterator[Any]) -> Iterator[Any]:
    yield PACKET(stat=STAT(path="a", mode=0o644, size=1))


DEEP = [STAT(path="/".join(["d"] * depth), mode=DIRECTORY | 0o755) for depth in range(1, 1200)]
CASES = {
    "above": (files(STAT(path="../a", mode=0o644, size=1)), "an invalid path: '../a'"),
    "elsewhere": (files(STAT(path="/etc/a", mode=0o644, size=1)), "an invalid path"),
    "through a link": (
        files(STAT(path="l", mode=LINK, linkname="/etc"), STAT(path="l/a", size=1)),
        "an invalid path: 'l/a'",
    ),
    "a long name": (files(STAT(path="n" * 300, mode=0o644, size=1)), "File name too long"),
    "a link to nothing": (files(STAT(path="l", mode=LINK)), "an invalid link"),
    "a link with a zero": (files(STAT(path="l", mode=LINK, linkname="\0")), "an invalid link"),
    "more than it said": (files(STAT(path="a", size=1), data=b"xx"), "larger than the client said"),
    "endless": (endless, "larger than the client said"),
    "the end": (ended, "stopped in the middle"),
    "deep": (files(*DEEP), ""),
    "modes": (files(STAT(path="a", mode=0o7777 | 0xFFF << 9, size=1)), ""),
    "times": (files(STAT(path="a", mode=0o644, size=1, modTime=-(1 << 63))), ""),
}


def test_what_is_no_folder(server: str, context: Path, tmp_path: Path) -> None:
    """One after the other, into the same kept folder; then a good client has what it sent."""
    folders = {"context": context, "dockerfile": context}
    for name, (packets, message) in CASES.items():
        hostile = Hostile(server, _place(tmp_path / name), folders)
        hostile.packets = packets
        try:
            hostile.build({})
            assert not message, name
        except grpc.RpcError as error:
            assert message and message in error.details(), name
    client = Client(server, _place(tmp_path / "good"), folders)
    client.build({}, [("local", {})])
    assert sorted(os.listdir(client.received / "output-0")) == ["Dockerfile", "a"]


@pytest.mark.needs("busybox")
def test_a_client_that_dies(
    cli: Cli, server: str, context: Path, tmp_path: Path, busybox_tar: str
) -> None:
    """Its step ends; the build of another goes on."""
    cli("image", "import", busybox_tar, "busybox")
    nap = f"600.{os.getpid()}"
    (context / "Dockerfile").write_text(f"FROM busybox\nRUN sleep {nap}\n")
    dying = cli.start("build", f"--builder=unix://{server}", str(context))
    folders = {"context": context, "dockerfile": context}
    assert begun(nap)
    dying.send_signal(signal.SIGKILL)
    other = Client(server, _place(tmp_path / "other"), folders)
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo alive > /a\n")
    other.build({}, [("local", {})])
    assert (other.received / "output-0/a").read_text() == "alive\n"
    assert gone(nap)
    dying.communicate(timeout=PATIENCE_S)


def _place(folder: Path) -> Path:
    folder.mkdir()
    return folder
