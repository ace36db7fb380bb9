"""Moving the bytes of a file: in the kernel where that pays, through one reused buffer otherwise.

Comes in: two open files. Goes out: the number of bytes copied. For a big file copy_file_range(2)
lets the filesystem share blocks (btrfs, xfs) or copy inside the kernel; it refuses between some
filesystems, and then read and write do it. Holes of sparse files stay holes.
"""

import errno
import os
import threading

from minibuild.digest import Hash
from minibuild.errors import raise_if_cancelled
from minibuild.linux.holes import extents

# O_NONBLOCK: a file that was swapped for a fifo since it was looked at must not hang the build.
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
CAPABILITY = "security.capability"
"""The one extended attribute that belongs to the data of a file."""

SMALL = 64 * 1024
"""Files below this size go through a buffer; others are copied by the kernel."""
_CHUNK = 16 << 20
_REFUSED = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EBADF)


class Copier:
    """Copies file contents. Holds the buffer, because a fresh one costs a page fault per page."""

    __slots__ = ("_buffer", "_cancelled", "_view")

    def __init__(self, cancelled: threading.Event | None = None) -> None:
        self._cancelled = cancelled
        self._buffer = bytearray(SMALL)
        self._view = memoryview(self._buffer)

    def copy(self, source_fd: int, target_fd: int, size: int, sha: Hash | None = None) -> int:
        """Copy all of the source; `size` is what it is thought to have, and may be wrong. With
        `sha` it is hashed, too: a big file on its own, for the kernel copies it."""
        if size < SMALL:
            return self._by_buffer(source_fd, target_fd, size, sha)
        if sha is not None:
            while count := os.readv(source_fd, [self._buffer]):
                sha.update(self._view[:count])
                self._check()
            os.lseek(source_fd, 0, os.SEEK_SET)
        status = os.fstat(source_fd)
        if status.st_blocks * 512 < status.st_size:
            return self._sparse(source_fd, target_fd, status.st_size)
        return self._rest(source_fd, target_fd, status.st_size)

    def _by_buffer(self, source_fd: int, target_fd: int, size: int, sha: Hash | None = None) -> int:
        total = 0
        while count := os.readv(source_fd, [self._buffer]):
            if sha is not None:
                sha.update(self._view[:count])
            written = os.write(target_fd, self._view[:count])
            while written < count:
                written += os.write(target_fd, self._view[written:count])
            total += count
            if count < SMALL and total >= size:
                break  # That was the end; not asking again saves a call for each file.
            self._check()
        return total

    def _rest(self, source_fd: int, target_fd: int, size: int) -> int:
        """Copy from where both files stand, their beginning, to the end of the source."""
        total = 0
        try:
            while count := os.copy_file_range(source_fd, target_fd, _CHUNK):
                total += count
                self._check()
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
        # Some special filesystems answer 0 at once; reading finds out whether there is more.
        return total + self._by_buffer(source_fd, target_fd, size - total)

    def _sparse(self, source_fd: int, target_fd: int, size: int) -> int:
        os.ftruncate(target_fd, size)
        for start, end in extents(source_fd, size):
            self._range(source_fd, target_fd, start, end)
        return size

    def _range(self, source_fd: int, target_fd: int, start: int, end: int) -> None:
        while start < end:
            count = os.preadv(source_fd, [self._view[: min(SMALL, end - start)]], start)
            if not count:
                return
            self._check()
            start += os.pwrite(target_fd, self._view[:count], start)

    def _check(self) -> None:
        raise_if_cancelled(self._cancelled, "copying files")


def capability_words(value: bytes | None) -> bytes:
    """What the capabilities of a file add to its data where that is hashed."""
    return b"\0" + CAPABILITY.encode() + (value or b"")


def same_contents(one_fd: int, other_fd: int, cancelled: threading.Event | None = None) -> bool:
    """Whether two files hold the same bytes. Neither file moves its offset."""
    offset = 0
    while True:
        raise_if_cancelled(cancelled, "comparing files")
        one = os.pread(one_fd, SMALL, offset)
        if one != os.pread(other_fd, SMALL, offset):
            return False
        if not one:
            return True
        offset += len(one)
