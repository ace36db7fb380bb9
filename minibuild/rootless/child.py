"""The process in which a build runs when its caller cannot enter a user namespace.

Started by `parent`. Reads a request from the socket, enters a user namespace, builds, and writes
("event", ...), then ("result", ...) or ("error", ...). The end of its input is the order to stop.
Read next: `enter`, for the command line.
"""

import os
import pickle
import signal
import socket
import threading
from typing import Any


def main(number: int) -> int:
    """Serve one build on the socket with this number."""
    from minibuild.errors import BuildError
    from minibuild.linux.idmap import plan_id_maps
    from minibuild.linux.namespace import enter_user_namespace
    from minibuild.linux.signals import stopping

    signal.signal(signal.SIGINT, signal.default_int_handler)  # The caller may ignore them.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    connection = socket.socket(fileno=number)
    connection.set_inheritable(False)
    stream = connection.makefile("rwb")
    request, root, folder = pickle.load(stream)
    os.chdir(folder)
    sending = threading.Lock()

    cancelled, finished = threading.Event(), threading.Event()

    def send(kind: str, value: Any) -> None:
        try:
            with sending:
                pickle.dump((kind, value), stream)
                stream.flush()
        except OSError:
            cancelled.set()  # The caller is gone.

    try:
        enter_user_namespace(plan_id_maps())
        from minibuild.builder import run_build

        # Only now: a process with two threads may not enter a user namespace.
        _watch(connection, finished)
        with stopping(cancelled, last_word=b""):
            result = run_build(
                request, root=root, report=lambda event: send("event", event), cancelled=cancelled
            )
        finished.set()
    except BuildError as error:
        finished.set()
        send("error", error)
        return error.exit_code
    except Exception as error:
        finished.set()
        send("error", _portable(error))
        return BuildError.exit_code
    send("result", result)
    return 0


def _portable(error: Exception) -> Exception:
    """A mistake of ours, for the caller to see as if it had happened there: with the place where it
    happened, which pickle drops."""
    from traceback import format_exc

    error.add_note(f"in the process that ran the build:\n{format_exc()}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(error.__notes__[-1])
    return error


def _watch(connection: socket.socket, finished: threading.Event) -> None:
    """Interrupt the build when the other end says so or is gone."""

    def wait() -> None:
        connection.recv(1)
        if not finished.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait, daemon=True).start()
