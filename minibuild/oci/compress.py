"""Layers compressed while they are written, and decompressed while they are read.

Comes in: a stream. Goes out: a stream. What is written depends on nothing but data, algorithm and
level: no names or times in gzip headers, and cuts at fixed places however many processors work.

gzip is a chain of deflate blocks (RFC 1951), each compressed on its own, with the last 32 KiB
before it as its dictionary, and joined at byte boundaries (Z_SYNC_FLUSH). So all processors can
work on one layer. Levels 1 to 3 are ISA-L's, many times faster than zlib and nearly as small;
0 and 4 to 9 are zlib's. Read next: `sink`.
"""

import os
import struct
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol, cast

from minibuild.errors import ImageError, UsageError
from minibuild.oci import model
from minibuild.oci.model import Compression

BLOCK_BYTES = 1 << 20
"""Where gzip is cut. Part of the format: another number gives other bytes."""

_WINDOW = 32 << 10
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # No name, no time, system unknown.
_MAX_THREADS = 8
_ZSTD_JOB_BYTES = 4 << 20
"""What a thread of zstd takes at once, part of the format like `BLOCK_BYTES`. Half of what the
library would take: 30 MiB less memory for a layer that is half a percent larger."""

Output = Callable[[bytes | bytearray | memoryview], None]


def layer_media_type(compression: Compression) -> str:
    """The media type of a layer that is compressed so."""
    return {
        "uncompressed": model.OCI_LAYER,
        "gzip": model.OCI_LAYER_GZIP,
        "zstd": model.OCI_LAYER_ZSTD,
    }[compression]


def compression_of(media_type: str) -> Compression:
    """How a layer of this media type is compressed. Raises `ImageError` for no layer of ours."""
    known: dict[str, Compression] = {
        model.OCI_LAYER: "uncompressed",
        model.OCI_LAYER_GZIP: "gzip",
        model.OCI_LAYER_ZSTD: "zstd",
    }
    found = known.get(model.as_oci(media_type))
    if found is None:
        raise ImageError(f"a layer has the unknown media type {media_type}")
    return found


class Compressor(Protocol):
    """Takes a stream in full buffers of BLOCK_BYTES, and hands empty buffers back."""

    def feed(self, buffer: bytearray) -> bytearray:
        """Take a full buffer; returns one to fill next, which may be another."""
        ...

    def finish(self, buffer: bytearray, length: int) -> None:
        """Take the last bytes, and write all that is still due."""
        ...

    def close(self) -> None:
        """End what runs in the background, also after an error."""
        ...


def compressor(compression: Compression, level: int | None, output: Output) -> Compressor:
    """A compressor that writes to `output`. Raises `UsageError` for a level that does not exist."""
    top = {"uncompressed": 0, "gzip": 9, "zstd": 22}[compression]
    if level is not None and not 0 <= level <= top:
        raise UsageError(
            f"compression level {level} is out of range for {compression}",
            hint=f"use 0 to {top}" if top else "uncompressed layers have no level",
        )
    if compression == "gzip":
        return _Gzip(1 if level is None else level, output)
    if compression == "zstd":
        return _Zstd(3 if level is None else level, output)
    return _Plain(output)


