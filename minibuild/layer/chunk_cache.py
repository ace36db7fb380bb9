"""Blocks of gzip that were compressed before, and where they are: in layers of the store.

Comes in: the key of a block (see `gzip_writer`). Goes out: its compressed bytes. A layer in which
little is new is mostly made of them, and finding and checking one takes a third of the time that
compressing it takes.

Of a layer that is another one with changes, most keys are certain without hashing the data: see
`StoredBlocks.repeats`.

`blocks/` of the store has a file for each layer that was packed from a context, named like its
blob: one record for each block. Such a file is a hint and no more. What it leads to is checked, for
the blob may be damaged, cut short or gone, and the file, too: then the block is compressed as if
it had never been known. Processes need nothing but the two folders. Read next: `writer`.
"""

import os
import threading
from collections.abc import Iterator
from struct import Struct

from minibuild.digest import Digest, digest_hex
from minibuild.layer.chunker import BLOCK_BYTES
from minibuild.layer.compress import checksum
from minibuild.linux.descriptors import replacing
from minibuild.startup.tuples import NamedTuple

_RECORD = Struct("<32sqIqII")
_MOST_BYTES = 2 * BLOCK_BYTES
_MOST_LAYERS = 100
"""Only the newest are looked at: what is older seldom has anything that they have not."""


class _Block(NamedTuple):
    """A record: where a block begins in the tar, and the checksum of its data; where it is in the
    layer, and the checksum of its compressed bytes."""

    key: bytes
    start: int
    plain_crc: int
    offset: int
    size_bytes: int
    crc: int


class _Run:
    """Bytes of the tar in the making that are in the tar of the last layer as well, `shift` further
    on. From `sure` on its blocks begin where blocks begin there."""

    __slots__ = ("end", "shift", "start", "sure")

    def __init__(self, start: int, end: int, shift: int) -> None:
        self.start, self.end, self.shift = start, end, shift
        self.sure: int | None = None


class StoredBlocks:
    """Implements `gzip_writer.KnownBlocks` for one layer in the making; `blobs` is the folder of
    the blobs, and `last` the layer that it `repeats`."""

    __slots__ = ("_blobs", "_fds", "_folder", "_found", "_lock", "_made", "_runs", "_there")

    def __init__(self, blobs: str, last: Digest | None = None) -> None:
        self._blobs = blobs
        self._folder = _beside(blobs)
        there = _read(f"{self._folder}/{digest_hex(last)}") if last else ()
        self._there = {block.start: block for block in there}
        self._runs: list[_Run] = []
        self._found: dict[bytes, tuple[str, _Block]] | None = None
        self._made: list[_Block] = []
        self._fds: dict[str, int] = {}
        self._lock = threading.Lock()

    def repeats(self, start: int, place: int, count: int) -> None:
        """So many bytes from `start` on will be those from `place` on in the tar of the last layer.

        A block there and one here whose data and dictionary are the same have the same key. If they
        begin at the same place of a run, so do all that come after it, as far as what decides over
        their ends is in the run: a full buffer. So one key has to be made for each run.
        """
        with self._lock:
            run = self._runs[-1] if self._runs else None
            if run is not None and run.end - run.start < BLOCK_BYTES:
                self._runs.pop()  # It is of no use.
            self._runs.append(_Run(start, start + count, place - start))

    def expected(self, start: int, crc: int) -> bytes | None:
        """See `KnownBlocks`."""
        with self._lock:
            run = self._run(start)
            if run is None or run.sure is None or run.sure > start:
                return None
            block = self._there.get(start + run.shift)
            return block.key if block is not None and block.plain_crc == crc else None

    def _run(self, start: int) -> _Run | None:
        """The run that has a full buffer from there on."""
        run = next((run for run in reversed(self._runs) if run.start <= start), None)
        return run if run is not None and start + BLOCK_BYTES <= run.end else None

    def find(self, key: bytes, start: int) -> bytes | None:
        """See `KnownBlocks`."""
        with self._lock:
            if (run := self._run(start)) is not None and run.sure is None:
                block = self._there.get(start + run.shift)
                run.sure = start if block is not None and block.key == key else None
            if self._found is None:
                self._found = _known(self._folder)
            if key not in self._found:
                return None
            name, block = self._found[key]
            fd = self._open(name)
        if fd < 0 or not 0 < block.size_bytes < _MOST_BYTES:
            return None  # A record of zeros would be right about a block of no bytes.
        try:
            data = os.pread(fd, block.size_bytes, block.offset)
        except OSError:
            return None  # A place that no file has, or a disk that fails.
        return data if len(data) == block.size_bytes and checksum(data) == block.crc else None

    def add(self, key: bytes, start: int, crc: int, offset: int, data: bytes) -> None:
        """See `KnownBlocks`."""
        self._made.append(_Block(key, start, crc, offset, len(data), checksum(data)))

    def keep(self, digest: Digest, making: str) -> None:
        """Note that the layer is in the store, with all its blocks, whether they are new or not:
        it may outlive those they were taken from. `making` is a name to write the file under."""
        if not self._made:
            return
        try:
            os.makedirs(self._folder, exist_ok=True)
            with replacing(os.path.join(self._folder, digest_hex(digest)), making) as file:
                file.write(b"".join(_RECORD.pack(*block) for block in self._made))
        except OSError:
            pass  # The layer is whole, and its build need not fail for a hint on a full disk.

    def close(self) -> None:
        """Close the layers that blocks were taken from."""
        for fd in self._fds.values():
            if fd >= 0:
                os.close(fd)
        self._fds.clear()

    def _open(self, name: str) -> int:
        """A blob of the store; -1 if it cannot be had."""
        if name not in self._fds:
            try:
                self._fds[name] = os.open(f"{self._blobs}/{name}", os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                self._fds[name] = -1
        return self._fds[name]


def forget_lost(blobs: str) -> None:
    """Remove what is noted of blobs that are gone."""
    folder = _beside(blobs)
    for name in _names(folder):
        if not os.path.exists(f"{blobs}/{name}"):
            os.unlink(f"{folder}/{name}")


def _beside(blobs: str) -> str:
    """Where the blocks of these blobs are noted: `blocks/` and `blobs/sha256/` of a store."""
    return os.path.join(os.path.dirname(os.path.dirname(blobs)), "blocks")


def _known(folder: str) -> dict[bytes, tuple[str, _Block]]:
    """The blocks of the newest layers, by their keys, and which blob has them."""
    found: dict[bytes, tuple[str, _Block]] = {}
    for name in _names(folder)[-_MOST_LAYERS:]:
        for block in _read(f"{folder}/{name}"):
            found[block.key] = (name, block)
    return found


def _names(folder: str) -> list[str]:
    """The files of the folder, oldest first; none if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            times = [(entry.stat().st_mtime_ns, entry.name) for entry in entries]
    except OSError:
        return []
    return [name for _, name in sorted(times)]


def _read(path: str) -> Iterator[_Block]:
    """The records of a file; what is not one is left out."""
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read()
    except OSError:
        return  # A prune has just removed it.
    whole = len(data) - len(data) % _RECORD.size
    yield from map(_Block._make, _RECORD.iter_unpack(data[:whole]))
