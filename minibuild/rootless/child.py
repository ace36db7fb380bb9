"""The process in which a build runs when its caller cannot enter a user namespace.

Started by `parent`. Reads a request from the socket, enters a user namespace, builds, and writes
("event", ...), then ("result", ...) or ("error", ...). The end of its input is the order to stop.
"""

import os
import pickle
import socket
import threading
from typing import Any


def main(number: int) -> int:
    """Serve one build on the socket with this number."""
    from minibuild.errors import BuildError
    from minibuild.linux.idmap import plan_id_maps
    from minibuild.linux.namespace import enter_user_namespace
    from minibuild.linux.signals import reap_children

    reap_children()
    connection = socket.socket(fileno=number)
    connection.set_inheritable(False)
    stream = connection.makefile("rwb")
    request, root, folder = pickle.load(stream)
    os.chdir(folder)
    sending = threading.Lock()

    cancelled = threading.Event()

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
        _watch(connection, cancelled)
        result = run_build(
            request, root=root, report=lambda event: send("event", event), cancelled=cancelled
        )
    except BuildError as error:
        send("error", error)
        return error.exit_code
    send("result", result)
    return 0


def _watch(connection: socket.socket, cancelled: threading.Event) -> None:
    """Set `cancelled` when the other end says so or is gone."""

    def wait() -> None:
        connection.recv(1)
        cancelled.set()

    threading.Thread(target=wait, daemon=True).start()
