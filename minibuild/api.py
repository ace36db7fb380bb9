"""`minibuild.build`: a build from Python, in the caller's thread.

As root, the engine runs right here. Without root it has to live in a user namespace, and a
process can enter one only while it has a single thread, and never leaves it: nothing to do to a
caller. So then a process of ours enters it, runs the engine, and sends its events and its result
back over a socket. The caller sees no difference: the same events, the same result, the same
errors.
Read next: `api_worker`, the other end.
"""

import os
import pickle
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from minibuild.errors import BuildError, HostError
from minibuild.events import Report, silent
from minibuild.session.request import BuildRequest, BuildResult, RegistryAccess

if TYPE_CHECKING:
    from minibuild.graph.flat import FlatGraph

POLL_S = 0.05
_WORKER = """\
import sys
number, *sys.path = sys.argv[1:]
from minibuild.api_worker import main
sys.exit(main(int(number)))
"""


def build(
    context: str = ".",
    *,
    tags: Iterable[str] = (),
    root: str | None = None,
    report: Report = silent,
    cancelled: threading.Event | None = None,
    **fields: Any,
) -> BuildResult:
    """Build `context` and return what was made; nothing is printed.

    `fields` are those of `BuildRequest` (`file`, `target`, `build_args`, `outputs`, ...). `root`
    is the folder of the store; by default the one that the command line uses. `report` is called
    with progress events, by the calling thread or by others, one at a time. Setting `cancelled`
    stops the build. Raises the errors of `minibuild.errors`.
    """
    unknown = fields.keys() - set(BuildRequest._fields)
    if unknown:
        raise TypeError(f"build() got an unexpected argument {min(unknown)!r}")
    fields.setdefault("registries", _registry_access())
    request = BuildRequest(context=os.fspath(context), tags=tuple(tags), **fields)
    folder = root or _default_root()
    stop = cancelled or threading.Event()
    from minibuild.linux.namespace import needs_user_namespace

    if needs_user_namespace():
        return _build_elsewhere(request, folder, report, stop)
    from minibuild.builder import run_build

    return run_build(request, root=folder, report=report, cancelled=stop)


def build_graph(graph: "FlatGraph", **fields: Any) -> BuildResult:
    """Build a graph that was made without a Dockerfile, see `graph.state`."""
    return build(graph=graph, **fields)


def _default_root() -> str:
    from minibuild.cli.environment import default_root

    return default_root()


def _registry_access() -> RegistryAccess:
    from minibuild.cli.registries import registry_access

    return registry_access()


def _build_elsewhere(
    request: BuildRequest, root: str, report: Report, cancelled: threading.Event
) -> BuildResult:
    """The build, in a process of its own that enters a user namespace."""
    from subprocess import DEVNULL, Popen

    ours, theirs = socket.socketpair()
    with (
        ours,
        theirs,
        Popen(
            # The modules of the caller, and none that happen to lie in the current directory.
            [sys.executable, "-P", "-c", _WORKER, str(theirs.fileno()), *sys.path],
            pass_fds=[theirs.fileno()],
            stdin=DEVNULL,
            # Ctrl-C is for the caller, who then closes the socket.
            start_new_session=True,
        ) as process,
    ):
        theirs.close()
        stream = ours.makefile("rwb")
        with suppress(OSError):  # it died already, and is found out when it says nothing
            pickle.dump((request, root, os.getcwd()), stream)
            stream.flush()
        watcher = _Watcher(cancelled, ours)
        try:
            return _listen(stream, report)
        finally:
            watcher.stop()
            # Closing the socket is the order to stop; the process ends when all is clean.
            ours.shutdown(socket.SHUT_WR)
            process.wait()


def _listen(stream: Any, report: Report) -> BuildResult:
    """Pass events on until the result or an error comes."""
    while True:
        try:
            kind, value = pickle.load(stream)
        except (EOFError, ConnectionError) as error:
            raise HostError(
                "the process that ran the build died",
                hint="was it killed, or out of memory? `minibuild doctor` checks this machine",
            ) from error
        if kind == "event":
            report(value)
        elif kind == "result":
            result: BuildResult = value
            return result
        else:
            assert isinstance(value, BuildError)
            raise value


class _Watcher:
    """Tells the other process when the caller sets `cancelled`."""

    def __init__(self, cancelled: threading.Event, ours: socket.socket) -> None:
        self._done = threading.Event()
        self._thread = threading.Thread(
            target=self._watch, args=(cancelled, lambda: ours.shutdown(socket.SHUT_WR)), daemon=True
        )
        self._thread.start()

    def _watch(self, cancelled: threading.Event, tell: Callable[[], None]) -> None:
        while not self._done.is_set():
            if cancelled.wait(POLL_S):
                tell()
                return

    def stop(self) -> None:
        self._done.set()
        self._thread.join()
