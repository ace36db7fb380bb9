"""Carrying the bytes of a connection: over a socket, or inside of a call.

Comes in: a connection, and what its bytes go through. Each has a thread that reads, and one that
writes. Read next: `http2`, `dispatch`.
"""

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from minibuild.buildkit.http2 import Connection
from minibuild.buildkit.messages import Messages
from minibuild.buildkit.rpc import Failure

if TYPE_CHECKING:
    from minibuild.buildkit.secure import SecureSocket

_READ_BYTES = 256 << 10


def carry(connection: Connection, connected: "socket.socket | SecureSocket") -> None:
    """Carry bytes between a socket and a connection, until one of them ends."""
    writing = threading.Thread(target=_write, args=(connection, connected), daemon=True)
    writing.start()
    try:
        while data := connected.recv(_READ_BYTES):
            connection.receive(data)
    except Failure as failure:
        connection.close(failure.message)
    finally:
        connection.close()
        writing.join()


def _write(connection: Connection, connected: "socket.socket | SecureSocket") -> None:
    with suppress(OSError):
        while data := connection.outgoing():
            connected.sendall(data)
    connection.close()
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def carry_inside(connection: Connection, call: Messages, kind: Any) -> None:
    """The same by messages of a call; `kind` is the class `BytesMessage`."""
    threading.Thread(target=_receive, args=(connection, call, kind), daemon=True).start()
    try:
        while (data := connection.outgoing()) and call.send(kind(data=data)):
            pass
    finally:
        connection.close()


def _receive(connection: Connection, call: Messages, kind: Any) -> None:
    try:
        for batch in call.batches():  # all messages that have come at once
            connection.receive(b"".join(kind.FromString(data).data for data in batch))
    except Failure as failure:
        connection.close(failure.message)
    finally:
        connection.close()
