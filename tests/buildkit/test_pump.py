"""Bytes of a connection over a socket, and how it ends."""

import socket
import threading

from minibuild.buildkit.http2 import Connection
from minibuild.buildkit.pump import pump_socket
from tests.support.waiting import PATIENCE_S


def test_a_connection_that_is_closed_ends_the_reading() -> None:
    """Though the other end goes on, and says nothing."""
    ours, theirs = socket.socketpair()
    connection = Connection()
    carrying = threading.Thread(target=pump_socket, args=(connection, ours), daemon=True)
    with ours, theirs:
        carrying.start()
        theirs.settimeout(PATIENCE_S)
        assert theirs.recv(100).startswith(b"PRI * HTTP/2.0")
        connection.close()
        carrying.join(PATIENCE_S)
        assert not carrying.is_alive()
        while theirs.recv(1000):
            pass


def test_what_is_no_http2_ends_it_too() -> None:
    ours, theirs = socket.socketpair()
    carrying = threading.Thread(target=pump_socket, args=(Connection(), ours), daemon=True)
    with ours, theirs:
        carrying.start()
        theirs.settimeout(PATIENCE_S)
        theirs.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(100))
        said = b""
        while data := theirs.recv(1000):
            said += data
        assert b"PRI * HTTP/2.0" in said
        carrying.join(PATIENCE_S)
        assert not carrying.is_alive()
