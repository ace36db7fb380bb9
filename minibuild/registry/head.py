"""One question to a registry on this very machine, without an HTTP library.

Comes in: an endpoint, and the path of a manifest. Goes out: the headers of the answer to HEAD, or
None. A build that finds everything done asks a registry this much and no more: whether the name
still has the digest that it had. Over the loopback interface that takes a millisecond, and loading
an HTTP library takes thirty. So this speaks just enough of RFC 9112 to see a plain 200. Whatever
else happens (no answer within a tenth of a second, a login that is wanted, a redirect, a server
that speaks TLS) is None, and then `client` asks again. Read next: `pull`.
"""

import _socket
from collections.abc import Mapping

from minibuild.registry.hosts import Endpoint, is_loopback

_WAIT_S = 0.1
_MAX_BYTES = 16 << 10
_END = b"\r\n\r\n"


def head_on_loopback(endpoint: Endpoint, path: str, accept: str) -> Mapping[str, str] | None:
    """The headers, by names in small letters, if the answer is a plain 200."""
    if endpoint.schemes[0] != "http" or not is_loopback(endpoint.host):
        return None
    request = (
        f"HEAD /v2/{endpoint.repository}/{path} HTTP/1.1\r\nHost: {endpoint.host}\r\n"
        f"User-Agent: minibuild\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    )
    try:
        return parse_answer(_answer(endpoint.host, request.encode("ascii")))
    except (OSError, ValueError):
        return None


def _answer(host: str, request: bytes) -> bytes:
    name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    wanted = (name or host).strip("[]").encode("ascii"), int(port or 80)
    found = _socket.getaddrinfo(*wanted, 0, _socket.SOCK_STREAM)
    family, kind, protocol, _, address = found[0]
    connection = _socket.socket(family, kind | _socket.SOCK_CLOEXEC, protocol)
    try:
        connection.settimeout(_WAIT_S)
        connection.connect(address)
        connection.sendall(request)
        data = b""
        while _END not in data and len(data) < _MAX_BYTES and (part := connection.recv(4096)):
            data += part
        return data
    finally:
        connection.close()


def parse_answer(data: bytes) -> Mapping[str, str] | None:
    """The headers of an answer, or None if it is no plain 200, or not all there."""
    head, end, _ = data.partition(_END)
    status, *lines = head.decode("ascii").split("\r\n")
    version, _, rest = status.partition(" ")
    if not end or version not in ("HTTP/1.0", "HTTP/1.1") or rest.split(" ")[0] != "200":
        return None
    fields = [line.partition(":") for line in lines]
    if any(not name or name != name.strip() or not colon for name, colon, _ in fields):
        return None
    headers = {name.lower(): value.strip() for name, _, value in fields}
    return headers if len(headers) == len(fields) else None
