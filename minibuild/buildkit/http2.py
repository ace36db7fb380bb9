"""HTTP/2 on bytes that something else carries, as far as calls of gRPC need it.

Comes in: bytes of the other side, which is the server. Goes out: bytes for it, and streams, one for
each call. The gRPC library for Python can only dial addresses, and spends 0.1 ms on each message; a
folder comes in hundreds of thousands of them. Here a thread reads frames, and hands on to each
stream all that came for it at once. What a stream has not read yet is bounded by its window, so a
side that sends fast, or ignores the window, does not fill our memory.
Rules: RFC 9113; the headers are compressed as RFC 7541 says, by the package hpack.
Read next: `serve.session`, which makes calls of it.
"""

import struct
import threading

from minibuild.buildkit.rpc import Failure, Metadata

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD = struct.Struct(">HBBBL")
"""Of a frame: 24 bits of length, type, flags, stream."""
_DATA, _HEADERS, _RESET, _SETTINGS, _PUSH, _PING, _GOAWAY, _WINDOW, _CONTINUATION = (
    0, 1, 3, 4, 5, 6, 7, 8, 9,
)  # fmt: skip
_END_STREAM = _ACK = 0x1
_END_HEADERS, _PADDED, _PRIORITY = 0x4, 0x8, 0x20
_SET_TABLE, _SET_PUSH, _SET_WINDOW, _SET_FRAME = 1, 2, 4, 5
_TABLE = 4096
_CANCEL = 8
_FIRST_WINDOW = (1 << 16) - 1
_MAX_WINDOW = (1 << 31) - 1
_MAX_FRAME = 1 << 14
_OUR_WINDOW = 4 << 20
_MAX_HEADERS = 64 << 10
_MAX_WAITING = 512 << 10
"""So many bytes wait to be sent before a stream makes its writer wait, too."""
_MAX_UNSENT = 64 << 20
UNAVAILABLE = 14


