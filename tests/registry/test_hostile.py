"""Registries that lie: documents that never end or lead round and round, answers in odd dress,
challenges from places that have no say. What is refused is one sentence and an exit code."""

import gzip
import http.server
import json
import os
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from minibuild.digest import Digest
from minibuild.errors import BuildError, ImageError, RegistryError
from minibuild.graph.reference import parse_reference
from minibuild.oci.content import ContentStore
from minibuild.oci.model import OCI_INDEX, Descriptor
from minibuild.registry.fetch import BlobFetch, fetch_blob, fetch_image
from minibuild.registry.patience import Patience
from minibuild.registry.pull import Registry
from minibuild.registry.push import Repository
from minibuild.session.request import RegistryAccess
from minibuild.source.web import get
from minibuild.store.layout import Store
from tests.support.faulty import LAYER, MANIFEST, Fault, Faulty, digest
from tests.support.waiting import PATIENCE_S

BLOB = os.urandom(100_000)
Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def answering(answer: Callable[[str], Answer], version: str = "HTTP/1.1") -> Iterator[str]:
    """A server whose answer to a path is what a function says; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = version

        def do_GET(self) -> None:
            status, headers, body = (200, {}, b"{}") if self.path == "/v2/" else answer(self.path)
            self.send_response(status)
            if version == "HTTP/1.1":
                self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def client(*logins: str) -> Registry:
    patience = Patience(3, 0.0, 1.0, 30.0, 30.0, lambda seconds: None)
    return Registry(RegistryAccess(logins=logins), patience)


def found(address: str) -> Digest:
    return client().find(parse_reference(f"{address}/app:1"))[0].digest


@pytest.fixture
def server() -> Iterator[Faulty]:
    with Faulty() as running:
        yield running


@pytest.fixture
def content(store: Store) -> ContentStore:
    return ContentStore(store)


ODD = [
    ((200, {}, b" " * (5 << 20)), "more than 4194304 bytes"),
    ((307, {"Location": "file:///etc/passwd"}, b""), "an invalid address"),
    ((307, {"Location": "http://[::bad"}, b""), "an invalid address"),
    ((307, {}, b""), r"\(307\)"),
    ((401, {"WWW-Authenticate": 'Bearer realm="ftp://x/"'}, b""), "no address to log in at"),
    ((401, {"WWW-Authenticate": 'Bearer realm="/token"'}, b""), "no address to log in at"),
    ((401, {"WWW-Authenticate": "Negotiate"}, b""), "denies access"),
    ((429, {"Retry-After": "Mon, 01 Jan 0001 00:00:00 GMT"}, b""), "takes no more requests"),
    ((200, {"Content-Encoding": "gzip"}, b"no gzip"), "not gzip"),
    ((200, {"Transfer-Encoding": "chunked"}, b"-5\r\nxx"), "broke off its answer"),
    ((200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(100 << 20))), "more than 4194304"),
]


@pytest.mark.parametrize(("answer", "says"), ODD, ids=lambda value: str(value)[:40])
def test_odd_answers(answer: Answer, says: str) -> None:
    with answering(lambda path: answer) as address, pytest.raises(RegistryError, match=says):
        found(address)


def test_no_http_at_all() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"220 mail.example.com ESMTP\r\n")

        threading.Thread(target=serve, daemon=True).start()
        name = parse_reference(f"127.0.0.1:{server.getsockname()[1]}/app:1")
        with pytest.raises(RegistryError, match="does not speak HTTP"):
            client().find(name)


def test_a_compressed_document_is_read() -> None:
    """Something on the way compresses what it may not."""
    data = json.dumps({"schemaVersion": 2}).encode()
    with answering(
        lambda path: (200, {"Content-Encoding": "gzip"}, gzip.compress(data))
    ) as address:
        assert found(address) == digest(data)


def test_an_old_server(content: ContentStore) -> None:
    """HTTP/1.0: a connection for each request, and no lengths."""
    descriptor = Descriptor(LAYER, Digest(digest(BLOB)), len(BLOB))
    with answering(lambda path: (200, {}, BLOB), "HTTP/1.0") as address:
        fetch_blob(content, client().blobs(parse_reference(f"{address}/app")), descriptor)
    assert content.read(descriptor.digest) == BLOB


def test_indexes_that_multiply(server: Faulty, content: ContentStore) -> None:
    """A thousand times the same index in another, four levels deep, would be 10 to the 12th."""
    server.image("app", BLOB)
    data, kind = server.manifests["latest"], MANIFEST
    for _ in range(4):
        entry = {"mediaType": kind, "digest": digest(data), "size": len(data)}
        data = json.dumps(
            {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry] * 1000}
        ).encode()
        server.manifests[digest(data)], kind = data, OCI_INDEX
    top = Descriptor(OCI_INDEX, Digest(digest(data)), len(data))
    began = time.monotonic()
    fetch_image(content, client().blobs(parse_reference(f"{server.address}/app")), top)
    assert time.monotonic() - began < PATIENCE_S
    assert content.has(Digest(digest(BLOB)))


def test_an_index_that_is_too_deep(server: Faulty, content: ContentStore) -> None:
    data, kind = b"{}", MANIFEST
    for _ in range(7):
        entry = {"mediaType": kind, "digest": digest(data), "size": len(data)}
        data = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
        server.manifests[digest(data)], kind = data, OCI_INDEX
    top = Descriptor(OCI_INDEX, Digest(digest(data)), len(data))
    with pytest.raises(ImageError, match="lead to each other"):
        fetch_image(content, client().blobs(parse_reference(f"{server.address}/app")), top)


def test_who_was_redirected_to_gets_no_login(server: Faulty, tmp_path: Path) -> None:
    """Another host that answers with a challenge may name a place for logins, and is not heard."""
    auth = {"auth": b64encode(b"ada:b").decode()}
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auths": {server.address: auth}}))
    with Faulty() as thief, Faulty() as elsewhere:
        challenge = (("WWW-Authenticate", f'Bearer realm="http://{thief.address}/token"'),)
        elsewhere.faults += [Fault("", 401, challenge)] * 9
        there = (("Location", f"http://{elsewhere.address}/v2/app/manifests/1"),)
        server.faults += [Fault("manifests", 307, there)] * 9
        with pytest.raises(RegistryError, match="denies access"):
            client(str(path)).find(parse_reference(f"{server.address}/app:1"))
        assert thief.asked == []
        assert set(elsewhere.logins) == {""}


# Places to log in at that seem to be this machine; {} is the address of one that is.
MISLEADING = [
    ("http://127.0.0.1.evil.example/token", "anybody could read"),
    ("http://127.0.0.1.evil.example:80/token", "anybody could read"),
    ("http://localhost.evil.example/token", "anybody could read"),
    ("http://evil.example\\\\@{}/token", "anybody could read"),  # as written in a header
    ("http://127.0.0.1:80@evil.example/token", "a user in it"),
    ("http://127.0.0.1:80@{}/token", "a user in it"),
    ("https://ada:b@{}/token", "a user in it"),
]


@pytest.mark.parametrize(("realm", "says"), MISLEADING)
def test_no_login_is_sent_where_a_name_misleads(
    realm: str, says: str, server: Faulty, tmp_path: Path
) -> None:
    """Over plain http a login goes to this machine alone."""
    auth = {"auth": b64encode(b"ada:b").decode()}
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auths": {server.address: auth}}))
    with Faulty() as other:
        challenge = (("WWW-Authenticate", f'Bearer realm="{realm.format(other.address)}"'),)
        server.faults += [Fault("manifests", 401, challenge)] * 9
        with pytest.raises(RegistryError, match=says):
            client(str(path)).find(parse_reference(f"{server.address}/app:1"))
        assert other.asked == []
        assert set(server.logins) == {""}


@pytest.mark.parametrize("user", ["ada:b@", "127.0.0.1:80@", "@x@"])
@pytest.mark.parametrize("what", ["manifest", "blob", "upload", "file"])
def test_a_redirect_with_a_user_is_refused(
    what: str, user: str, server: Faulty, content: ContentStore
) -> None:
    descriptor = Descriptor(LAYER, content.put(BLOB), len(BLOB))
    name = parse_reference(f"{server.address}/app:1")
    with Faulty() as other:
        there = (("Location", f"http://{user}{other.address}/x"),)
        server.faults += [Fault("GET", 307, there), Fault("POST", 202, there)] * 9
        ways: dict[str, Callable[[], object]] = {
            "manifest": lambda: client().find(name),
            "blob": lambda: client().blobs(name).open(descriptor),
            "upload": lambda: Repository(client(), name).push_blob(descriptor, content),
            "file": lambda: get(
                f"http://{server.address}/f", {}, RegistryAccess(), threading.Event()
            ),
        }
        with pytest.raises(RegistryError, match="an invalid address: it has a user in it"):
            ways[what]()
        assert other.asked == []


def test_the_body_of_a_redirect_is_not_waited_for() -> None:
    """It may be without an end, or never come."""
    with answering(lambda path: (200, {}, b"{}")) as address:
        location = {"Location": f"http://{address}/v2/app/manifests/1"}
        with answering(lambda path: (307, location, bytes(200 << 20))) as first:
            began = time.monotonic()
            found(first)
            assert time.monotonic() - began < PATIENCE_S


def test_a_place_for_uploads_that_is_none(server: Faulty, content: ContentStore) -> None:
    server.faults.append(Fault("POST", 202, (("Location", "http://[::bad"),)))
    descriptor = Descriptor(LAYER, content.put(BLOB), len(BLOB))
    with pytest.raises(RegistryError, match="an invalid address"):
        Repository(client(), parse_reference(f"{server.address}/app")).push_blob(
            descriptor, content
        )


def test_what_nothing_came_of_leaves_nothing(server: Faulty, content: ContentStore) -> None:
    """Nor does whoever reads along miss that there was an error."""
    descriptor = Descriptor(LAYER, Digest(server.put(BLOB)), len(BLOB))
    server.faults += [Fault("blobs", 404)]
    source = client().blobs(parse_reference(f"{server.address}/app"))
    fetch = BlobFetch(content, source, descriptor)
    errors: list[BaseException] = []

    def follow() -> None:
        try:
            with fetch.open(descriptor) as file:
                file.read()
        except BuildError as error:
            errors.append(error)

    reader = threading.Thread(target=follow)
    reader.start()
    fetch.run()
    reader.join(PATIENCE_S)
    assert isinstance(fetch.error, RegistryError)
    assert errors == [fetch.error]
    assert os.listdir(content.store.path("partial")) == []
