"""A server, and a client with a context."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.serve.clients import client_of
from tests.support.buildkit_client import Client
from tests.support.waiting import PATIENCE_S

Process = subprocess.Popen[str]


@pytest.fixture
def process(cli: Cli, short_folder: Path) -> Iterator[Process]:
    """A server."""
    address = f"unix://{short_folder}/s.sock"
    started = cli.start("serve", "--addr", address)
    assert started.stderr is not None
    assert started.stderr.readline() == f"listening at {address}\n"
    yield started
    started.terminate()
    started.communicate(timeout=PATIENCE_S)


@pytest.fixture
def server(process: Process, short_folder: Path) -> str:
    """The path of its socket."""
    return f"{short_folder}/s.sock"


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A folder with a Dockerfile that reads two of its files."""
    folder = tmp_path / "context"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_text("a\n")
    (folder / "sub/b").write_text("b\n")
    (folder / "not-read").write_text("")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY a sub /d/\nCOPY --link sub/b /b\n")
    return folder


@pytest.fixture
def client(server: str, context: Path, tmp_path: Path) -> Client:
    """A client of the server."""
    return client_of(server, tmp_path / "c", context)
