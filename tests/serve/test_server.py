"""`minibuild serve` as a process: builds that it refuses, and how it ends."""

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import pytest

from minibuild.linux.descriptors import closing_fd
from tests.conftest import Cli
from tests.serve.clients import client_of
from tests.serve.conftest import Process
from tests.support.buildkit_client import TYPES, Client
from tests.support.processes import begun, with_word
from tests.support.waiting import PATIENCE_S, comes

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount")]


def test_a_build_that_is_refused(client: Client) -> None:
    """At once, also for calls of the gateway, which wait for a build that is to come."""
    asked = TYPES["SolveRequest"](Ref="r", ProxyNetwork=True)
    with pytest.raises(grpc.RpcError, match="through a proxy of the builder is not possible"):
        client.call("/moby.buildkit.v1.Control/Solve", asked, "SolveResponse")
    with pytest.raises(grpc.RpcError, match="no such job r"):
        call = "/moby.buildkit.v1.frontend.LLBBridge/Ping"
        belongs = (("buildkit-controlapi-buildid", "r"),)
        client.call(call, TYPES["Empty"](), "PongResponse", belongs)


@pytest.mark.needs("busybox")
def test_the_end_of_the_server_ends_builds(
    cli: Cli, process: Process, server: str, client: Client, context: Path, busybox_tar: str
) -> None:
    cli("image", "import", busybox_tar, "busybox")
    nap = f"600.{os.getpid()}"
    (context / "Dockerfile").write_text(f"FROM busybox\nRUN echo up; sleep {nap}\n")
    with ThreadPoolExecutor(1) as hand:
        built = hand.submit(client.build, {})
        assert begun(nap)
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)
        with pytest.raises(grpc.RpcError):
            built.result(timeout=PATIENCE_S)
    assert not with_word(nap) and not os.path.exists(server)
    assert process.returncode == 0


def test_the_end_of_a_server_right_after_an_answer(
    cli: Cli, short_folder: Path, tmp_path: Path, context: Path
) -> None:
    """A client has its answer before the record is written. A server that ends writes it, however
    long that takes; one that is killed leaves nothing that the next one does not remove."""
    history, temporary = Path(cli.root, "history"), tmp_path / "t"
    temporary.mkdir()

    def answered(name: str) -> Process:
        address = f"{short_folder}/{name}"
        server = cli.start("serve", f"--addr=unix://{address}", env={"TMPDIR": str(temporary)})
        assert server.stderr is not None and server.stderr.readline().startswith("listening")
        assert len(list(temporary.iterdir())) == 1  # its own folder
        client_of(address, tmp_path / name, context).build({})
        return server

    killed = answered("killed")
    killed.kill()
    killed.communicate()
    _fill(history)
    ended = answered("ended")
    with _held(history / "held"):
        ended.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            ended.wait(timeout=0.4)  # One that waits for nothing takes half of that.
    ended.communicate(timeout=PATIENCE_S)
    assert not list(temporary.iterdir())
    found = [path.read_bytes() for path in history.iterdir() if path.is_file()]
    records = map(TYPES["BuildHistoryRecord"].FromString, found)
    record = max(records, key=lambda one: (one.CreatedAt.seconds, one.CreatedAt.nanos))
    (said,) = record.Result.Attestations
    assert record.numCompletedSteps and (history / "blobs" / said.digest[7:]).exists()
    assert list(Path(cli.root).glob("builds/*/*"))


def _fill(history: Path) -> None:
    """So much that a new record is followed by a look at the others. One of them cannot be read
    before `_held` is done."""
    for number in range(60):
        (history / f"no record {number}").mkdir(parents=True)
    os.mkfifo(history / "held")


@contextmanager
def _held(fifo: Path) -> Iterator[None]:
    """Let it be read after the block, which begins once that is tried."""
    opened: list[int] = []

    def is_read() -> bool:
        with suppress(OSError):
            opened.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        return bool(opened)

    assert comes(is_read)
    (writer,) = opened
    with closing_fd(writer):
        yield
        os.write(writer, b"no record\xff")


def test_it_ends_by_itself(cli: Cli, short_folder: Path) -> None:
    done = cli("serve", "--addr", f"unix://{short_folder}/s", "--idle-exit", "1s")
    assert done.stderr.startswith("listening at") and not (short_folder / "s").exists()


def test_two_servers_at_one_address(cli: Cli, server: str) -> None:
    done = cli("serve", "--addr", f"unix://{server}", code=2)
    assert "there is a server at" in done.stderr
    long = f"unix:///{'x' * 120}"
    assert "has 107 bytes at most" in cli("serve", "--addr", long, code=2).stderr
