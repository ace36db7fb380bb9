"""A question to a registry on this machine, and answers that are left to the HTTP library."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest

from minibuild.registry.head import head_on_loopback, parse_answer
from minibuild.registry.hosts import Endpoint

OK = b"HTTP/1.1 200 OK\r\nDocker-Content-Digest: sha256:00\r\nContent-Type: a/b\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (OK, {"docker-content-digest": "sha256:00", "content-type": "a/b"}),
        (b"HTTP/1.0 200 \r\nA:  b \r\n\r\nrest", {"a": "b"}),
        (b"HTTP/1.1 200 OK\r\n\r\n", {}),
        (OK[:-1], None),
        (b"", None),
        (OK.replace(b"200", b"401"), None),
        (OK.replace(b"200", b"2000"), None),
        (OK.replace(b"HTTP/1.1", b"HTTP/2"), None),
        (OK.replace(b"Content-Type", b"Docker-Content-Digest"), None),
        (OK.replace(b"Content-Type: a/b", b" folded"), None),
        (OK.replace(b"Content-Type: a/b", b"no colon"), None),
        (b"\x15\x03\x01\x00\x02\x02\x46", None),
    ],
)
def test_what_is_read(data: bytes, headers: Mapping[str, str] | None) -> None:
    assert parse_answer(data) == headers


def test_other_bytes_are_no_answer() -> None:
    with pytest.raises(ValueError, match="ascii"):
        parse_answer(OK.replace(b"a/b", b"\xff"))


@contextmanager
def server(answer: Callable[[socket.socket], object]) -> Iterator[tuple[str, list[bytes]]]:
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(4096))
                answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", asked
        thread.join(60)


def endpoint(host: str, *schemes: str) -> Endpoint:
    return Endpoint(host, "team/app", host, schemes or ("http", "https"))


def in_pieces(connection: socket.socket) -> None:
    for byte in OK:
        connection.send(bytes([byte]))


@pytest.mark.parametrize(
    ("answer", "known"),
    [
        (lambda c: c.sendall(OK), True),
        (in_pieces, True),
        (lambda c: c.sendall(OK + b"x" * 100_000), True),
        (lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nA: " + b"x" * 100_000), False),
        (lambda c: c.sendall(b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n"), False),
        (lambda c: None, False),
        (lambda c: threading.Event().wait(0.5), False),
    ],
)
def test_a_server(answer: Callable[[socket.socket], object], known: bool) -> None:
    with server(answer) as (host, asked):
        found = head_on_loopback(endpoint(host), "manifests/1", "a/b")
        assert (found is not None) is known
    (request,) = asked
    assert request.startswith(b"HEAD /v2/team/app/manifests/1 HTTP/1.1\r\n")
    assert f"\r\nHost: {host}\r\n".encode() in request


@pytest.mark.parametrize(
    ("host", "schemes"),
    [
        ("127.0.0.1:1", ()),
        ("127.0.0.1:1", ("https",)),
        ("127.0.0.1:1", ("https", "http")),
        ("registry.invalid", ("http",)),
        ("127.0.0.1.registry.invalid", ("http",)),
        ("127.0.0.1:99999", ("http",)),
    ],
)
def test_who_is_not_asked(host: str, schemes: tuple[str, ...]) -> None:
    assert head_on_loopback(endpoint(host, *schemes), "manifests/1", "a/b") is None
