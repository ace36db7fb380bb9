"""Connections that end with their build, whatever the server does.

Comes in: an event that says that the build is cancelled, and how long a transfer may stall. Goes
out: pools of connections for urllib3, as usual in everything else. urllib3 waits inside of a system
call, for seconds or for minutes, and no event ends that. These connections wait a tenth of a second
at a time and look at the event in between, and measure the pace of the server. Only for the name
server there is no such way, nor for the handshake of TLS: a connection is made in a thread of its
own, which is left alone if the build is cancelled. Read next: `patience`, `transport`.
"""

import socket
import threading
import time
from collections.abc import Callable
from ssl import SSLSocket
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from minibuild.errors import Cancelled
from minibuild.events import Report
from minibuild.registry.patience import Pace, Stalled

_POLL_S = 0.1


def pools(
    cancelled: threading.Event, stall_s: float, report: Report
) -> dict[str, type[HTTPConnectionPool]]:
    """The classes of pools by scheme, as `PoolManager.pool_classes_by_scheme` wants them."""
    settings = {"cancelled": cancelled, "stall_s": stall_s, "report": staticmethod(report)}

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = type("Connection", (_Connection, HTTPConnection), settings)

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = type("Connection", (_Connection, HTTPSConnection), settings)

    return {"http": PlainPool, "https": TlsPool}


class _Connection(HTTPConnection):
    cancelled: threading.Event
    stall_s: float
    report: Report

    def _new_conn(self) -> socket.socket:
        return _Socket(fileno=super()._new_conn().detach())

    def connect(self) -> None:
        pace = Pace(f"{self.host}:{self.port}", self.stall_s, self.report)
        _in_a_thread(super().connect, self.cancelled, pace)
        # TLS through a proxy that itself wants TLS is no socket, and waits as it always does.
        if isinstance(self.sock, _CancellableSocket):
            self.sock.watch(self.cancelled, pace)


def _in_a_thread(work: Callable[[], None], cancelled: threading.Event, pace: Pace) -> None:
    """Do what cannot be interrupted, and wait for it. Raises what it raises, or `Cancelled`."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="connect", daemon=True)
    began = time.monotonic()
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_POLL_S)
            _check(cancelled)
            pace.waits(time.monotonic() - began)
    finally:
        pace.over("it does not answer" if errors or thread.is_alive() else "")
    if errors:
        raise errors[0]


def _check(cancelled: threading.Event) -> None:
    if cancelled.is_set():
        raise Cancelled("cancelled while waiting for a registry")


class _CancellableSocket(socket.socket):
    """A socket that looks at an event while it waits. Its own time-out is short, so that the one
    that was set is counted here."""

    _cancelled: threading.Event | None = None
    _pace: Pace
    _silence_s: float | None = None

    def watch(self, cancelled: threading.Event, pace: Pace) -> None:
        """Look at the event from now on, and measure the pace."""
        silence_s = self.gettimeout()
        self._cancelled, self._pace = cancelled, pace
        self.settimeout(silence_s)

    def settimeout(self, value: float | None) -> None:
        self._silence_s = value
        short = _POLL_S if value is None else min(value, _POLL_S)
        super().settimeout(value if self._cancelled is None else short)

    def gettimeout(self) -> float | None:
        return super().gettimeout() if self._cancelled is None else self._silence_s

    def recv_into(self, *arguments: Any) -> int:
        count, waited_s = self._waiting(super().recv_into, arguments, self._silence)
        if self._cancelled is not None:
            self._pace.answered(count, waited_s)
        return count

    def send(self, *arguments: Any) -> int:
        count, waited_s = self._waiting(super().send, arguments, self._standstill)
        if self._cancelled is not None:
            self._pace.asked(count, waited_s)
        return count

    def sendall(self, data: Any, flags: int = 0) -> None:
        with memoryview(data) as view, view.cast("B") as left:
            sent = 0
            while sent < len(left):
                sent += self.send(left[sent:], flags)

    def _waiting(
        self, call: Callable[..., int], arguments: tuple[Any, ...], check: Callable[[float], None]
    ) -> tuple[int, float]:
        """What the call returns, and how long that took; `check` ends the waiting."""
        began = time.monotonic()
        while True:
            try:
                return call(*arguments), time.monotonic() - began
            except TimeoutError:
                if self._cancelled is None:
                    raise
                waited_s = time.monotonic() - began
                try:
                    _check(self._cancelled)
                    check(waited_s)
                except BaseException:
                    self._pace.over("it was waited for in vain")
                    raise
                self._pace.waits(waited_s)

    def _silence(self, waited_s: float) -> None:
        """Raise TimeoutError if that is too long without a byte."""
        if self._silence_s is not None and waited_s >= self._silence_s:
            raise TimeoutError("timed out")

    def _standstill(self, waited_s: float) -> None:
        """Raise `Stalled` if that is too long without a byte taken. For what it stores a server has
        more time, which begins when it has all of it."""
        if waited_s >= self._pace.limit_s:
            raise Stalled(f"nothing of what is sent was taken for {self._pace.limit_s:g} seconds")


class _Socket(_CancellableSocket):
    """One without TLS."""


class TlsSocket(_CancellableSocket, SSLSocket):
    """One with TLS, for `SSLContext.sslsocket_class`."""
