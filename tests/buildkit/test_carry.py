"""Bytes over sockets that are often full, and inside of a call: in order, to the end."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress

import pytest

from minibuild.buildkit.carry import carry, carry_inside
from minibuild.buildkit.dispatch import ServerCall
from minibuild.buildkit.http2 import Connection
from minibuild.buildkit.messages import ClientCall
from minibuild.buildkit.proto import messages
from minibuild.buildkit.rpc import Failure
from minibuild.buildkit.stream import Stream
from tests.support.waiting import PATIENCE_S

BYTES = messages("ops", "api")["BytesMessage"]
REQUEST = [(":path", "/s/m")]


def begin(function: Callable[..., None], *arguments: object) -> None:
    """Run it in a thread. The end of a test breaks off what goes on."""

    def run() -> None:
        with suppress(OSError, Failure):
            function(*arguments)

    threading.Thread(target=run, daemon=True).start()


def echo(stream: Stream) -> None:
    stream.begin([(":status", "200")])
    while data := stream.read():
        stream.write(data)
    stream.finish([("end", "1")])


def echoed(client: Connection, data: bytes) -> bytes:
    """What comes back of the data, which is sent in pieces of many sizes."""
    stream, found = client.open(REQUEST), []

    def send() -> None:
        at, size = 0, 1
        while at < len(data):
            stream.write(data[at : at + size])
            at, size = at + size, size * 3 % 70_001
        stream.finish()

    begin(send)
    while part := stream.read():
        found.append(part)
    return b"".join(found)


@contextmanager
def over_sockets(server: Connection) -> Iterator[Connection]:
    """The client of a server, with little room between them."""
    with ExitStack() as stack:
        client, ends = Connection(), socket.socketpair()
        for connection, end in zip((server, client), ends, strict=True):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            begin(carry, connection, stack.enter_context(end))
        with closing(client):
            yield client


@contextmanager
def inside() -> Iterator[tuple[Connection, Connection]]:
    """The client of a server whose bytes go through a call, and the connection of that call."""

    def accept(stream: Stream) -> None:
        call = ServerCall(stream, "BytesMessage")
        call.begin()
        begin(carry_inside, Connection(lambda found: begin(echo, found)), call)

    with over_sockets(Connection(accept)) as outer:
        inner = Connection()
        begin(carry_inside, inner, ClientCall(outer, "/a/b", (), "BytesMessage"))
        with closing(inner):
            yield inner, outer


@pytest.mark.parametrize("nested", [False, True])
def test_many_at_once(nested: bool) -> None:
    with ExitStack() as stack, ThreadPoolExecutor() as hands:
        if nested:
            client, _ = stack.enter_context(inside())
        else:
            server = Connection(lambda stream: begin(echo, stream))
            client = stack.enter_context(over_sockets(server))
        sent = [os.urandom(300_000) for _ in range(6)]
        assert list(hands.map(lambda data: echoed(client, data), sent, timeout=PATIENCE_S)) == sent


def test_what_is_inside_ends_with_the_call() -> None:
    with inside() as (inner, outer):
        stream = inner.open(REQUEST)
        stream.write(b"a")
        assert stream.read() == b"a"
        outer.close("gone")
        with pytest.raises(Failure):
            while stream.read():
                pass
