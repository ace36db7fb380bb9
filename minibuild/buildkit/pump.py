"""Carrying the bytes of a connection: over a socket, or inside of a call.

Comes in: a connection, and what its bytes go through. Each has a thread that reads, and one that
writes what cannot be written at once. Read next: `http2`, `dispatch`.
"""

import socket
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from minibuild.buildkit.http2 import Connection
from minibuild.buildkit.messages import Messages, split
from minibuild.buildkit.rpc import Failure, api_type

if TYPE_CHECKING:
    from minibuild.buildkit.secure import SecureSocket

_READ_BYTES = 256 << 10


def pump_socket(connection: Connection, connected: "socket.socket | SecureSocket") -> None:
    """Carry bytes between a socket and a connection, until one of them ends."""
    writing = threading.Thread(target=_write, args=(connection, connected), daemon=True)
    if isinstance(connected, socket.socket):
        connection.write = partial(_write_now, connected)
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


def _write_now(connected: socket.socket, data: bytes) -> int:
    """Send as much as there is room for. Returns how many bytes that was."""
    try:
        return connected.send(data, socket.MSG_DONTWAIT)
    except OSError:
        return 0  # The thread that writes meets the error, too.


def pump_call(connection: Connection, call: Messages) -> None:
    """The same by messages of a call, each a `BytesMessage`. What comes is taken in by the thread
    that reads the connection around: to wake another one takes longer."""
    rest, one_at_a_time, kind = b"", threading.Lock(), api_type("BytesMessage")

    def receive() -> None:
        nonlocal rest
        try:
            with one_at_a_time:
                data = call.stream.read()
                found, rest = split(rest + data)
                connection.receive(b"".join(kind.FromString(one).data for one in found))
            if not data:
                call.check_end()
                connection.close()
        except Failure as failure:
            connection.close(failure.message)

    call.stream.deliver_to(receive)
    try:
        while (data := connection.outgoing()) and call.send(kind(data=data)):
            pass
    finally:
        connection.close()
