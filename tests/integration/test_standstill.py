"""Ctrl-C while a command waits for what never comes, from a server, a pipe, another process."""

import fcntl
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.conftest import Builds
from tests.support import processes
from tests.support.waiting import PATIENCE_S, comes

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

Project = Callable[[Mapping[str, str]], str]

LONG_S = 15
"""Far longer than it takes, and far shorter than all that is waited for."""


class Silent:
    """A server that accepts and says nothing. `asked` is set when a client came."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked = threading.Event()
        self._clients: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                self._clients.append(self._listener.accept()[0])
            except OSError:
                return
            self.asked.set()

    def close(self) -> None:
        for one in (self._listener, *self._clients):
            one.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    server = Silent()
    yield server
    server.close()


def interrupted(
    builds: Builds,
    *words: str,
    ready: Callable[[], object] | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a command, interrupt it when it is ready, by default when it does nothing but wait, and
    return what it said."""
    process = subprocess.Popen(
        [builds.cli.program, *words],
        env={**builds.cli.environment, **(env or {})},
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    if ready is None:
        assert processes.waits(process.pid)
    else:
        assert ready()
    assert process.poll() is None, process.communicate()[1]
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert time.monotonic() - began < LONG_S
    assert process.returncode == 130, said
    assert "Traceback" not in said and "KeyboardInterrupt" not in said
    # One that was killed is there until the first process takes note of it.
    assert comes(lambda: _nothing_left_of(process.pid))
    return said


def _nothing_left_of(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


SERVERS = {
    "a base image": ("FROM {0}/app\n", ("build", "{1}")),
    "a question": ("FROM {0}/app\n", ("build", "--call=outline", "{1}")),
    "a file": ("FROM scratch\nADD http://{0}/file /\n", ("build", "{1}")),
    "a repository": ("FROM scratch\nADD http://{0}/app.git /\n", ("build", "{1}")),
    "a context": ("", ("build", "http://{0}/context.tar")),
    "a push": ("FROM busybox\n", ("build", "--push", "-t", "{0}/app", "{1}")),
    "a cache": (
        "FROM busybox\nRUN true\n",
        ("build", "--cache-to", "type=registry,ref={0}/c", "{1}"),
    ),
    "a pull": ("", ("image", "pull", "{0}/app")),
}


@pytest.mark.parametrize("name", SERVERS)
def test_a_server(builds: Builds, project: Project, silent: Silent, name: str) -> None:
    dockerfile, words = SERVERS[name]
    context = project({"Dockerfile": dockerfile.format(silent.address)})
    filled = [word.format(silent.address, context) for word in words]
    interrupted(builds, *filled, ready=lambda: silent.asked.wait(PATIENCE_S))


@pytest.mark.parametrize("words", ["build -", "build -f - .", "image load -", "image import - x"])
def test_standard_input(builds: Builds, words: str) -> None:
    with ExitStack() as stack:
        read_fd, write_fd = os.pipe()
        stack.callback(os.close, read_fd)
        stack.callback(os.close, write_fd)
        interrupted(builds, *words.split(), stdin=read_fd)


@pytest.mark.parametrize("words", ["build -o type=tar,dest=- {}", "image save busybox"])
def test_standard_output(builds: Builds, project: Project, words: str) -> None:
    """A pipe that is full, and no one reads it."""
    context = project({"Dockerfile": "FROM busybox\n"})
    with ExitStack() as stack:
        read_fd, write_fd = os.pipe()
        stack.callback(os.close, read_fd)
        stack.callback(os.close, write_fd)

        def full() -> bool:
            return comes(lambda: os.get_blocking(read_fd) and not _free(write_fd))

        filled = words.format(context).split()
        interrupted(builds, *filled, stdout=write_fd, ready=full)


def _free(write_fd: int) -> bool:
    import select

    return bool(select.select((), (write_fd,), (), 0)[1])


@pytest.mark.parametrize("words", ["build {}", "prune -f", "image ls"])
def test_a_store_that_is_being_pruned(builds: Builds, project: Project, words: str) -> None:
    context = project({"Dockerfile": "FROM busybox\n"})
    with open(f"{builds.cli.root}/locks/prune", "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        filled = words.format(context).split()
        interrupted(builds, *filled)


@pytest.mark.parametrize("words", ["build {}", "image tag busybox b"])
def test_a_process_that_stopped_in_a_transaction(
    builds: Builds, project: Project, words: str
) -> None:
    context = project({"Dockerfile": "FROM busybox\nRUN true\n"})
    db = sqlite3.connect(f"{builds.cli.root}/meta.db", isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    interrupted(builds, *words.format(context).split())
    db.execute("ROLLBACK")
    db.close()


def test_a_program_that_loads_images(builds: Builds, project: Project, tmp_path: Path) -> None:
    """It is started for `--load`, and ends with the build."""
    context = project({"Dockerfile": "FROM busybox\nCOPY big /\n", "big": "x" * 3_000_000})
    started = tmp_path / "started"
    program = tmp_path / "docker"
    program.write_text(f"#!/bin/sh\ntouch {started}\nexec sleep 60\n")
    program.chmod(0o755)

    path = f"{tmp_path}:{builds.cli.environment['PATH']}"
    interrupted(
        builds,
        "build",
        "--load=docker",
        "-t",
        "x",
        context,
        ready=lambda: comes(started.exists),
        env={"PATH": path},
    )


def test_both_builds_of_verify(builds: Builds, project: Project) -> None:
    nap = f"600.{os.getpid()}"
    context = project({"Dockerfile": f"FROM busybox\nRUN sleep {nap}\n"})
    said = interrupted(builds, "verify", context, ready=lambda: processes.begun(nap))
    assert processes.gone(nap)
    assert said.endswith("cancelled\n")