class Connection:
    """One connection, of which this side is the client. All calls may come from any thread, but
    `receive` from one."""

    def __init__(self) -> None:
        import hpack

        self._changed = threading.Condition()
        self._error: Failure | None = None
        self._streams: dict[int, Stream] = {}
        self._next = 1
        self._rest = b""
        self._received = 0
        self._block: tuple[int, int, bytes] | None = None
        self._encoder, self._decoder = hpack.Encoder(), hpack.Decoder()
        self._window = self._peer_window = _FIRST_WINDOW
        self._peer_frame = _MAX_FRAME
        settings = struct.pack(">HLHL", _SET_PUSH, 0, _SET_WINDOW, _OUR_WINDOW)
        opened = struct.pack(">L", _MAX_WINDOW - _FIRST_WINDOW)
        self._out = [_PREFACE, _frame(_SETTINGS, 0, 0, settings), _frame(_WINDOW, 0, 0, opened)]
        self._out_size = 0

    # --- bytes ---

    def outgoing(self) -> bytes:
        """Wait for bytes that are to be sent. None are left if it is empty."""
        with self._changed:
            while not self._out and self._error is None:
                self._changed.wait()
            data = b"".join(self._out)
            self._out.clear()
            self._out_size = 0
            self._changed.notify_all()
            return data

    def receive(self, data: bytes) -> None:
        """Take bytes of the other side. Raises `Failure` for what is not HTTP/2."""
        with self._changed:
            data = self._rest + data if self._rest else data
            position, end, head, size = 0, len(data), _HEAD.unpack_from, _HEAD.size
            streams = self._streams
            while end - position >= size:
                high, low, kind, flags, number = head(data, position)
                length = high << 8 | low
                if length > _MAX_FRAME:
                    raise _invalid("a frame is too long")
                after = position + size + length
                if after > end:
                    break
                payload = data[position + size : after]
                position = after
                if kind == _DATA and not flags & _PADDED and self._block is None:
                    self._received += length
                    stream = streams.get(number)
                    if stream is not None:
                        stream.add(payload, bool(flags & _END_STREAM))
                else:
                    self._frame(kind, flags, number & _MAX_WINDOW, payload)
            self._rest = data[position:]
            if self._received > _MAX_WINDOW >> 1:
                self._send(_frame(_WINDOW, 0, 0, struct.pack(">L", self._received)))
                self._received = 0
            self._changed.notify_all()

    def close(self, reason: str = "the client went away") -> None:
        """End all streams with a failure, unless they have ended."""
        with self._changed:
            if self._error is None:
                self._error = Failure(reason, UNAVAILABLE)
                for stream in list(self._streams.values()):
                    stream.fail(self._error)
            self._changed.notify_all()

    # --- streams ---

    def open(self, path: str, metadata: Metadata) -> "Stream":
        """Begin a call. Raises `Failure` if the connection has ended."""
        headers = [(":method", "POST"), (":scheme", "http"), (":path", path)]
        headers += [(":authority", "localhost"), ("te", "trailers")]
        headers += [("content-type", "application/grpc")]
        headers += [(key.lower(), value) for key, value in metadata]
        with self._changed:
            if self._error is not None:
                raise self._error
            number, self._next = self._next, self._next + 2
            stream = Stream(self, number, self._changed, self._peer_window)
            self._streams[number] = stream
            # The tables of both sides have to be the same: these are sent in the order of encoding.
            block = self._encoder.encode(headers)
            kind, rest = _HEADERS, len(block)
            for at in range(0, len(block), self._peer_frame):
                part = block[at : at + self._peer_frame]
                rest -= len(part)
                self._send(_frame(kind, 0 if rest else _END_HEADERS, number, part))
                kind = _CONTINUATION
            return stream

    def forget(self, number: int) -> None:
        """A stream has ended."""
        self._streams.pop(number, None)

    def send_data(self, stream: "Stream") -> None:
        """Send of a stream what the windows allow."""
        unsent = stream.unsent
        while unsent and (room := min(self._window, stream.window, self._peer_frame)) > 0:
            data = bytes(unsent[:room])
            del unsent[:room]
            self._window -= len(data)
            stream.window -= len(data)
            self._send(_frame(_DATA, 0, stream.number, data))
        if not unsent and stream.is_finished:
            stream.is_finished = False
            self._send(_frame(_DATA, _END_STREAM, stream.number))

    def send(self, kind: int, stream: int, value: int) -> None:
        """Send a frame of one number."""
        self._send(_frame(kind, 0, stream, struct.pack(">L", value)))

    @property
    def is_full(self) -> bool:
        """Whether much waits to be carried away."""
        return self._out_size > _MAX_WAITING

    def _send(self, frame: bytes) -> None:
        self._out.append(frame)
        self._out_size += len(frame)
        if self._out_size > _MAX_UNSENT:
            raise _invalid("it asks and does not read the answers")
        self._changed.notify_all()

    # --- frames ---

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if (kind == _CONTINUATION) != (self._block is not None):
            raise _invalid("headers in the wrong place")
        if kind == _DATA:
            self._received += len(payload)
            stream, data = self._streams.get(number), _unpadded(payload)
            if stream is not None:
                self.send(_WINDOW, number, len(payload) - len(data))
                stream.add(data, bool(flags & _END_STREAM))
        elif kind == _HEADERS:
            payload = _unpadded(payload) if flags & _PADDED else payload
            self._headers(flags, number, payload[5:] if flags & _PRIORITY else payload)
        elif kind == _CONTINUATION and self._block is not None:
            number_before, flags_before, before = self._block
            if number != number_before:
                raise _invalid("headers of two streams at once")
            self._headers(flags_before | flags & _END_HEADERS, number, before + payload)
        elif kind == _SETTINGS and not flags & _ACK:
            self._settings(payload)
        elif kind == _PING and not flags & _ACK:
            self._send(_frame(_PING, _ACK, 0, payload))
        elif kind == _WINDOW:
            self._widen(number, int.from_bytes(payload, "big") & _MAX_WINDOW)
        elif kind in (_RESET, _GOAWAY):
            self._refused(kind, number, int.from_bytes(payload[:4], "big") & _MAX_WINDOW)
        elif kind == _PUSH:
            raise _invalid("a pushed stream")

    def _refused(self, kind: int, number: int, last: int) -> None:
        """The other side ends one stream, or those after the last that it serves."""
        for stream in list(self._streams.values()):
            if stream.number > last if kind == _GOAWAY else stream.number == number:
                stream.fail(Failure("the client ended the call", UNAVAILABLE))

    def _headers(self, flags: int, number: int, block: bytes) -> None:
        import hpack

        if len(block) > _MAX_HEADERS:
            raise _invalid("headers that are too long")
        self._block = None if flags & _END_HEADERS else (number, flags, block)
        if self._block is not None:
            return
        try:
            found = self._decoder.decode(block)
        except hpack.HPACKError as error:
            raise _invalid(str(error)) from None
        stream = self._streams.get(number)
        if stream is not None:
            stream.headers.update((str(name), str(value)) for name, value in found)
            stream.add(b"", bool(flags & _END_STREAM))

    def _settings(self, payload: bytes) -> None:
        for at in range(0, len(payload) - 5, 6):
            name, value = struct.unpack_from(">HL", payload, at)
            if name == _SET_WINDOW:
                more, self._peer_window = value - self._peer_window, value
                for stream in self._streams.values():
                    stream.window += more
            elif name == _SET_FRAME:
                self._peer_frame = min(max(value, 1), _MAX_FRAME)
            elif name == _SET_TABLE:
                self._encoder.header_table_size = min(value, _TABLE)
        self._send(_frame(_SETTINGS, _ACK, 0))
        self._send_all()

    def _widen(self, number: int, more: int) -> None:
        if number == 0:
            self._window = min(self._window + more, _MAX_WINDOW)
        elif number in self._streams:
            stream = self._streams[number]
            stream.window = min(stream.window + more, _MAX_WINDOW)
        self._send_all()

    def _send_all(self) -> None:
        for stream in list(self._streams.values()):
            self.send_data(stream)


