"""The server: a socket, and the services behind it.

Comes in: addresses and a store. Goes out: builds, until the server is stopped, or has had
nothing to do for some time.
Read next: `listening`, `control`.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from minibuild.buildkit import content
from minibuild.buildkit.dispatch import services
from minibuild.buildkit.rpc import check_installed
from minibuild.serve import blobs, bridge, control
from minibuild.serve.build import Builder, Show
from minibuild.serve.callserver import CallServer
from minibuild.serve.config import Config
from minibuild.serve.listening import Certificates, listening
from minibuild.session.scratch import scratch_folder

_TURN_S = 0.2
_GRACE_S = 5.0


def serve(
    addresses: Sequence[str],
    config: Config,
    show: Show,
    *,
    ready: Callable[[Sequence[str]], None],
    certificates: Certificates,
    idle_s: float | None = None,
    once: bool = False,
) -> None:
    """Serve until a signal. `ready` is called with the addresses. With `idle_s` it also ends when
    nothing was built for so long, with `once` after the first build. Only for a program, and in its
    main thread."""
    check_installed()
    with (
        scratch_folder("minibuild-build-") as folder,
        listening(addresses, certificates, config.environment.variables) as found,
    ):
        builder = Builder(config, folder, show)
        server = _call_server(builder)
        for endpoint in found:
            server.start(endpoint)
        builder.children.prepare()
        try:
            with signals() as stop:
                ready([endpoint.address for endpoint in found])
                _until_done(builder, stop, idle_s, once)
        finally:
            builder.stop()
            server.stop(_GRACE_S)


def _call_server(builder: Builder) -> CallServer:
    """What answers the calls of all services."""
    found = {
        control.NAME: control.Control(builder).methods(),
        bridge.NAME: bridge.Bridge(builder).methods(),
        content.NAME: blobs.Blobs(builder.root).methods(),
    }
    return CallServer(dict(services(found)))


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
