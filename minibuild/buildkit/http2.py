"""HTTP/2 as far as gRPC needs it, for either side of a connection.

Comes in: bytes of the other side. Goes out: bytes for it, and streams, one for each call. Where the
bytes come from is not known here: from a socket, or from inside of another stream. The gRPC library
for Python spends 50 to 100 microseconds on each message, and a client's folder comes in tens of
thousands of them; so here one thread reads frames, and a stream is read for all that has come.
What a stream has not read yet is bounded by its window: a side that sends fast, or ignores the
window, does not fill our memory.
Rules: RFC 9113; headers are compressed as RFC 7541 says, by the package hpack.
Read next: `messages`.
"""

import struct
import threading
from collections.abc import Callable, Sequence

from minibuild.buildkit import frames
from minibuild.buildkit.frames import Headers, frame, invalid, number_frame, unpadded
from minibuild.buildkit.rpc import UNAVAILABLE, Failure
from minibuild.buildkit.stream import Stream


class Connection:
    """One connection; the server of it if there is `accept`, which is called with each stream that
    the other side opens. All calls may come from any thread, but `receive` from one. `write` sends
    as many bytes as it can without waiting, and returns their number: to wake the thread that takes
    what is `outgoing` takes longer than to send a frame."""

    def __init__(self, accept: Callable[[Stream], None] | None = None) -> None:
        import hpack

        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self._sendable = threading.Condition(self.lock)
        self._accept = accept
        self._error: Failure | None = None
        self._has_settings = False
        self._streams: dict[int, Stream] = {}
        self._number = -1  # of the last stream that was opened
        self._rest = b""
        self._preface = frames.PREFACE if accept else b""
        self._received = 0
        self._block: tuple[int, int, bytes] | None = None
        self.later: list[Callable[[], None]] = []
        self._encoder, self._decoder = hpack.Encoder(), hpack.Decoder()
        self._window = self._peer_window = frames.FIRST_WINDOW
        self._peer_frame = frames.MAX_FRAME
        limit = (frames.SET_STREAMS, frames.MAX_STREAMS) if accept else (frames.SET_PUSH, 0)
        settings = struct.pack(">HLHL", *limit, frames.SET_WINDOW, frames.OUR_WINDOW)
        self._out = [
            b"" if accept else frames.PREFACE,
            frame(frames.SETTINGS, 0, 0, settings),
            number_frame(frames.WINDOW, 0, frames.MAX_WINDOW - frames.FIRST_WINDOW),
        ]
        self._out_size = 0
        self._is_writing = True
        self.write: Callable[[bytes], int] | None = None

    @property
    def is_server(self) -> bool:
        """Whether the other side opens the streams."""
        return self._accept is not None

    # --- bytes ---

    def outgoing(self) -> bytes:
        """Wait for bytes that are to be sent. None are left if it is empty."""
        with self._sendable:
            self._is_writing = False
            while not self._out and self._error is None:
                self._sendable.wait()
            data = b"".join(self._out)
            self._out.clear()
            self._is_writing = True
            was_full, self._out_size = self.is_full, 0
            for stream in self._streams.values() if was_full else ():
                stream.changed.notify_all()
            return data

    def receive(self, data: bytes) -> None:
        """Take bytes of the other side. Raises `Failure` for what is not HTTP/2."""
        with self.lock:
            data = self._rest + data if self._rest else data
            position, end = self._begin(data), len(data)
            head, size, streams = frames.HEAD.unpack_from, frames.HEAD.size, self._streams
            while not self._preface and end - position >= size:
                high, low, kind, flags, number = head(data, position)
                length = high << 8 | low
                if length > frames.MAX_FRAME:
                    raise invalid("a frame is too long")
                after = position + size + length
                if after > end:
                    break
                payload = data[position + size : after]
                position = after
                if kind == frames.DATA and not flags & frames.PADDED and self._block is None:
                    self._received += length
                    stream = streams.get(number)
                    if stream is not None:
                        stream.add(payload, bool(flags & frames.END_STREAM))
                else:
                    self._frame(kind, flags, number & frames.MAX_WINDOW, payload)
            self._rest = data[position:]
            if self._received > frames.MAX_WINDOW >> 1:
                self.send(frames.WINDOW, 0, self._received)
                self._received = 0
        self._do_later()

    def _begin(self, data: bytes) -> int:
        """Where the frames begin: a client's come after a greeting."""
        if not self._preface:
            return 0
        if not data.startswith(frames.PREFACE[: len(data)]):
            raise invalid("it does not begin so")
        if len(data) < len(frames.PREFACE):
            return 0
        self._preface = b""
        return len(frames.PREFACE)

    def close(self, reason: str = "the client went away") -> None:
        """End all streams with a failure, unless they have ended."""
        with self.lock:
            if self._error is None:
                self._error = Failure(reason, UNAVAILABLE)
                for stream in list(self._streams.values()):
                    stream.fail(self._error)
            self._changed.notify_all()
            self._sendable.notify_all()
        self._do_later()

    def wait(self, seconds: float) -> bool:
        """Wait for the first words of the other side. False if none come, or it ends before."""
        with self.lock:
            self._changed.wait_for(lambda: self._has_settings or self._error is not None, seconds)
            return self._has_settings

    def shut(self) -> None:
        """Say that no more streams are taken."""
        with self.lock:
            last = max(self._number, 0)
            self._send(frame(frames.GOAWAY, 0, 0, struct.pack(">LL", last, frames.NO_ERROR)))
            self._number = frames.MAX_WINDOW

    def _do_later(self) -> None:
        """Do what may take other locks, now that ours is free."""
        while self.later:
            self.later.pop(0)()

    # --- streams ---

    def open(self, headers: Headers) -> Stream:
        """Begin a stream. Raises `Failure` if the connection has ended."""
        with self.lock:
            if self._error is not None:
                raise self._error
            self._number += 2
            stream = self._streams[self._number] = Stream(self, self._number, self._peer_window)
            self.send_headers(stream.number, headers)
            return stream

    def ended(self, stream: Stream, calls: Sequence[Callable[[], None]] = ()) -> None:
        """A stream has ended, and so these are to be called."""
        self._streams.pop(stream.number, None)
        self.later += calls

    def send_headers(self, number: int, headers: Headers, flags: int = 0) -> None:
        """Send headers of a stream. The tables of both sides have to be the same, so these are sent
        in the order in which they are encoded."""
        block = self._encoder.encode(list(headers), huffman=False)
        kind, rest = frames.HEADERS, len(block)
        for at in range(0, len(block), self._peer_frame):
            part = block[at : at + self._peer_frame]
            rest -= len(part)
            self._send(frame(kind, flags | (0 if rest else frames.END_HEADERS), number, part))
            kind, flags = frames.CONTINUATION, 0

    def send_data(self, stream: Stream) -> None:
        """Send of a stream what the windows allow."""
        unsent = stream.unsent
        while unsent and (room := min(self._window, stream.window, self._peer_frame)) > 0:
            data = bytes(unsent[:room])
            del unsent[:room]
            self._window -= len(data)
            stream.window -= len(data)
            self._send(frame(frames.DATA, 0, stream.number, data))
            stream.changed.notify_all()
        if not unsent and stream.trailers is not None:
            if stream.trailers:
                self.send_headers(stream.number, stream.trailers, frames.END_STREAM)
            else:
                self._send(frame(frames.DATA, frames.END_STREAM, stream.number))
            stream.trailers = None
            stream.has_sent_all()

    def send(self, kind: int, stream: int, value: int) -> None:
        """Send a frame of one number."""
        self._send(number_frame(kind, stream, value))

    @property
    def is_full(self) -> bool:
        """Whether much waits to be carried away."""
        return self._out_size > frames.MAX_WAITING

    def _send(self, frame: bytes) -> None:
        if self.write is not None and not self._out and not self._is_writing:
            frame = frame[self.write(frame) :]
            if not frame:
                return
        self._out.append(frame)
        self._out_size += len(frame)
        if self._out_size > frames.MAX_UNSENT:
            raise invalid("it asks and does not read the answers")
        self._sendable.notify()

    # --- frames ---

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if (kind == frames.CONTINUATION) != (self._block is not None):
            raise invalid("headers in the wrong place")
        if kind == frames.DATA:
            self._received += len(payload)
            stream, data = self._streams.get(number), unpadded(payload)
            if stream is not None:
                self.send(frames.WINDOW, number, len(payload) - len(data))
                stream.add(data, bool(flags & frames.END_STREAM))
        elif kind == frames.HEADERS:
            payload = unpadded(payload) if flags & frames.PADDED else payload
            self._headers(flags, number, payload[5:] if flags & frames.PRIORITY else payload)
        elif kind == frames.CONTINUATION and self._block is not None:
            number_before, flags_before, before = self._block
            if number != number_before:
                raise invalid("headers of two streams at once")
            self._headers(flags_before | flags & frames.END_HEADERS, number, before + payload)
        elif kind == frames.SETTINGS and not flags & frames.ACK:
            self._settings(payload)
        elif kind == frames.PING and not flags & frames.ACK:
            self._send(frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.WINDOW:
            self._widen(number, int.from_bytes(payload, "big") & frames.MAX_WINDOW)
        elif kind in (frames.RESET, frames.GOAWAY):
            self._refused(kind, number, int.from_bytes(payload[:4], "big") & frames.MAX_WINDOW)
        elif kind == frames.PUSH:
            raise invalid("a pushed stream")

    def _refused(self, kind: int, number: int, last: int) -> None:
        """The other side ends one stream, or those of ours after the last that it serves."""
        for stream in list(self._streams.values()):
            is_late = not self.is_server and stream.number > last
            if is_late if kind == frames.GOAWAY else stream.number == number:
                stream.fail(Failure("the other side ended the call", UNAVAILABLE))

    def _headers(self, flags: int, number: int, block: bytes) -> None:
        import hpack

        if len(block) > frames.MAX_HEADERS:
            raise invalid("headers that are too long")
        self._block = None if flags & frames.END_HEADERS else (number, flags, block)
        if self._block is not None:
            return
        try:
            found = [(str(name), str(value)) for name, value in self._decoder.decode(block)]
        except hpack.HPACKError as error:
            raise invalid(str(error)) from None
        stream = self._streams.get(number) or self._opened(number)
        if stream is not None:
            stream.headers += found
            stream.add(b"", bool(flags & frames.END_STREAM))

    def _opened(self, number: int) -> Stream | None:
        """The stream that the other side opens, if it may."""
        accept = self._accept
        if accept is None or number <= self._number or not number % 2:
            return None  # It has ended here.
        self._number = number
        if len(self._streams) >= frames.MAX_STREAMS:
            self.send(frames.RESET, number, frames.REFUSED)
            return None
        stream = self._streams[number] = Stream(self, number, self._peer_window)
        self.later.append(lambda: accept(stream))
        return stream

    def _settings(self, payload: bytes) -> None:
        self._has_settings = True
        self._changed.notify_all()
        for at in range(0, len(payload) - 5, 6):
            name, value = struct.unpack_from(">HL", payload, at)
            if name == frames.SET_WINDOW:
                more, self._peer_window = value - self._peer_window, value
                for stream in self._streams.values():
                    stream.window += more
            elif name == frames.SET_FRAME:
                self._peer_frame = min(max(value, 1), frames.MAX_FRAME)
            elif name == frames.SET_TABLE:
                self._encoder.header_table_size = min(value, frames.TABLE)
        self._send(frame(frames.SETTINGS, frames.ACK, 0))
        self._send_all()

    def _widen(self, number: int, more: int) -> None:
        if number == 0:
            self._window = min(self._window + more, frames.MAX_WINDOW)
        elif number in self._streams:
            stream = self._streams[number]
            stream.window = min(stream.window + more, frames.MAX_WINDOW)
        self._send_all()

    def _send_all(self) -> None:
        for stream in list(self._streams.values()):
            self.send_data(stream)
