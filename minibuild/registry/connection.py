"""Connections on which nobody waits longer than the build goes on.

Comes in: an event that says that the build is cancelled. Goes out: pools of connections for
urllib3, as usual in everything else. urllib3 waits inside of a system call, for seconds or for
minutes, and no event ends that. These connections wait a tenth of a second at a time and look at
the event in between. Only for the name server there is no such way, nor for the handshake of TLS:
a connection is made in a thread of its own, which is left alone if the build is cancelled.
Read next: `transport`.
"""

import socket
import threading
import time
from collections.abc import Callable
from ssl import SSLSocket
from typing import Any, TypeVar

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from minibuild.errors import Cancelled

_POLL_S = 0.1
T = TypeVar("T")


def pools(cancelled: threading.Event) -> dict[str, type[HTTPConnectionPool]]:
    """The classes of pools by scheme, as `PoolManager.pool_classes_by_scheme` wants them."""

    class Plain(HTTPConnectionPool):
        ConnectionCls = type("Connection", (_Connection, HTTPConnection), {"cancelled": cancelled})

    class Tls(HTTPSConnectionPool):
        ConnectionCls = type("Connection", (_Connection, HTTPSConnection), {"cancelled": cancelled})

    return {"http": Plain, "https": Tls}


class _Connection(HTTPConnection):
    cancelled: threading.Event

    def _new_conn(self) -> socket.socket:
        return _Socket(fileno=super()._new_conn().detach())

    def connect(self) -> None:
        _in_a_thread(super().connect, self.cancelled)
        # TLS through a proxy that itself wants TLS is no socket, and waits as it always does.
        if isinstance(self.sock, _Watched):
            self.sock.watch(self.cancelled)


def _in_a_thread(work: Callable[[], None], cancelled: threading.Event) -> None:
    """Do what cannot be interrupted, and wait for it. Raises what it raises, or `Cancelled`."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="connect", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_POLL_S)
        _check(cancelled)
    if errors:
        raise errors[0]


def _check(cancelled: threading.Event) -> None:
    if cancelled.is_set():
        raise Cancelled("cancelled while waiting for a registry")


class _Watched(socket.socket):
    """A socket that looks at an event while it waits. Its own time-out is short, so that the one
    that was set is counted here."""

    _cancelled: threading.Event | None = None
    _silence_s: float | None = None

    def watch(self, cancelled: threading.Event) -> None:
        """Look at the event from now on."""
        silence_s = self.gettimeout()
        self._cancelled = cancelled
        self.settimeout(silence_s)

    def settimeout(self, value: float | None) -> None:
        self._silence_s = value
        short = _POLL_S if value is None else min(value, _POLL_S)
        super().settimeout(value if self._cancelled is None else short)

    def gettimeout(self) -> float | None:
        return super().gettimeout() if self._cancelled is None else self._silence_s

    def recv_into(self, *arguments: Any) -> int:
        return self._waiting(super().recv_into, arguments)

    def send(self, *arguments: Any) -> int:
        return self._waiting(super().send, arguments)

    def sendall(self, data: Any, flags: int = 0) -> None:
        with memoryview(data) as view, view.cast("B") as left:
            sent = 0
            while sent < len(left):
                sent += self.send(left[sent:], flags)

    def _waiting(self, call: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        began = time.monotonic()
        while True:
            try:
                return call(*arguments)
            except TimeoutError:
                if self._cancelled is None:
                    raise
                _check(self._cancelled)
                if self._silence_s is not None and time.monotonic() - began >= self._silence_s:
                    raise


class _Socket(_Watched):
    """One without TLS."""


class TlsSocket(_Watched, SSLSocket):
    """One with TLS, for `SSLContext.sslsocket_class`."""
