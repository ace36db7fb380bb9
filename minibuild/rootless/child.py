"""The process in which a build runs when its caller cannot enter a user namespace.

Started by `parent`. Takes a request, enters a user namespace, builds, and sends events, then the
result or an error. The end of its input is the order to stop.
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

if TYPE_CHECKING:
    from minibuild.events import Event
    from minibuild.linux.rpc import Callee


def run(number: int, loads: str) -> NoReturn:
    """Load a module, serve one build on the channel with this number, and end the process. What the
    build had open is closed by then, and to take the interpreter apart would take longer."""
    code = BuildError.exit_code
    try:
        code = _serve(number, loads)
    finally:
        sys.stderr.flush()
        os._exit(code)


def _serve(number: int, loads: str) -> int:
    from minibuild.linux.channel import Channel
    from minibuild.linux.rpc import Callee
    from minibuild.linux.signals import stopping
    from minibuild.rootless.enter import enter_if_possible

    signal.signal(signal.SIGINT, signal.default_int_handler)  # The caller may ignore them.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.set_inheritable(number, False)
    import_module(loads)  # Some callers start this before they have a build.
    callee = Callee(Channel(number))
    call = callee.next()
    if call is None:
        return 0  # The caller is gone.
    request, root, folder = call.value
    os.chdir(folder)
    cancelled, finished = threading.Event(), threading.Event()

    def report(event: "Event") -> None:
        try:
            callee.event(event)
        except OSError:
            cancelled.set()  # The caller is gone.

    try:
        enter_if_possible()
        from minibuild.builder import run_build

        # Only now: a process with two threads may not enter a user namespace.
        _watch(callee, finished)
        with stopping(cancelled, last_word=b""):
            result = run_build(request, root=root, report=report, cancelled=cancelled)
        finished.set()
    except BuildError as error:
        finished.set()
        _answer(callee.error, error)
        return error.exit_code
    except Exception as error:
        finished.set()
        _answer(callee.error, noted(error))
        return BuildError.exit_code
    _answer(callee.result, result)
    return 0


def _answer(send: Callable[[Any], None], value: object) -> None:
    with suppress(OSError):  # The caller is gone.
        send(value)


def noted(error: Exception) -> Exception:
    """A mistake of ours, for the caller to see as if it had happened there: with the place where it
    happened, which pickle drops."""
    from traceback import format_exc

    error.add_note(f"in the process that ran the build:\n{format_exc()}")
    return error


def _watch(callee: "Callee", finished: threading.Event) -> None:
    """Interrupt the build when the other end says so or is gone."""

    def wait() -> None:
        callee.wait_for_end()
        if not finished.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait, daemon=True).start()
