"""HTTP/2: two ends of ours talk to each other, and what a hostile end sends is refused."""

import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import hpack
import pytest

from minibuild.buildkit import frames
from minibuild.buildkit.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    MAX_FRAME,
    OUR_WINDOW,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH,
    RESET,
    SETTINGS,
    WINDOW,
    frame,
    number_frame,
)
from minibuild.buildkit.http2 import Connection
from minibuild.buildkit.rpc import Failure
from minibuild.buildkit.stream import Stream
from tests.support.waiting import PATIENCE_S, comes

REQUEST = [(":path", "/s/m"), ("key", "one"), ("key", "two")]


def carry(source: Connection, target: Connection, step: int) -> None:
    """Carry all bytes, in pieces of this size."""
    while data := source.outgoing():
        try:
            for at in range(0, len(data), step):
                target.receive(data[at : at + step])
        except Failure as failure:
            target.close(failure.message)
    target.close()


@contextmanager
def connected(accept: Callable[[Stream], None], step: int = 1 << 20) -> Iterator[Connection]:
    """The client's end of a connection. `accept` is called in a thread of its own."""

    def begin(stream: Stream) -> None:
        threading.Thread(target=accept, args=(stream,), daemon=True).start()

    client, server = Connection(), Connection(begin)
    threads = [
        threading.Thread(target=carry, args=(*ends, step), daemon=True)
        for ends in ((client, server), (server, client))
    ]
    for thread in threads:
        thread.start()
    yield client
    client.close()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def echo(stream: Stream) -> None:
    stream.begin([(":status", "200")])
    while data := stream.read():
        stream.write(data)
    stream.finish([("last", str(dict(stream.headers)["key"])), ("long", "x" * 40_000)])


def read_all(stream: Stream) -> bytes:
    return b"".join(iter(stream.read, b""))


@pytest.mark.parametrize("step", [1, 7, 1000, 1 << 20])
def test_calls_at_once(step: int) -> None:
    """More bytes than windows have room for, both ways; and headers longer than a frame."""
    size = 100 if step < 1000 else OUR_WINDOW + 12_345
    with connected(echo, step) as client:
        streams = [client.open(REQUEST) for _ in range(3)]

        def write(stream: Stream) -> None:
            for _ in range(0, size, 100_000):
                stream.write(bytes([stream.number]) * min(size, 100_000))
            stream.finish()

        writers = [threading.Thread(target=write, args=(stream,)) for stream in streams]
        for writer in writers:
            writer.start()
        for stream in streams:
            found = read_all(stream)
            assert set(found) == {stream.number} and len(found) >= size
            assert dict(stream.headers)["last"] == "two"
            assert len(dict(stream.headers)["long"]) == 40_000
            assert not stream.is_active
        for writer in writers:
            writer.join()


def test_a_slow_reader_makes_the_writer_wait() -> None:
    written = []

    def pour(stream: Stream) -> None:
        while stream.write(b"x" * 100_000):
            written.append(1)

    with connected(pour) as client:
        stream = client.open(REQUEST)
        assert comes(lambda: len(written) * 100_000 > OUR_WINDOW)
        count = -1
        while count != len(written):
            count = len(written)
            time.sleep(0.2)
        assert OUR_WINDOW < count * 100_000 < 3 * OUR_WINDOW
        assert stream.read()
        stream.cancel()
        with pytest.raises(Failure, match="cancelled"):
            stream.read()


def test_the_end_of_one_side_is_the_end_of_the_call() -> None:
    """Who waits hears of it: by a reset, and by the end of the connection."""
    broken: list[int] = []
    reading = threading.Semaphore(0)

    def wait(stream: Stream) -> None:
        assert stream.when_broken(lambda: broken.append(stream.number))
        reading.release()
        with pytest.raises(Failure):
            stream.read()
        assert not stream.write(b"x") and not stream.when_broken(print)
        reading.release()

    with connected(wait) as client:
        first, second = client.open(REQUEST), client.open(REQUEST)
        assert reading.acquire(timeout=PATIENCE_S) and reading.acquire(timeout=PATIENCE_S)
        first.cancel()
        assert reading.acquire(timeout=PATIENCE_S) and broken == [first.number]
        client.close()
        assert reading.acquire(timeout=PATIENCE_S) and broken == [first.number, second.number]
        with pytest.raises(Failure):
            client.open(REQUEST)