class _Plain:
    """The stream as it is."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def feed(self, buffer: bytearray) -> bytearray:
        self._output(buffer)
        return buffer

    def finish(self, buffer: bytearray, length: int) -> None:
        self._output(memoryview(buffer)[:length])

    def close(self) -> None:
        pass


class _Zstd:
    """One zstd frame (RFC 8878). The library has threads of its own; any number of them but none
    gives the same bytes."""

    def __init__(self, level: int, output: Output) -> None:
        import zstandard

        threads = min(os.cpu_count() or 1, _MAX_THREADS)
        self._output = output
        parameters = zstandard.ZstdCompressionParameters.from_level(
            level, threads=threads, job_size=_ZSTD_JOB_BYTES
        )
        self._stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()

    def feed(self, buffer: bytearray) -> bytearray:
        self._output(self._stream.compress(buffer))
        return buffer

    def finish(self, buffer: bytearray, length: int) -> None:
        self._output(self._stream.compress(memoryview(buffer)[:length]))
        self._output(self._stream.flush())

    def close(self) -> None:
        pass


class _Task:
    """A block to compress, and its result."""

    __slots__ = ("buffer", "dictionary", "done", "error", "last", "length", "result")

    def __init__(self, buffer: bytearray, length: int, dictionary: bytes, last: bool) -> None:
        self.buffer = buffer
        self.length = length
        self.dictionary = dictionary
        self.last = last
        self.done = threading.Event()
        self.result = b""
        self.error: BaseException | None = None


class _Gzip:
    """One gzip member (RFC 1952), its blocks compressed by several threads."""

    def __init__(self, level: int, output: Output) -> None:
        self._level = level
        self._library = _deflate_library(level)
        self._output = output
        self._threads: list[threading.Thread] = []
        self._tasks: Any = None
        self._pending: deque[_Task] = deque()
        self._dictionary = b""
        self._crc = 0
        self._size = 0
        output(_GZIP_HEADER)

    def feed(self, buffer: bytearray) -> bytearray:
        if not self._threads:
            self._start()
        task = self._task(buffer, len(buffer), last=False)
        self._tasks.put(task)
        self._pending.append(task)
        if len(self._pending) < len(self._threads) + 2:
            return bytearray(BLOCK_BYTES)
        return self._write_oldest()

    def finish(self, buffer: bytearray, length: int) -> None:
        task = self._task(buffer, length, last=True)
        self._compress(task)
        while self._pending:
            self._write_oldest()
        self._output(task.result)
        self._output(struct.pack("<II", self._crc, self._size & 0xFFFFFFFF))

    def close(self) -> None:
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _task(self, buffer: bytearray, length: int, *, last: bool) -> _Task:
        task = _Task(buffer, length, self._dictionary, last)
        data = memoryview(buffer)[:length]
        self._crc = self._library.crc32(data, self._crc)
        self._size += length
        self._dictionary = bytes(data[-_WINDOW:])
        return task

    def _write_oldest(self) -> bytearray:
        task = self._pending.popleft()
        task.done.wait()
        if task.error is not None:
            raise task.error
        self._output(task.result)
        return task.buffer

    def _start(self) -> None:
        """Threads only where there is more than one block: most layers are small."""
        import queue

        self._tasks = queue.SimpleQueue()
        for _ in range(min(os.cpu_count() or 1, _MAX_THREADS)):
            thread = threading.Thread(target=self._work, name="gzip", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                self._compress(task)
            except BaseException as error:
                task.error = error
            task.done.set()

    def _compress(self, task: _Task) -> None:
        # The buffers hold the data while the library, without the interpreter lock, reads it.
        z = self._library
        arguments = (self._level, z.DEFLATED, -15, 8, 0)
        if task.dictionary:
            stream = z.compressobj(*arguments, task.dictionary)
        else:
            stream = z.compressobj(*arguments)
        first = stream.compress(memoryview(task.buffer)[: task.length])
        task.result = first + stream.flush(z.Z_FINISH if task.last else z.Z_SYNC_FLUSH)


def _deflate_library(level: int) -> Any:
    if 1 <= level <= 3:
        from isal import isal_zlib

        return isal_zlib
    import zlib

    return zlib


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
        return _gzip_reader(stream)
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
        import lzma

        return cast(BinaryIO, lzma.LZMAFile(stream))
    return stream


def _gzip_reader(stream: BinaryIO) -> BinaryIO:
    from isal import igzip

    reader: Any = igzip
    return cast(BinaryIO, reader.IGzipFile(fileobj=stream, mode="rb"))


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
