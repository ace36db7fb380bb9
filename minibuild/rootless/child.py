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
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any, NoReturn

from minibuild.errors import BuildError
from minibuild.session.request import BuildRequest, BuildResult

if TYPE_CHECKING:
    from minibuild.events import Event
    from minibuild.frontend.conversions import Conversions
    from minibuild.linux.rpc import Call, Callee

_TOGETHER_S = 0.005
_MAX_WAITING = 1000


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
    from minibuild.frontend.conversions import Conversions

    callee, conversions = Callee(Channel(number)), Conversions()
    call = callee.next()
    while call is not None:
        call = _build(callee, conversions, *call.value)


def _build(
    callee: "Callee", conversions: "Conversions", request: BuildRequest, root: str, folder: str
) -> "Call | None":
    """Do one build and answer: once when the outputs are there, and with all of the result at the
    end. Returns the next call; None if there is none, or if this one failed: then nothing is built
    here any more."""
    from minibuild.linux.signals import stopping
    from minibuild.rootless.enter import enter_if_possible

    cancelled, watch = threading.Event(), _Watch(callee)
    events = Events(callee, cancelled)

    def answer(result: BuildResult) -> None:
        watch.is_done = True
        events.end()
        _answer(callee.result, result)

    try:
        os.chdir(folder)
        enter_if_possible()
        from minibuild.builder import run_build

        # Only now: a process with two threads may not enter a user namespace.
        watch.start()
        events.start()
        with stopping(cancelled, last_word=b""):
            result = run_build(
                request,
                root=root,
                report=events.add,
                cancelled=cancelled,
                answer=answer,
                conversions=conversions,
            )
    except Exception as error:
        watch.is_done = True
        events.end()
        _answer(callee.error, error if isinstance(error, BuildError) else noted(error))
        return None
    _answer(callee.result, result)
    watch.join()
    return watch.call


def _answer(send: Callable[[Any], None], value: object) -> None:
    with suppress(OSError):  # The caller is gone.
        send(value)


class Events(threading.Thread):
    """Sends events, all that come within some milliseconds at once: a cached build has three for
    each step, and to send them one by one takes longer than to find what they are about."""

    def __init__(self, callee: "Callee", cancelled: threading.Event) -> None:
        super().__init__(daemon=True)
        self._callee = callee
        self._cancelled = cancelled
        self._waiting: Queue[Event | None] = Queue(_MAX_WAITING)
        self._is_over = threading.Event()
        self.add = self._waiting.put

    def end(self) -> None:
        """Send the rest, and return when that is done."""
        if self.is_alive():
            self._is_over.set()
            self._waiting.put(None)
            self.join()

    def run(self) -> None:
        is_last = False
        while not is_last:
            found = [self._waiting.get()]
            self._is_over.wait(_TOGETHER_S)
            with suppress(Empty):
                while True:
                    found.append(self._waiting.get_nowait())
            is_last = None in found
            try:
                self._callee.event([event for event in found if event is not None])
            except OSError:
                self._cancelled.set()  # The caller is gone.


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
