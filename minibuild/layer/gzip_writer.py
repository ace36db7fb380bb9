"""gzip written by several threads, of which each takes whole blocks.

Comes in: the tar, a block at a time. Goes out: one gzip member (RFC 1952), a chain of deflate
blocks (RFC 1951): each is compressed on its own, with the last 32 KiB before it as its dictionary,
and joined at byte boundaries (Z_SYNC_FLUSH). So all processors can work on one layer, and what a
block becomes depends on nothing but itself and its dictionary: one that was compressed before is
taken from the layer it was put into. Read next: `chunk_cache`.
"""

import hashlib
import struct
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from minibuild.layer.chunker import BLOCK_BYTES, cut
from minibuild.startup.tuples import NamedTuple

_WINDOW = 32 << 10
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # No name, no time, system unknown.
_AHEAD = 2
"""Blocks that wait while each thread works on one."""

_WORTHWHILE = 0.9
"""What cannot be compressed below this takes hardly longer to compress than to look up. Blocks
behind such a one are not looked up, until there is one again that can."""

Write = Callable[[bytes | bytearray | memoryview], None]
"""Takes what was compressed."""


class Deflater(NamedTuple):
    """A library with zlib's functions, at a level; `name` tells it from all that might give
    other bytes."""

    level: int
    library: Any
    name: str

    def compress(self, data: memoryview, dictionary: bytes, *, last: bool) -> bytes:
        """The data as deflate blocks that end at a byte. Works outside the interpreter lock."""
        z = self.library
        arguments = (self.level, z.DEFLATED, -15, 8, 0)
        stream = z.compressobj(*arguments, dictionary) if dictionary else z.compressobj(*arguments)
        first: bytes = stream.compress(data)
        rest: bytes = stream.flush(z.Z_FINISH if last else z.Z_SYNC_FLUSH)
        return first + rest if rest else first


class KnownBlocks(Protocol):
    """Blocks that were compressed before. Safe in threads. A block is named by its key; `start` is
    where in the tar it begins, `crc` the checksum of its data."""

    def expected(self, start: int, crc: int) -> bytes | None:
        """The key of a block, if that is certain without hashing its data."""

    def find(self, key: bytes, start: int) -> bytes | None:
        """The compressed bytes of a block, sound, if they are still to be had."""

    def add(self, key: bytes, start: int, crc: int, offset: int, data: bytes) -> None:
        """Note where in the layer in the making a block is, in the order in which they come."""


class _BlockTask:
    """A block to compress, and its result."""

    __slots__ = (
        "buffer", "crc", "dictionary", "done", "error", "key", "last", "length", "result", "start"
    )  # fmt: skip

    def __init__(
        self, buffer: bytearray, length: int, start: int, dictionary: bytes, last: bool
    ) -> None:
        self.buffer = buffer
        self.start = start
        self.crc = 0
        self.length = length
        self.dictionary = dictionary
        self.last = last
        self.done = threading.Event()
        self.key = b""
        self.result = b""
        self.error: BaseException | None = None


class GzipWriter:
    """A `compress.Compressor`."""

    def __init__(
        self, deflater: Deflater, threads: int, output: Write, known: KnownBlocks | None = None
    ) -> None:
        self._deflater = deflater
        self._count = threads
        self._output = output
        self._known = known
        self._threads: list[threading.Thread] = []
        self._tasks: Any = None
        self._pending: deque[_BlockTask] = deque()
        self._dictionary = b""
        self._crc = 0
        self._size = 0
        self._written = len(_HEADER)
        self._worthwhile = True
        output(_HEADER)

    def cut(self, buffer: bytearray) -> int:
        """How much of a full buffer is the next block."""
        return cut(buffer)

    def feed(self, buffer: bytearray, length: int) -> bytearray:
        """Take a block; returns a buffer for the next one."""
        if not self._threads:
            self._start()
        task = self._task(buffer, length, last=False)
        self._tasks.put(task)
        self._pending.append(task)
        if len(self._pending) < self._count + _AHEAD:
            return bytearray(BLOCK_BYTES)
        return self._write_oldest()

    def finish(self, buffer: bytearray, length: int) -> None:
        """Take the last block, and write all that is still due."""
        task = self._task(buffer, length, last=True)
        self._compress(task)
        while self._pending:
            self._write_oldest()
        self._output(task.result)
        self._output(struct.pack("<II", self._crc, self._size & 0xFFFFFFFF))

    def close(self) -> None:
        """End the threads, also after an error."""
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _task(self, buffer: bytearray, length: int, *, last: bool) -> _BlockTask:
        task = _BlockTask(buffer, length, self._size, self._dictionary, last)
        data = memoryview(buffer)[:length]
        self._crc = self._deflater.library.crc32(data, self._crc)
        self._size += length
        self._dictionary = bytes(data[-_WINDOW:])
        return task

    def _write_oldest(self) -> bytearray:
        task = self._pending.popleft()
        task.done.wait()
        if task.error is not None:
            raise task.error
        self._output(task.result)
        if self._known is not None and task.key:
            self._known.add(task.key, task.start, task.crc, self._written, task.result)
        self._written += len(task.result)
        return task.buffer

    def _start(self) -> None:
        """Threads only where there is more than one block: most layers are small."""
        import queue

        self._tasks = queue.SimpleQueue()
        for _ in range(self._count):
            thread = threading.Thread(target=self._work, name="gzip", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # No more of them for this user: those that there are will do.
                if not self._threads:
                    raise
                return
            self._threads.append(thread)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                self._compress(task)
            except BaseException as error:
                task.error = error
            task.done.set()

    def _compress(self, task: _BlockTask) -> None:
        # The buffers hold the data while the library, without the interpreter lock, reads it.
        data = memoryview(task.buffer)[: task.length]
        if self._known is not None and self._worthwhile and not task.last:
            task.crc = self._deflater.library.crc32(data, 0)
            expected = self._known.expected(task.start, task.crc)
            task.key = expected or self._key(data, task.dictionary)
            if (found := self._known.find(task.key, task.start)) is not None:
                task.result = found
                return
        task.result = self._deflater.compress(data, task.dictionary, last=task.last)
        self._worthwhile = len(task.result) < task.length * _WORTHWHILE

    def _key(self, data: memoryview, dictionary: bytes) -> bytes:
        """A digest of all that decides what a block becomes."""
        name = f"{self._deflater.name} {self._deflater.level} {len(dictionary)}\0"
        sha = hashlib.sha256(name.encode())
        sha.update(dictionary)
        sha.update(data)
        return sha.digest()
