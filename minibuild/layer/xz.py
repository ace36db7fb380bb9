"""xz in bounded memory: a header may ask for a dictionary of 4 GiB, which the data then fills.

Comes in: a stream that begins with the magic of xz. Goes out: the data of this one and of those
that follow it, whatever stands behind them. `lzma.LZMAFile` has no limit.
"""

import io
from lzma import FORMAT_XZ, LZMADecompressor, LZMAError
from typing import BinaryIO

from minibuild.errors import HostError

MEMORY_BYTES = 300 << 20
"""`xz -9` makes what takes 65 MiB to read, and zstd's largest window here is 128."""

_MAGIC = b"\xfd7zXZ\0"
_READ_BYTES = 256 << 10


class XzReader(io.RawIOBase):
    """The data of the xz streams in `stream`. A read raises `LZMAError` where it is damaged,
    `EOFError` where it is cut short, and `HostError` for what takes too much memory."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decoder: LZMADecompressor | None = self._new()

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """At least a byte, but at the end."""
        while (decoder := self._decoder) is not None:
            compressed = b""
            if decoder.eof:
                compressed = self._next_stream(decoder.unused_data)
                decoder = self._decoder = self._new() if compressed else None
                if decoder is None:
                    break
            elif decoder.needs_input and not (compressed := self._stream.read(_READ_BYTES)):
                raise EOFError("it ends before the end of its last stream")
            try:
                data = decoder.decompress(compressed, len(buffer))
            except LZMAError as error:
                if "limit" not in str(error):
                    raise
                raise HostError(
                    f"data of xz takes more than {MEMORY_BYTES >> 20} MiB of memory to read",
                    hint="compress it with `xz -9` or less, or copy it as it is with COPY",
                ) from None
            if data:
                buffer[: len(data)] = data
                return len(data)
        return 0

    def _new(self) -> LZMADecompressor:
        return LZMADecompressor(FORMAT_XZ, MEMORY_BYTES)

    def _next_stream(self, rest: bytes) -> bytes:
        """The beginning of the stream that follows one and the zeros behind it; else nothing."""
        while len(rest := rest.lstrip(b"\0")) < len(_MAGIC):
            more = self._stream.read(_READ_BYTES)
            if not more:
                break
            rest += more
        return rest if rest.startswith(_MAGIC) else b""