def test_a_server_that_shuts_takes_no_new_calls() -> None:
    begun: list[Stream] = []
    client, server = Connection(), Connection(begun.append)
    first = client.open(REQUEST)
    server.receive(client.outgoing())
    server.shut()
    client.receive(server.outgoing())
    second = client.open(REQUEST)
    server.receive(client.outgoing())
    assert len(begun) == 1 and first.is_active and second.is_active
    begun[0].finish([("status", "done")])
    client.receive(server.outgoing())
    assert first.read() == b"" and dict(first.headers) == {"status": "done"}


def block(*headers: tuple[str, str]) -> bytes:
    made: bytes = hpack.Encoder().encode(list(headers))
    return made


WHOLE = block((":path", "/s/m"))
OPENED = frame(HEADERS, END_HEADERS, 1, WHOLE)


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "does not begin so"),
        (PREFACE + b"\xff" * 9, "too long"),
        (PREFACE + frame(CONTINUATION, 0, 1), "wrong place"),
        (PREFACE + frame(HEADERS, 0, 1, WHOLE) + frame(PING, 0, 0, b"x" * 8), "wrong place"),
        (PREFACE + frame(HEADERS, 0, 1, WHOLE) + frame(DATA, 0, 1, b"x"), "wrong place"),
        (PREFACE + frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 3), "two streams"),
        (PREFACE + frame(HEADERS, PADDED, 1, b"\x09x"), "padding"),
        (PREFACE + frame(HEADERS, PADDED, 1), "padding"),
        (PREFACE + frame(HEADERS, END_HEADERS, 1, b"\xff" * 20), "HTTP/2"),
        (PREFACE + frame(HEADERS, 0, 1, b"x" * 9000) + frame(CONTINUATION, 0, 1, b"x" * 9000) * 9,
         "headers that are too long"),
        (PREFACE + frame(PUSH, END_HEADERS, 1, b"\0\0\0\2"), "pushed"),
        (PREFACE + OPENED + frame(DATA, 0, 1, b"x" * MAX_FRAME) * (OUR_WINDOW // MAX_FRAME + 1),
         "more than the window"),
        (PREFACE + frame(PING, 0, 0, b"x" * 8) * 70_000, "does not read the answers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_no_http2(sent: bytes, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_UNSENT", 1 << 20)
    server = Connection(lambda stream: None)
    with pytest.raises(Failure, match=message):
        server.receive(sent)


def test_what_is_rare_and_allowed() -> None:
    """Padding, priorities, headers in pieces, settings, and frames of a kind that is not known."""
    begun: list[Stream] = []
    server = Connection(begun.append)
    server.receive(
        PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HLHLHL", 1, 0, 4, 3, 5, MAX_FRAME))
    )
    head = b"\x03" + b"\0\0\0\0\x10" + WHOLE[:3] + b"\0\0\0"
    server.receive(frame(HEADERS, PADDED | PRIORITY, 1, head))
    server.receive(frame(CONTINUATION, END_HEADERS, 1, WHOLE[3:]) + frame(99, 0xFF, 1, b"?"))
    server.receive(frame(DATA, PADDED | END_STREAM, 1, b"\x02abc\0\0"))
    (stream,) = begun
    assert read_all(stream) == b"abc" and dict(stream.headers) == {":path": "/s/m"}
    server.outgoing()
    stream.write(b"12345678", wait=False)  # The window is 3.
    assert server.outgoing() == frame(DATA, 0, 1, b"123")
    server.receive(number_frame(WINDOW, 1, 2))
    assert server.outgoing() == frame(DATA, 0, 1, b"45")
    server.receive(frame(SETTINGS, 0, 0, struct.pack(">HL", 4, 5)))
    assert server.outgoing().endswith(frame(DATA, 0, 1, b"67"))
    server.receive(number_frame(RESET, 1, 8) + number_frame(RESET, 7, 8))
    assert not stream.is_active
    server.receive(frame(DATA, 0, 1, b"late") + frame(GOAWAY, 0, 0, b"\0" * 8))
    server.receive(OPENED)  # A number that was used opens nothing.
    assert len(begun) == 1
