"""A build in a process of its own, for a caller that cannot enter a user namespace.

Comes in: a request. Goes out: what the build gives, as if it had run here: the same events, the
same result, the same errors. Request and answers are pickled through a socket between the two
processes, which no other process can open.
Read next: `child`, the other end.
"""

import os
import pickle
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from minibuild.errors import Cancelled, HostError
from minibuild.events import Report
from minibuild.session.request import BuildRequest, BuildResult

POLL_S = 0.05
_CHILD = """\
import sys
number, *sys.path = sys.argv[1:]
from minibuild.rootless.child import main
sys.exit(main(int(number)))
"""


def build_in_child(
    request: BuildRequest, *, root: str, report: Report, cancelled: threading.Event
) -> BuildResult:
    """Do one build on the store in `root`: `builder.run_build`, from outside the namespace."""
    from subprocess import DEVNULL, Popen

    ours, theirs = socket.socketpair()
    with (
        ours,
        theirs,
        Popen(
            # The modules of the caller, and none that happen to be in the current directory.
            [sys.executable, "-P", "-c", _CHILD, str(theirs.fileno()), *sys.path],
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
        watcher = _Watcher(cancelled, lambda: ours.shutdown(socket.SHUT_WR))
        try:
            return _listen(stream, report)
        except HostError as error:
            if cancelled.is_set():
                raise Cancelled("the build was cancelled") from error
            raise
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
            assert isinstance(value, Exception)
            raise value


class _Watcher:
    """Gives the order to stop when the caller sets `cancelled`."""

    def __init__(self, cancelled: threading.Event, order: Callable[[], None]) -> None:
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(cancelled, order), daemon=True)
        self._thread.start()

    def _watch(self, cancelled: threading.Event, order: Callable[[], None]) -> None:
        while not self._done.is_set():
            if cancelled.wait(POLL_S):
                order()
                return

    def stop(self) -> None:
        """Watch no longer."""
        self._done.set()
        self._thread.join()
