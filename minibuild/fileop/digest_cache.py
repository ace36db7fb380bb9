"""Digests of file contents, remembered by what stat(2) says of a file.

Comes in: metadata of files. Goes out: digests of those that have not changed since they were
hashed: same device, inode, size, mtime and ctime. No program sets a ctime, so a change that hides
behind an old mtime is seen, attributes included. What it cannot see is a second change within
the resolution of the clock that stamps files, so a file changed just now is not remembered.
"""

import os
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import starmap
from operator import attrgetter

from minibuild.store.database import Database

RACY_NS = 2_000_000_000
"""A file stamped less than that before a look may get the same stamp by a change after it."""
_TICK_NS = 20_000_000
STAMP = struct.Struct("<QQqqq")
"""Device, inode, size, mtime and ctime: while these are the same, so is a file."""
_STAMPED = attrgetter("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
_HALF_NS = 1 << 63
_FEW_FILES = 8
_FEW_BYTES = 1 << 20
"""What is read in a millisecond, which is less than it takes to begin again elsewhere."""
_FILE = struct.Struct("<32s32s")
"""A stamp without its device, and a digest, as they are kept."""
_DEVICE_BYTES = 8
_FRESH = struct.Struct("<Q64s")
"""Device, and what is kept."""
_GROUP_BITS = 6
_INSERT = "INSERT OR REPLACE INTO digests_of_files (dev, inodes, files) VALUES (?, ?, ?)"
BATCH = 500
"""How many files are asked for in one query."""


class DigestCache:
    """The table `digests_of_files` of the store. Safe to use from many threads and processes.

    Files whose inode numbers are neighbours share a row of the table: those of a directory mostly
    are neighbours, and one row is found as fast as one file would be.
    """

    __slots__ = ("_db",)

    def __init__(self, db: Database) -> None:
        self._db = db

    def recall(
        self, files: Sequence[os.stat_result], stamps: Sequence[bytes] = ()
    ) -> "list[bytes | None]":
        """The digest of each file that is as it was when it was hashed, and None for the others.
        Ask for `BATCH` files at once; their `stamps` are made here if they are not known."""
        known: dict[int, dict[bytes, bytes]] = {}
        for device in {status.st_dev for status in files}:
            groups = {f.st_ino >> _GROUP_BITS for f in files if f.st_dev == device}
            known[device] = dict(self._known(device, groups))
        asked = zip(files, stamps or stamps_of(files), strict=True)
        return [known[file.st_dev].get(stamp[_DEVICE_BYTES:]) for file, stamp in asked]

    def _known(self, device: int, groups: Iterable[int]) -> "Iterator[tuple[bytes, bytes]]":
        """What is known of groups of inodes of a device: the rest of a stamp, and the digest."""
        left = list(groups)
        while left:
            batch, left = left[:BATCH], left[BATCH:]
            marks = ",".join("?" * len(batch))
            found = self._db.execute(
                f"SELECT files FROM digests_of_files WHERE dev = ? AND inodes IN ({marks})",
                [_signed(device), *batch],
            )
            for (packed,) in found:
                if len(packed) % _FILE.size == 0:  # Else it is damaged.
                    yield from _FILE.iter_unpack(packed)

    def remember(self, fresh: bytes | bytearray) -> None:
        """Note what is new (see `FreshDigests`), a batch at a time."""
        if not fresh:
            return
        step = BATCH * _FRESH.size
        with self._db.transaction() as tx:
            for at in range(0, len(fresh), step):
                new: dict[int, dict[int, bytes]] = {}
                for device, row in _FRESH.iter_unpack(fresh[at : at + step]):
                    new.setdefault(device, {})[_inode(row)] = row
                for device, files in new.items():
                    tx.executemany(_INSERT, self._merged(device, files))

    def _merged(self, device: int, files: dict[int, bytes]) -> "list[tuple[int, int, bytes]]":
        """The rows of the table with these files and those that are there. Inside a transaction:
        another build may add to the same groups."""
        known = self._known(device, {inode >> _GROUP_BITS for inode in files})
        merged = {_inode(row): row for row in map(b"".join, known)} | files
        packed: dict[int, list[bytes]] = {}
        for inode, row in merged.items():
            packed.setdefault(inode >> _GROUP_BITS, []).append(row)
        return [(_signed(device), group, b"".join(rows)) for group, rows in packed.items()]


class FreshDigests:
    """Digests of files that were hashed now, as rows for the cache: 72 bytes for each file, where
    the metadata alone would take 1.3 KiB."""

    __slots__ = ("_limit_ns", "rows")

    def __init__(self, began_ns: int | None = None) -> None:
        # A file stamped well before now cannot get the same stamp by a change after it.
        self._limit_ns = (began_ns or time.time_ns()) - RACY_NS
        self.rows = bytearray()

    def add(self, status: os.stat_result, digest: bytes) -> None:
        """Note a file, whose metadata was taken after `began_ns` and before it was read."""
        if max(status.st_mtime_ns, status.st_ctime_ns) < self._limit_ns:
            self.rows += stamp_of(status) + digest


def stamp_of(status: os.stat_result) -> bytes:
    """What tells whether something is as it was: `STAMP`."""
    return packed_stamp(*_STAMPED(status))


def stamps_of(statuses: Sequence[os.stat_result]) -> list[bytes]:
    """The same of many things."""
    try:
        return list(starmap(STAMP.pack, map(_STAMPED, statuses)))
    except struct.error:
        return list(map(stamp_of, statuses))


def packed_stamp(device: int, inode: int, size: int, mtime_ns: int, ctime_ns: int) -> bytes:
    """A `STAMP`. 64 bits of nanoseconds end in 2262, and some filesystems go on: of a time that
    does not fit there are the low bits."""
    times = [(time_ns + _HALF_NS) % (2 * _HALF_NS) - _HALF_NS for time_ns in (mtime_ns, ctime_ns)]
    return STAMP.pack(device, inode, size, *times)


def is_since(ctime_ns: int, since_ns: int) -> bool:
    """Whether a file with this ctime may have changed since that time.

    No program sets a ctime, so files whose ctime is older are as they were. The clock that stamps
    them is behind by up to a tick; a file of that moment counts as changed.
    """
    return ctime_ns >= since_ns - _TICK_NS


class Unknown(Exception):
    """Files whose digests are not known."""


class QuickDigestCache(DigestCache):
    """A cache for a look-up, which has little time to read files: more than a few small ones that
    are not known raise `Unknown`. That comes with the batch in which they are, and not after a walk
    through all files."""

    __slots__ = ("_files", "_size_bytes")

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self._files, self._size_bytes = _FEW_FILES, _FEW_BYTES

    def recall(
        self, files: Sequence[os.stat_result], stamps: Sequence[bytes] = ()
    ) -> "list[bytes | None]":
        """Look up many files at once."""
        found = super().recall(files, stamps)
        if None in found:
            unknown = [f for f, digest in zip(files, found, strict=True) if digest is None]
            self._files -= len(unknown)
            self._size_bytes -= sum(status.st_size for status in unknown)
            if self._files < 0 or self._size_bytes < 0:
                raise Unknown
        return found


def _inode(row: bytes) -> int:
    return int.from_bytes(row[:8], "little")


def _signed(number: int) -> int:
    """SQLite's integers are signed."""
    return number - (1 << 64) if number >> 63 else number
