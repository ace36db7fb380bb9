"""Frames of HTTP/2: their numbers, limits, and bytes.

Rules: RFC 9113, sections 4 and 6. Read next: `http2`.
"""

import struct
from collections.abc import Sequence

from minibuild.buildkit.rpc import UNAVAILABLE, Failure

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says first."""
HEAD = struct.Struct(">HBBBL")
"""Of a frame: 24 bits of length, type, flags, stream."""

DATA, HEADERS, RESET, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = (
    0, 1, 3, 4, 5, 6, 7, 8, 9,
)  # fmt: skip
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITY = 0x4, 0x8, 0x20
SET_TABLE, SET_PUSH, SET_STREAMS, SET_WINDOW, SET_FRAME = 1, 2, 3, 4, 5
NO_ERROR, REFUSED, CANCEL = 0, 7, 8
TABLE = 4096
FIRST_WINDOW = (1 << 16) - 1
MAX_WINDOW = (1 << 31) - 1
MAX_FRAME = 1 << 14
OUR_WINDOW = 4 << 20
"""What a stream of ours takes before it is read."""
MAX_HEADERS = 64 << 10
MAX_STREAMS = 1000
MAX_WAITING = 512 << 10
"""So many bytes wait to be sent before a writer has to wait, too."""
MAX_UNSENT = 64 << 20
Headers = Sequence[tuple[str, str]]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame as bytes."""
    size = len(payload)
    return HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def number_frame(kind: int, stream: int, value: int) -> bytes:
    """A frame of one number: a window, or the reason of a reset."""
    return frame(kind, 0, stream, value.to_bytes(4, "big"))


def unpadded(payload: bytes) -> bytes:
    """The payload of a frame without its padding, whose length is its first byte."""
    if not payload or payload[0] >= len(payload):
        raise invalid("padding without end")
    return payload[1 : len(payload) - payload[0]]


def invalid(what: str) -> Failure:
    """What the other side did is not allowed."""
    return Failure(f"the other side does not speak HTTP/2: {what}", UNAVAILABLE)
