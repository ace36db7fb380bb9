"""Digests of file contents, remembered by what stat(2) says of a file.

Comes in: metadata of files. Goes out: digests of those that have not changed since they were
hashed: same device, inode, size, mtime and ctime. Nobody can set a ctime, so a change that hides
behind an old mtime is seen, attributes included. What it cannot see is a second change within
the resolution of the clock that stamps files, so a file changed just now is not remembered.
"""

import os
from collections.abc import Iterator, Sequence

from minibuild.store.database import Database

_RACY_NS = 2_000_000_000
_BATCH = 500

Key = tuple[int, int]
"""Device and inode."""


class DigestMemo:
    """The table `file_digests` of the store. Safe to use from many threads and processes."""

    __slots__ = ("_db",)

    def __init__(self, db: Database) -> None:
        self._db = db

    def recall(self, files: Sequence[os.stat_result]) -> dict[Key, bytes]:
        """The digests of those files that are as they were when they were hashed."""
        wanted = {(f.st_dev, f.st_ino): f for f in files}
        known: dict[Key, bytes] = {}
        by_device: dict[int, list[int]] = {}
        for device, inode in wanted:
            by_device.setdefault(device, []).append(inode)
        for device, inodes in by_device.items():
            for row in self._rows(device, inodes):
                key = (device, row[0] & _UNSIGNED)
                if row[1:4] == _stamp(wanted[key]):
                    known[key] = row[4]
        return known

    def _rows(
        self, device: int, inodes: Sequence[int]
    ) -> Iterator[tuple[int, int, int, int, bytes]]:
        ordered = sorted(map(_signed, inodes))
        for start in range(0, len(ordered), _BATCH):
            batch = ordered[start : start + _BATCH]
            marks = ",".join("?" * len(batch))
            yield from self._db.execute(
                "SELECT ino, size, mtime_ns, ctime_ns, digest FROM file_digests"
                f" WHERE dev = ? AND ino IN ({marks})",
                [_signed(device), *batch],
            )

    def remember(self, files: Sequence[tuple[os.stat_result, bytes]], began_ns: int) -> None:
        """Note digests of files whose metadata was taken after `began_ns` and before reading."""
        # A file stamped well before that cannot get the same stamp by a change after it.
        limit = began_ns - _RACY_NS
        rows = [
            (_signed(status.st_dev), _signed(status.st_ino), *_stamp(status), digest)
            for status, digest in files
            if max(status.st_mtime_ns, status.st_ctime_ns) < limit
        ]
        if rows:
            with self._db.transaction() as tx:
                tx.executemany(
                    "INSERT OR REPLACE INTO file_digests VALUES (?, ?, ?, ?, ?, ?)", rows
                )


_UNSIGNED = (1 << 64) - 1


def _signed(number: int) -> int:
    """SQLite's integers are signed; overlayfs uses the highest bits of inode numbers."""
    return number - (1 << 64) if number >> 63 else number


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
