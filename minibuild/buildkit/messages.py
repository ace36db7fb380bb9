"""Messages of gRPC on a stream of HTTP/2: how they are framed, and how a call begins and ends.

Comes in: a stream. Goes out: messages both ways, and the status that the server of a call gives.
Rules: grpc/grpc `doc/PROTOCOL-HTTP2.md`.
Read next: `serve.server`, for the server's side; `serve.session`, for the client's.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from minibuild.buildkit.frames import Headers
from minibuild.buildkit.http2 import Connection
from minibuild.buildkit.rpc import ALREADY_EXISTS, UNKNOWN, CallMetadata, Failure, api_type
from minibuild.buildkit.stream import Stream
from minibuild.graph.literals import parse_uint

_HEAD_BYTES = 5
"""Before each message: whether it is compressed, and its length."""
_MAX_MESSAGE = 64 << 20
_PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
ANSWER: Headers = ((":status", "200"), ("content-type", "application/grpc"))


class Messages:
    """The messages of a call: those that come are of the kind `kind`, see `api_type`."""

    def __init__(self, stream: Stream, kind: str) -> None:
        self.stream = stream
        self._parse = api_type(kind).FromString

    def send(self, *messages: Any, wait: bool = True) -> bool:
        """Send messages, or their bytes. Returns whether the other side still listens. With `wait`
        this takes as long as many of them are on their way."""
        return self.stream.write(b"".join(map(_framed, messages)), wait=wait)

    def __iter__(self) -> Iterator[Any]:
        """What the other side sends, to its end. Raises `Failure` if it ends with an error."""
        for batch in self.batches():
            yield from map(self._parse, batch)

    def batches(self) -> Iterator[list[bytes]]:
        """The same as serialised messages, all that have come each time."""
        return whole(self.data())

    def data(self) -> Iterator[bytes]:
        """The same as the bytes that have come each time, each message behind its length."""
        while data := self.stream.read():
            yield data
        self.check_end()

    def check_end(self) -> None:
        """Raise `Failure` if the end is an error."""


class ClientCall(Messages):
    """A call to a service of the other side."""

    def __init__(
        self, connection: Connection, path: str, metadata: CallMetadata, kind: str
    ) -> None:
        """Begin it. Raises `Failure` if the connection has ended."""
        headers = [(":method", "POST"), (":scheme", "http"), (":path", path)]
        headers += [(":authority", "localhost"), ("te", "trailers"), ANSWER[1]]
        headers += [(key.lower(), value) for key, value in metadata]
        super().__init__(connection.open(headers), kind)

    def finish(self) -> None:
        """Say that nothing more is sent."""
        self.stream.finish()

    def delivered(self) -> None:
        """Wait for the end of a call that sends something. If the other side has it already, that
        is well, too. Raises `Failure`."""
        self.finish()
        try:
            for _ in self:
                pass
        except Failure as failure:
            if failure.code != ALREADY_EXISTS:
                raise

    def cancel(self) -> None:
        """End it, if it has not ended."""
        self.stream.cancel()

    def check_end(self) -> None:
        from urllib.parse import unquote

        headers = dict(self.stream.headers)
        status = headers.get("grpc-status", "")
        if code := parse_uint(status):
            code = UNKNOWN if code < 0 else code
            message = unquote(headers.get("grpc-message", ""))
            details = _details(headers.get("grpc-status-details-bin", ""))
            raise Failure(message or "the other side did not answer", code, details)


def _details(encoded: str) -> Sequence[tuple[str, bytes]]:
    """The details of a failed call, by the names of their types."""
    from base64 import b64decode

    from google.protobuf.message import DecodeError

    try:
        data = b64decode(encoded + "=" * (-len(encoded) % 4))
        found = api_type("RpcStatus").FromString(data).details
    except (ValueError, DecodeError):
        return ()
    return [(one.type_url.rpartition("/")[2], one.value) for one in found]


def status_headers(failure: Failure | None) -> Headers:
    """How a server ends a call."""
    if failure is None:
        return (("grpc-status", "0"),)
    from base64 import b64encode
    from urllib.parse import quote

    details = b64encode(failure.status().SerializeToString()).decode()
    return (
        ("grpc-status", str(failure.code)),
        ("grpc-message", quote(failure.message, safe=_PLAIN)),
        ("grpc-status-details-bin", details),
    )


def whole(parts: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The messages in bytes that come in parts, all that are whole each time. Raises `Failure` for
    what is not allowed."""
    rest = b""
    for data in parts:
        found, rest = split(rest + data if rest else data)
        if found:
            yield found


def split(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole messages at the beginning, and the rest. Raises `Failure` for what is not
    allowed."""
    position, end, found = 0, len(data), []
    while end - position >= _HEAD_BYTES:
        start = position + _HEAD_BYTES
        after = start + int.from_bytes(data[position + 1 : start], "big")
        if data[position] or after - start > _MAX_MESSAGE:
            raise Failure("a message is compressed or too long", UNKNOWN)
        if after > end:
            break
        found.append(data[start:after])
        position = after
    return found, data[position:]


def framed(data: bytes) -> bytes:
    """A serialised message behind its length."""
    return b"\0" + len(data).to_bytes(4, "big") + data


def _framed(message: Any) -> bytes:
    return framed(message if isinstance(message, bytes) else message.SerializeToString())
