"""The process in which builds run whose caller cannot enter a user namespace.

Started by `parent`. Enters a user namespace, takes a request, builds, sends events, then the result
or an error, and waits for the next request. The end of its input is the order to stop.
Read next: `enter`, for the command line.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from minibuild.errors import BuildError
from minibuild.session.request import BuildRequest

if TYPE_CHECKING:
    from minibuild.events import Event
    from minibuild.linux.rpc import Call, Callee


def run(number: int, loads: str) -> NoReturn:
    """Load a module, do the builds that come on the channel with this number, one after the other,
    and end the process. What a build had open is closed by then, and to take the interpreter apart
    would take longer."""
    try:
        _serve(number, loads)
    finally:
        sys.stderr.flush()
        os._exit(0)


def _serve(number: int, loads: str) -> None:
    from minibuild.linux.channel import Channel
    from minibuild.linux.rpc import Callee

    signal.signal(signal.SIGINT, signal.default_int_handler)  # The caller may ignore them.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.set_inheritable(number, False)
    import_module(loads)  # Some callers start this before they have a build.
    callee = Callee(Channel(number))
    call = callee.next()
    while call is not None:
        call = _build(callee, *call.value)


def _build(callee: "Callee", request: BuildRequest, root: str, folder: str) -> "Call | None":
    """Do one build and answer. Returns the next call; None if there is none, or if this one failed:
    then nothing is built here any more."""
    from minibuild.linux.signals import stopping
    from minibuild.rootless.enter import enter_if_possible

    cancelled, watch = threading.Event(), _Watch(callee)

    def report(event: "Event") -> None:
        try:
            callee.event(event)
        except OSError:
            cancelled.set()  # The caller is gone.

    try:
        os.chdir(folder)
        enter_if_possible()
        from minibuild.builder import run_build

        # Only now: a process with two threads may not enter a user namespace.
        watch.start()
        with stopping(cancelled, last_word=b""):
            result = run_build(request, root=root, report=report, cancelled=cancelled)
    except Exception as error:
        watch.is_done = True
        _answer(callee.error, error if isinstance(error, BuildError) else noted(error))
        return None
    watch.is_done = True
    _answer(callee.result, result)
    watch.join()
    return watch.call


def _answer(send: Callable[[Any], None], value: object) -> None:
    with suppress(OSError):  # The caller is gone.
        send(value)


def noted(error: Exception) -> Exception:
    """A mistake of ours, for the caller to see as if it had happened there: with the place where it
    happened, which pickle drops."""
    from traceback import format_exc

    error.add_note(f"in the process that ran the build:\n{format_exc()}")
    return error


class _Watch(threading.Thread):
    """Waits for the next call. If there will be none, it interrupts the build that goes on."""

    def __init__(self, callee: "Callee") -> None:
        super().__init__(daemon=True)
        self._callee = callee
        self.call: Call | None = None
        self.is_done = False

    def run(self) -> None:
        self.call = self._callee.next()
        if self.call is None and not self.is_done:
            os.kill(os.getpid(), signal.SIGINT)
