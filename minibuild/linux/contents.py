"""The data of files: where it is, copied, and compared.

Comes in: open files. Goes out: the same bytes, with the same holes, in another file. Big files are
copied by the kernel: copy_file_range(2) lets the filesystem share blocks (btrfs, xfs). It refuses
between some filesystems, and then read and write do it. See lseek(2) about holes.
"""

import errno
import os
import threading
from collections.abc import Iterator

from minibuild.digest import Hash
from minibuild.errors import raise_if_cancelled

# O_NONBLOCK: a file that was swapped for a fifo since it was looked at must not hang the build.
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

SMALL = 64 * 1024
"""Files below this size go through a buffer; others are copied by the kernel."""
_CHUNK = 16 << 20
"""What the kernel copies at once. In between the build may be cancelled."""
_REFUSED = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EBADF)


def extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Where the first `size` bytes of a file have data: starts and ends. The rest are holes."""
    end = 0
    try:
        while end < size:
            start = os.lseek(fd, end, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
            if start < size:
                yield start, min(end, size)
    except OSError as error:
        if error.errno == errno.EINVAL and not end:  # No SEEK_DATA here.
            yield 0, size
        elif error.errno != errno.ENXIO:  # ENXIO: no data after this offset.
            raise


def write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of it: write(2) may take less, and takes 2 GiB at most."""
    done = os.write(fd, data)
    while done < len(data):
        done += os.write(fd, memoryview(data)[done:])


class Copier:
    """Copies file contents. Holds the buffer, because a fresh one costs a page fault per page."""

    __slots__ = ("_buffer", "_cancelled", "_view")

    def __init__(self, cancelled: threading.Event | None = None) -> None:
        self._cancelled = cancelled
        self._buffer = bytearray(SMALL)
        self._view = memoryview(self._buffer)

    def copy(self, source_fd: int, target_fd: int, size: int, sha: Hash | None = None) -> None:
        """Copy all of the source to an empty file; `size` is what it is thought to have, and may be
        wrong. With `sha` it is hashed, too: a big file on its own, for the kernel copies it."""
        if size < SMALL:
            self.read(source_fd, size, sha, target_fd)
            return
        if sha is not None:
            self.read(source_fd, size, sha)
        size = os.fstat(source_fd).st_size
        for start, end in extents(source_fd, size):
            self._copy_extent(source_fd, target_fd, start, end)
        os.ftruncate(target_fd, size)  # There may be a hole at the end.

    def read(self, fd: int, size: int, sha: Hash | None, target_fd: int | None = None) -> None:
        """Read all of a file through the buffer, to hash it, or to write it to another one."""
        total = 0
        while count := os.readv(fd, [self._buffer]):
            if sha is not None:
                sha.update(self._view[:count])
            if target_fd is not None:
                write_all(target_fd, self._view[:count])
            total += count
            # A filesystem may give less than was asked for before the end, as FUSE can. Not to ask
            # again at the end saves a call for each file.
            if count < SMALL and total >= size:
                break
            self._check()

    def _copy_extent(self, source_fd: int, target_fd: int, start: int, end: int) -> None:
        in_kernel = True
        while start < end:
            self._check()
            if in_kernel:
                count = _copy_in_kernel(source_fd, target_fd, start, min(end - start, _CHUNK))
                in_kernel = bool(count)
            else:
                count = os.preadv(source_fd, [self._view[: min(end - start, SMALL)]], start)
                if not count:
                    return  # The file became shorter meanwhile.
                count = os.pwrite(target_fd, self._view[:count], start)
            start += count

    def _check(self) -> None:
        raise_if_cancelled(self._cancelled, "copying files")


def _copy_in_kernel(source_fd: int, target_fd: int, start: int, count: int) -> int:
    """How much was copied. 0 where that cannot be done, and at the end of the file; some special
    filesystems say 0 in any case."""
    try:
        return os.copy_file_range(source_fd, target_fd, count, start, start)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        return 0


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
