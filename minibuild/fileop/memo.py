"""Digests of file contents, remembered by what stat(2) says of a file.

Comes in: metadata of files. Goes out: digests of those that have not changed since they were
hashed: same device, inode, size, mtime and ctime. Nobody can set a ctime, so a change that hides
behind an old mtime is seen, attributes included. What it cannot see is a second change within
the resolution of the clock that stamps files, so a file changed just now is not remembered.
"""

import os
from collections.abc import Sequence

from minibuild.store.database import Database

_RACY_NS = 2_000_000_000
_FEW_FILES = 8
_FEW_BYTES = 1 << 20
"""What is read in a millisecond, which is less than it takes to begin again elsewhere."""
BATCH = 500
"""How many files are asked for in one query."""

Row = tuple[int, int, int, int, int, bytes]
"""Device, inode, size, mtime, ctime and digest."""


class DigestMemo:
    """The table `file_digests` of the store. Safe to use from many threads and processes."""

    __slots__ = ("_db",)

    def __init__(self, db: Database) -> None:
        self._db = db

    def recall(self, files: Sequence[os.stat_result]) -> "list[bytes | None]":
        """The digest of each file that is as it was when it was hashed, and None for the others.
        Ask for `BATCH` files at once."""
        inodes: dict[int, list[int]] = {}
        for status in files:
            inodes.setdefault(status.st_dev, []).append(status.st_ino)
        known = {device: self._rows(device, wanted) for device, wanted in inodes.items()}
        found: list[bytes | None] = []
        for status in files:
            row = known[status.st_dev].get(status.st_ino)
            stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            found.append(row[5] if row is not None and row[2:5] == stamp else None)
        return found

    def _rows(self, device: int, inodes: Sequence[int]) -> dict[int, Row]:
        """What is known of the inodes of a device, by their numbers."""
        rows: dict[int, Row] = {}
        for start in range(0, len(inodes), BATCH):
            batch = [_signed(inode) for inode in inodes[start : start + BATCH]]
            marks = ",".join("?" * len(batch))
            found = self._db.execute(
                "SELECT dev, ino, size, mtime_ns, ctime_ns, digest FROM file_digests"
                f" WHERE dev = ? AND ino IN ({marks})",
                [_signed(device), *batch],
            )
            for row in found:
                rows[row[1] & _UNSIGNED] = row
        return rows

    def remember(self, rows: Sequence[Row]) -> None:
        """Note what `rows_of` made."""
        if rows:
            with self._db.transaction() as tx:
                tx.executemany(
                    "INSERT OR REPLACE INTO file_digests VALUES (?, ?, ?, ?, ?, ?)", rows
                )


def rows_of(files: Sequence[tuple[os.stat_result, bytes]], began_ns: int) -> list[Row]:
    """Digests of files as rows for the memo. The metadata of each file was taken after `began_ns`
    and before the file was read."""
    # A file stamped well before that cannot get the same stamp by a change after it.
    limit = began_ns - _RACY_NS
    return [
        (_signed(status.st_dev), _signed(status.st_ino), *_stamp(status), digest)
        for status, digest in files
        if max(status.st_mtime_ns, status.st_ctime_ns) < limit
    ]


class Unknown(Exception):
    """Files whose digests nobody remembers."""


class MostlyKnown(DigestMemo):
    """A memo for whoever has little time to read files now: more than a few small ones that nobody
    remembers raise `Unknown`. That comes with the batch in which they are, and not after a walk
    through all files."""

    __slots__ = ("_files", "_size_bytes")

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self._files, self._size_bytes = _FEW_FILES, _FEW_BYTES

    def recall(self, files: Sequence[os.stat_result]) -> "list[bytes | None]":
        """Look up many files at once."""
        found = super().recall(files)
        if None in found:
            unknown = [f for f, digest in zip(files, found, strict=True) if digest is None]
            self._files -= len(unknown)
            self._size_bytes -= sum(status.st_size for status in unknown)
            if self._files < 0 or self._size_bytes < 0:
                raise Unknown
        return found


_UNSIGNED = (1 << 64) - 1


def _signed(number: int) -> int:
    """SQLite's integers are signed; overlayfs uses the highest bits of inode numbers."""
    return number - (1 << 64) if number >> 63 else number


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
