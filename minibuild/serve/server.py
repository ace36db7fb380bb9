"""The server: a socket, and the services behind it.

Comes in: an address and a store. Goes out: builds, until the server is told to stop, or has had
nothing to do for some time. The socket belongs to the one who started it (0600): who may connect
may build, and so read and write the store.
Read next: `control`.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from minibuild.buildkit.rpc import OPTIONS, api_types
from minibuild.errors import HostError, UsageError
from minibuild.serve import blobs, bridge, control, gateway
from minibuild.serve.build import Builder
from minibuild.serve.config import Config

# A build holds up to six calls open, a client with several builds that many times more.
_THREADS = 256
_TURN_S = 0.2
_MAX_PATH_BYTES = 107  # unix(7), and a zero behind it
_GRACE_S = 5.0


def socket_path(address: str) -> str:
    """The path in `unix:///path`. Raises `UsageError` for other addresses."""
    scheme, separator, path = address.partition("://")
    if not separator or scheme != "unix" or not path.startswith("/"):
        raise UsageError(
            f"invalid address {address!r}", hint="write the path of a socket: unix:///run/x.sock"
        )
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise UsageError(
            f"the path of a socket has {_MAX_PATH_BYTES} bytes at most, and {path} has more",
            hint="choose a shorter one with --addr",
        )
    return path


def serve(
    address: str,
    config: Config,
    show: gateway.Show,
    *,
    ready: Callable[[], None],
    idle_s: float | None = None,
    once: bool = False,
) -> None:
    """Serve until a signal. With `idle_s` it also ends when nothing was built for so long, with
    `once` after the first build. Only for a program, and in its main thread."""
    import grpc

    types = api_types()
    path = socket_path(address)
    builder = Builder(types, config)
    made = gateway.Gateway(show)
    front = control.Control(builder, made)
    server = grpc.server(ThreadPoolExecutor(_THREADS), options=OPTIONS)
    for name, handlers in (
        (control.NAME, front.handlers()),
        (bridge.NAME, bridge.Bridge(builder, front, made).handlers()),
        (blobs.NAME, blobs.Blobs(types, builder.history).handlers()),
    ):
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, handlers)])
    _claim(path)
    before = os.umask(0o177)  # the socket is ours alone from its first moment
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as error:
        raise HostError(f"cannot listen at {path}: {error}") from None
    finally:
        os.umask(before)
    server.start()
    try:
        with signals() as stop:
            ready()
            _until_done(builder, stop, idle_s, once)
    finally:
        builder.stop()
        server.stop(_GRACE_S).wait()
        if os.path.lexists(path):
            os.unlink(path)


def _claim(path: str) -> None:
    """Remove a socket that a server left behind. Raises `UsageError` if one still listens."""
    import socket

    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    if not os.path.lexists(path):
        return
    with socket.socket(socket.AF_UNIX) as tried:
        try:
            tried.connect(path)
        except OSError:
            os.unlink(path)
            return
    raise UsageError(f"there is a server at {path} already", hint="give another one with --addr")


@contextmanager
def signals() -> Iterator[int]:
    """A descriptor that can be read once a signal has come that ends the server."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    taken = [n for n in numbers if signal.getsignal(n) is not signal.SIG_IGN]
    # A handler that took a lock could wait for the very code that it interrupts.
    before = {n: signal.signal(n, lambda *_: os.write(writer, b".") and None) for n in taken}
    try:
        yield reader
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


def _until_done(builder: Builder, stop: int, idle_s: float | None, once: bool) -> None:
    last = time.monotonic()
    while not select.select([stop], [], [], _TURN_S)[0]:
        if builder.busy:
            last = time.monotonic()
        elif (once and builder.finished) or (
            idle_s is not None and time.monotonic() - last > idle_s
        ):
            return
