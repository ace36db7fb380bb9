"""Servers that drip: a few bytes now and then, for ever. They are seen, and given up.

Silence has time-outs of its own: see test_standstill.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from minibuild.digest import Digest
from minibuild.errors import RegistryError
from minibuild.events import Completed, Event, Planned, Remark
from minibuild.graph.reference import parse_reference
from minibuild.oci.content import ContentStore
from minibuild.oci.model import Descriptor
from minibuild.registry.fetch import fetch_blob
from minibuild.registry.patience import LEAST_BYTES_S, Pace, Stalled, patient
from minibuild.registry.pull import Registry
from minibuild.registry.push import Repository
from minibuild.session.request import RegistryAccess
from minibuild.source.web import body, get
from minibuild.store.layout import Store
from tests.support.faulty import LAYER, MANIFEST, digest

BLOB = bytes(range(256)) * 16384
LAYERED = Descriptor(LAYER, Digest(digest(BLOB)), len(BLOB))
STALL_S = 1.0
DRIPS = 200  # ten seconds of them: a client that waits for all is seen, and not waited for


@contextmanager
def dripping(where: str, fast: int = 0, asked: list[str] | None = None) -> Iterator[str]:
    """A server that sends `fast` bytes of an answer whose path has `where` in it, and then one at a
    time; less than none are headers that drip. Its address; `asked` is what it is asked."""
    over, paths = threading.Event(), [] if asked is None else asked

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            paths.append(self.path)
            if where in self.path:
                with suppress(OSError):
                    self.drip(b"HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\n\r\n" + BLOB)
                self.close_connection = True
                return
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def drip(self, data: bytes) -> None:
            head = 0 if fast < 0 else data.index(b"\r\n\r\n") + 4 + fast
            self.wfile.write(data[:head])
            for _ in range(DRIPS):
                if not over.wait(0.05):
                    self.wfile.write(data[head : head + 1])
                    head += 1

        def do_PATCH(self) -> None:
            self.rfile.read(1000)
            for _ in range(DRIPS):
                if not over.wait(0.05):
                    self.rfile.read(1)
            self.close_connection = True

        def do_POST(self) -> None:
            self.send_response(202)
            self.send_header("Location", "/v2/app/blobs/uploads/1")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_HEAD(self) -> None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        over.set()
        server.shutdown()
        server.server_close()


def registry(events: list[Event] | None = None) -> Registry:
    heard = [] if events is None else events
    return Registry(patience=patient(threading.Event(), STALL_S, heard.append))


def web(address: str) -> None:
    access = RegistryAccess(stall_s=STALL_S)
    response = get(f"http://{address}/file", {}, access, threading.Event())
    for _ in body(response, "x"):
        pass


@pytest.fixture
def content(store: Store) -> ContentStore:
    return ContentStore(store)


Way = Callable[[str, ContentStore], object]
WAYS: dict[str, tuple[str, int, Way]] = {
    "headers": ("manifests", -1, lambda a, c: registry().find(parse_reference(f"{a}/app:1"))),
    "manifest": ("manifests", 0, lambda a, c: registry().find(parse_reference(f"{a}/app:1"))),
    "document": ("manifests", 9, lambda a, c: registry().blobs(parse_reference(f"{a}/app")).open(
        Descriptor(MANIFEST, LAYERED.digest, 50_000))),
    "blob": ("blobs", 3000, lambda a, c: fetch_blob(
        c, registry().blobs(parse_reference(f"{a}/app")), LAYERED)),
    "file": ("file", 5000, lambda a, c: web(a)),
}  # fmt: skip


@pytest.mark.parametrize("name", WAYS)
def test_a_server_that_drips_is_given_up(name: str, content: ContentStore) -> None:
    """Soon, without another attempt, and with the way to be more patient."""
    where, fast, use = WAYS[name]
    asked: list[str] = []
    with (
        dripping(where, fast, asked) as address,
        pytest.raises(RegistryError, match="stalls") as caught,
    ):
        use(address, content)
    assert len([path for path in asked if where in path]) == 1
    assert "less than 1000 bytes a second came for 1 seconds" in caught.value.message
    assert "--stall-timeout" in caught.value.hint


def test_a_transfer_that_went_well_so_far_is_tried_again(content: ContentStore) -> None:
    """Here again from the start, for this server knows no ranges; then it is given up."""
    asked: list[str] = []
    with dripping("blobs", 3_000_000, asked) as address:
        source = registry().blobs(parse_reference(f"{address}/app"))
        with pytest.raises(RegistryError, match="stalls"):
            fetch_blob(content, source, LAYERED)
    assert [path for path in asked if "blobs" in path][1:]


def test_a_server_that_takes_what_is_sent_byte_by_byte(content: ContentStore) -> None:
    """To the sender it seems to take nothing: windows of TCP do not open for a byte."""
    descriptor = Descriptor(LAYER, content.put(bytes(40 << 20)), 40 << 20)
    with dripping("nowhere") as address:
        repository = Repository(registry(), parse_reference(f"{address}/app"))
        with pytest.raises(RegistryError, match="stalls"):
            repository.push_blob(descriptor, content)


# --- The pace itself ------------------------------------------------------------------------------


def pace() -> tuple[Pace, list[Event]]:
    events: list[Event] = []
    return Pace("h:5", 30.0, events.append), events


def test_what_is_slow_for_long_is_given_up() -> None:
    slow, events = pace()
    slow.asked(500, 0.0)
    slow.answered(1, 200.0)  # what a server thinks is not counted
    for _ in range(29):
        slow.answered(1, 1.0)
    with pytest.raises(Stalled):
        for _ in range(3):
            slow.answered(1, 1.0)
    assert not events


@pytest.mark.parametrize(("count", "waited_s"), [(1001, 1.0), (5000, 4.9), (60_000, 29.0)])
def test_what_is_fast_enough_goes_on_for_ever(count: int, waited_s: float) -> None:
    """Also in bursts, and with pauses."""
    steady, events = pace()
    for _ in range(1000):
        steady.answered(count, waited_s)
    assert LEAST_BYTES_S == 1000
    assert not events


def test_a_pause_is_told_once_and_its_end() -> None:
    slow, events = pace()
    slow.answered(9000, 0.0)
    for tenth in range(100):
        slow.waits(tenth / 10)
    slow.answered(900, 9.9)
    slow.waits(0.1)
    slow.answered(8000, 1.0)
    kinds = [type(event) for event in events]
    assert kinds[0] is Planned
    assert kinds.count(Remark) == kinds.count(Completed) == 1
    assert kinds[-1] is Completed
    remark = next(event for event in events if isinstance(event, Remark))
    assert remark.text.startswith("nothing comes from h:5, or next to nothing")
    assert "given up after 30 seconds" in remark.text
