"""A server that stands still, at whatever point: a build that is cancelled does not wait for it."""

import io
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from urllib3.exceptions import ReadTimeoutError

from minibuild.errors import Cancelled
from minibuild.registry.hosts import Tls
from minibuild.registry.patience import patient
from minibuild.registry.transport import Transport
from minibuild.registry.unreachable import Unreachable
from tests.registry.conftest import Authority
from tests.support.waiting import PATIENCE_S

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
POINTS = ["accept", "handshake", "answer", "headers", "body", "upload"]


@contextmanager
def standing_still(
    point: str, context: ssl.SSLContext | None
) -> Iterator[tuple[int, threading.Event]]:
    """A server that goes on as far as `point`; its port, and an event that it is there."""
    listener, there, over = (
        socket.create_server(("127.0.0.1", 0)),
        threading.Event(),
        threading.Event(),
    )

    def serve() -> None:
        client, _ = listener.accept()
        with suppress(OSError), client:
            if context is not None and point != "handshake":
                client = context.wrap_socket(client, server_side=True)
            if point not in ("handshake", "upload"):
                client.recv(10)
            client.sendall({"headers": HEAD[:20], "body": HEAD + b"x" * 1000}.get(point, b""))
            there.set()
            over.wait(PATIENCE_S)

    if point != "accept":
        threading.Thread(target=serve, daemon=True).start()
    else:
        there.set()
    try:
        yield listener.getsockname()[1], there
    finally:
        over.set()
        listener.close()


def do_request(transport: Transport, url: str, tls: Tls, point: str) -> None:
    body = (lambda: io.BytesIO(bytes(64 << 20))) if point == "upload" else None
    response = transport.request("PUT" if body else "GET", url, tls, {}, body)
    while response.read(1000):
        pass


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("point", POINTS)
def test_cancelling(point: str, scheme: str, authority: Authority) -> None:
    context, tls = None, Tls((authority.ca,))
    if scheme == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority.server, authority.server.removesuffix("crt") + "key")
    cancelled = threading.Event()
    with standing_still(point, context) as (port, there):

        def cancel() -> None:
            assert there.wait(PATIENCE_S)
            time.sleep(0.2)
            cancelled.set()

        threading.Thread(target=cancel, daemon=True).start()
        transport = Transport(patient(cancelled)._replace(read_s=10 * PATIENCE_S))
        began = time.monotonic()
        with pytest.raises(Cancelled):
            do_request(transport, f"{scheme}://127.0.0.1:{port}/", tls, point)
    assert time.monotonic() - began < PATIENCE_S


@pytest.mark.parametrize("set_first", [True, False])
def test_cancelling_while_a_name_server_is_silent(
    monkeypatch: pytest.MonkeyPatch, set_first: bool
) -> None:
    cancelled, asked = threading.Event(), threading.Event()

    def silent(*arguments: object, **more: object) -> None:
        asked.set()
        time.sleep(10 * PATIENCE_S)

    monkeypatch.setattr(socket, "getaddrinfo", silent)

    def cancel() -> None:
        assert asked.wait(PATIENCE_S)
        cancelled.set()

    if set_first:
        cancelled.set()
    else:
        threading.Thread(target=cancel, daemon=True).start()
    with pytest.raises(Cancelled):
        Transport(patient(cancelled)).request("GET", "http://registry.example/", Tls(), {})


@pytest.mark.parametrize("point", ["answer", "body"])
def test_the_time_out_is_the_one_that_was_set(point: str) -> None:
    """Though the socket wakes up ten times a second."""
    with standing_still(point, None) as (port, _):
        transport = Transport(patient(threading.Event())._replace(read_s=0.5, attempts=1))
        began = time.monotonic()
        with pytest.raises((Unreachable, ReadTimeoutError), match=r"0\.5 seconds|timed out"):
            do_request(transport, f"http://127.0.0.1:{port}/", Tls(), point)
    assert time.monotonic() - began >= 0.5
