"""A socket with TLS that one thread reads while another writes.

OpenSSL lets one thread at a time use a connection, and a read that waits would keep the writer out.
So no call here waits in OpenSSL: it waits for the socket, with the lock free. Rules: SSL_read(3),
SSL_write(3). Read next: `pump`.
"""

import select
import ssl
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

_Got = TypeVar("_Got")
_TURN_MS = 500


class SecureSocket:
    """The part of a socket's methods that a connection needs."""

    def __init__(self, connected: ssl.SSLSocket) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._lock = threading.Lock()

    def recv(self, size: int) -> bytes:
        """Wait for bytes; empty at the end."""
        return self._done(lambda: self._socket.recv(size))

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._done(partial(self._socket.send, rest)) :]

    def shutdown(self, how: int) -> None:
        """End both directions."""
        with self._lock:
            self._socket.shutdown(how)

    def _done(self, call: Callable[[], _Got]) -> _Got:
        while True:
            try:
                with self._lock:
                    return call()
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT)

    def _wait(self, event: int) -> None:
        poll = select.poll()
        poll.register(self._socket, event)
        poll.poll(_TURN_MS)