class Stream:
    """One call: bytes both ways, and headers of the other side, with its trailers once all was
    read. The attributes are for its connection, and are guarded by its lock."""

    __slots__ = (
        "_changed", "_connection", "_ended", "_error", "_parts", "_taken", "_waiting",
        "headers", "is_finished", "number", "unsent", "window",
    )  # fmt: skip

    def __init__(
        self, connection: Connection, number: int, changed: threading.Condition, window: int
    ) -> None:
        self._connection = connection
        self._changed = changed
        self._parts: list[bytes] = []
        self._waiting = self._taken = 0
        self._ended = False
        self._error: Failure | None = None
        self.number = number
        self.headers: dict[str, str] = {}
        self.is_finished = False
        self.unsent = bytearray()
        self.window = window

    def write(self, data: bytes, *, wait: bool = True) -> bool:
        """Send bytes. Waits while many of them are on their way. Returns whether the other side
        still listens."""
        with self._changed:
            if not self._over:
                self.unsent += data
                self._connection.send_data(self)
            while wait and not self._over and self._is_full:
                self._changed.wait()
            return not self._over

    def finish(self) -> None:
        """Say that nothing more is sent."""
        with self._changed:
            if not self._over:
                self.is_finished = True
                self._connection.send_data(self)

    def read(self) -> bytes:
        """Wait for bytes: all that have come. Empty at the end. Raises `Failure` if the stream
        broke off."""
        with self._changed:
            while not self._parts and not self._over:
                self._changed.wait()
            if self._error is not None:
                raise self._error
            data = b"".join(self._parts)
            self._parts.clear()
            self._waiting = 0
            self._taken += len(data)
            if self._taken > _OUR_WINDOW >> 1 and not self._ended:
                self._connection.send(_WINDOW, self.number, self._taken)
                self._taken = 0
            return data

    def cancel(self) -> None:
        """End it, if it has not ended."""
        with self._changed:
            if not self._over:
                self._connection.send(_RESET, self.number, _CANCEL)
                self.fail(Failure("the call was cancelled", UNAVAILABLE))

    # --- for its connection ---

    def add(self, data: bytes, is_end: bool) -> None:
        """Bytes have come."""
        self._waiting += len(data)
        if self._waiting + self._taken > _OUR_WINDOW:
            raise _invalid("more than the window has room for")
        if data:
            self._parts.append(data)
        if is_end:
            self._ended = True
            self._connection.forget(self.number)

    def fail(self, error: Failure) -> None:
        """The other side, or the connection, has ended it."""
        self._error = error
        self.unsent.clear()
        self._connection.forget(self.number)
        self._changed.notify_all()

    @property
    def _over(self) -> bool:
        return self._ended or self._error is not None

    @property
    def _is_full(self) -> bool:
        return len(self.unsent) > _MAX_WAITING or self._connection.is_full


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    size = len(payload)
    return _HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def _unpadded(payload: bytes) -> bytes:
    """The payload of a frame without its padding, whose length is its first byte."""
    if not payload or payload[0] >= len(payload):
        raise _invalid("padding without end")
    return payload[1 : len(payload) - payload[0]]


def _invalid(what: str) -> Failure:
    return Failure(f"the client does not speak HTTP/2: {what}", UNAVAILABLE)
