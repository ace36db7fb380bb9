"""Layers compressed while they are written, and decompressed while they are read.

Comes in: a stream. Goes out: a stream. What is written depends on nothing but data, algorithm and
level: no names or times in gzip headers, and cuts that the data chooses, however many processors
work and whatever was compressed before.

gzip levels 1 to 3 are ISA-L's, many times faster than zlib and nearly as small; 0 and 4 to 9 are
zlib's. Read next: `chunker` and `gzip_writer`, then `writer`.
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from minibuild.errors import ImageError, UsageError
from minibuild.oci import model
from minibuild.oci.model import Compression
from minibuild.startup.regex import regex

if TYPE_CHECKING:
    from minibuild.layer.gzip_writer import Deflater, KnownBlocks, Write

_MAX_THREADS = 8
_ZSTD_JOB_BYTES = 4 << 20
"""What a thread of zstd takes at once, part of the format like the cuts of gzip. Half of what the
library would take: 30 MiB less memory for a layer that is half a percent larger."""

_MEDIA_TYPES: dict[Compression, str] = {
    "uncompressed": model.OCI_LAYER,
    "gzip": model.OCI_LAYER_GZIP,
    "zstd": model.OCI_LAYER_ZSTD,
}
DAMAGED = "it is damaged, or was not copied to its end: get it again, or make it again"
"""What to do about data that cannot be read to its end."""
_LEVEL = regex("[+-]?[0-9]{1,12}")
_COMPRESSIONS = {media_type: compression for compression, media_type in _MEDIA_TYPES.items()}


def layer_media_type(compression: Compression) -> str:
    """The media type of a layer that is compressed so."""
    return _MEDIA_TYPES[compression]


def compression_of(media_type: str) -> Compression:
    """How a layer of this media type is compressed. Raises `ImageError` for no layer of ours."""
    found = _COMPRESSIONS.get(model.as_oci(media_type))
    if found is None:
        raise ImageError(f"a layer has the unknown media type {media_type}")
    return found


def parse_level(text: str, compression: Compression) -> int | None:
    """The level that `compression-level=text` means, None for the default. Raises `UsageError`.

    As in BuildKit any level of zstd stands for the nearest that exists, those of gzip end at 9,
    and what is not compressed has none.
    """
    if not _LEVEL.fullmatch(text):
        raise UsageError(f"compression-level={text} is not a number")
    level = int(text)
    if compression == "zstd":
        return min(max(level, 1), 22)
    if compression == "uncompressed" or level in (-1, -2):  # Go's names for the default, Huffman
        return None
    if not 0 <= level <= 9:
        raise UsageError(f"compression-level={text} is out of range for gzip", hint="use 0 to 9")
    return level


class Compressor(Protocol):
    """Takes a stream in buffers of BLOCK_BYTES, and hands empty buffers back."""

    def cut(self, buffer: bytearray) -> int:
        """How much of a full buffer to feed at once; the rest comes with the next one."""

    def feed(self, buffer: bytearray, length: int) -> bytearray:
        """Take what `cut` said of a buffer; returns one to fill next, which may be another."""

    def finish(self, buffer: bytearray, length: int) -> None:
        """Take the last bytes, and write all that is still due."""

    def close(self) -> None:
        """End what runs in the background, also after an error."""


def compressor(
    compression: Compression, level: int | None, output: "Write", known: "KnownBlocks | None" = None
) -> Compressor:
    """A compressor that writes to `output`; blocks of gzip that are known are not made
    again."""
    threads = min(os.cpu_count() or 1, _MAX_THREADS)
    if compression == "gzip":
        from minibuild.layer.gzip_writer import GzipWriter

        return GzipWriter(deflater(1 if level is None else level), threads, output, known)
    if compression == "zstd":
        stream = _zstd(3 if level is None else level, threads)
        return _Whole(output, stream.compress, stream.flush)
    return _Whole(output, lambda data: data, bytes)


class _Whole:
    """A stream that is not cut: `compress` says what to write for each piece of it, `flush` what is
    due at its end."""

    def __init__(
        self,
        output: "Write",
        compress: Callable[[memoryview], bytes | memoryview],
        flush: Callable[[], bytes],
    ) -> None:
        self._output = output
        self._compress = compress
        self._flush = flush

    def cut(self, buffer: bytearray) -> int:
        return len(buffer)

    def feed(self, buffer: bytearray, length: int) -> bytearray:
        self._output(self._compress(memoryview(buffer)[:length]))
        return buffer

    def finish(self, buffer: bytearray, length: int) -> None:
        self.feed(buffer, length)
        self._output(self._flush())

    def close(self) -> None:
        pass


def _zstd(level: int, threads: int) -> Any:
    """What makes one zstd frame (RFC 8878). The library has threads of its own; any number of them
    but none gives the same bytes."""
    import zstandard

    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, threads=threads, job_size=_ZSTD_JOB_BYTES
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compressobj()


def deflater(level: int) -> "Deflater":
    """What deflates at a level of gzip.

    ISA-L hashes with what the processor has, so its bytes differ: at levels 1 and 2 between arm64,
    x86-64 with SSE4.2 and x86-64 without; at its level 3 also between AVX2 and AVX-512, for which 2
    stands in here. What it makes of a sample tells the kinds apart.
    """
    from minibuild.layer.gzip_writer import Deflater

    if 1 <= level <= 3:
        import isal
        from isal import isal_zlib

        level = min(level, 2)
        kind = isal_zlib.crc32(isal_zlib.compress(b"%d" % 7**1000, level))
        return Deflater(level, isal_zlib, f"isal {isal.__version__} {isal.ISAL_VERSION} {kind}")
    import zlib

    return Deflater(level, zlib, f"zlib {zlib.ZLIB_RUNTIME_VERSION}")


def checksum(data: bytes) -> int:
    """The CRC-32 of some bytes, many times faster than zlib's."""
    from isal import isal_zlib

    return isal_zlib.crc32(data)


