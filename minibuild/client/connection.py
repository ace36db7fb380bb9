"""The way to a daemon: from its address to a channel of gRPC.

Comes in: `unix:///path`, `tcp://host:port` or `docker-container://name`. Goes out: a channel. A
daemon in a container is reached by a program in it that carries bytes between its standard streams
and the daemon's socket. Rules: moby/buildkit `client/connhelper`.
Read next: `session`.
"""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from minibuild.buildkit.rpc import OPTIONS
from minibuild.errors import HostError, UsageError

_WAIT_S = 10.0
_CHUNK_BYTES = 64 << 10
_HINT = "write unix:///PATH, tcp://HOST:PORT or docker-container://NAME"


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """A channel to the daemon. Raises `UsageError` and `HostError`."""
    from urllib.parse import urlsplit

    parts = urlsplit(address)
    if parts.scheme == "unix" and parts.path and not parts.netloc:
        _check_socket(address, parts.path)
        with _channel(address, f"unix:{parts.path}") as channel:
            yield channel
    elif parts.scheme == "tcp" and parts.netloc and not parts.path.strip("/"):
        with _channel(address, parts.netloc) as channel:
            yield channel
    elif parts.scheme == "docker-container" and parts.netloc:
        command = ["docker", "exec", "--interactive", parts.netloc, "buildctl", "dial-stdio"]
        with _carried(command) as path, _channel(address, f"unix:{path}") as channel:
            yield channel
    else:
        raise UsageError(f"invalid address of a builder: {address!r}", hint=_HINT)


def _check_socket(address: str, path: str) -> None:
    """gRPC dials again and again; a socket that is not there will not come."""
    with socket.socket(socket.AF_UNIX) as tried:
        try:
            tried.connect(path)
        except OSError:
            raise _no_builder(address) from None


def _no_builder(address: str) -> HostError:
    hint = "is it running, and may you connect to it?"
    return HostError(f"there is no builder at {address}", hint=hint)


@contextmanager
def _channel(address: str, target: str) -> Iterator[Any]:
    import grpc

    options = [*OPTIONS, ("grpc.default_authority", "localhost")]
    with grpc.insecure_channel(target, options=options) as channel:
        try:
            grpc.channel_ready_future(channel).result(_WAIT_S)
        except grpc.FutureTimeoutError:
            raise _no_builder(address) from None
        yield channel


@contextmanager
def _carried(command: list[str]) -> Iterator[str]:
    """A socket whose one connection is carried to the standard streams of a program."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="minibuild-builder-") as folder:
        path = os.path.join(folder, "s")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(1)
            thread = threading.Thread(target=_carry, args=(listener, command), daemon=True)
            thread.start()
            yield path


def _carry(listener: socket.socket, command: list[str]) -> None:
    from subprocess import PIPE, Popen

    with suppress(OSError):  # the channel was closed, or there is no such program
        connection, _ = listener.accept()
        with (
            connection,
            Popen(command, stdin=connection.fileno(), stdout=PIPE) as process,
        ):
            assert process.stdout is not None
            while data := os.read(process.stdout.fileno(), _CHUNK_BYTES):
                connection.sendall(data)