# --- Reading --------------------------------------------------------------------------------------

_MAGIC = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)


def detect_compression(start: bytes) -> str:
    """The compression that the first bytes of a file speak of; `uncompressed` if of none."""
    for magic, name in _MAGIC:
        if start.startswith(magic):
            return name
    # A zstd file may begin with a skippable frame: 0x184D2A50 to 5F (RFC 8878, 3.1.2).
    if len(start) >= 4 and start[1:4] == b"\x2a\x4d\x18" and 0x50 <= start[0] <= 0x5F:
        return "zstd"
    return "uncompressed"


def decompressed(stream: BinaryIO, compression: str) -> BinaryIO:
    """The data in a compressed stream. Wrong data raises an error of `stream_errors` at a read."""
    if compression == "gzip":
        from isal import igzip

        library: Any = igzip
        return cast(BinaryIO, library.IGzipFile(fileobj=stream, mode="rb"))
    if compression == "zstd":
        import zstandard

        reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(
            stream, read_size=256 << 10, read_across_frames=True, closefd=False
        )
        return cast(BinaryIO, reader)
    if compression == "bzip2":
        import bz2

        return cast(BinaryIO, bz2.BZ2File(stream))
    if compression == "xz":
        from io import BufferedReader

        from minibuild.layer.xz import XzReader

        return cast(BinaryIO, BufferedReader(XzReader(stream)))
    return stream


def unsound(what: str, kind: str, why: object) -> ImageError:
    """The error about data of a kind that `what` holds and that cannot be read to its end."""
    said = "it is cut short" if isinstance(why, EOFError) else why
    return ImageError(f"{what} is not {kind}: {said}", hint=DAMAGED)


def stream_errors(compression: str) -> tuple[type[Exception], ...]:
    """What a read of a damaged or truncated stream raises."""
    if compression == "gzip":
        import gzip

        from isal import isal_zlib

        library: Any = isal_zlib
        return (EOFError, gzip.BadGzipFile, library.error)
    if compression == "zstd":
        import zstandard

        return (zstandard.ZstdError, EOFError)
    if compression == "xz":
        import lzma

        return (lzma.LZMAError, EOFError)
    if compression == "bzip2":
        return (EOFError, OSError, ValueError)
    return ()
