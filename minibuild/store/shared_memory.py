"""The memory that the processes of a store share to use its database: it must not vanish.

SQLite maps the file `meta.db-shm`, and has the filesystem reserve a block at the end of each page
of it. Where blocks are smaller than pages (small ext4 filesystems have blocks of 1 KiB) the rest of
a page is only reserved when it is touched; and if the disk is full by then, the kernel ends the
process with SIGBUS. So here the whole file is reserved, before a build fills the disk.
Rules: mmap(2), sqlite.org/walformat.html. Read next: `database`.
"""

import errno
import os

from minibuild.errors import MAKE_ROOM, StoreError

_ROOM_BYTES = 128 << 10
"""What opening a database takes: a region of shared memory, and a log with the new tables."""


def insist_on_room(path: str) -> None:
    """Raise `StoreError` if there is no room to open the database at `path`."""
    found = os.statvfs(os.path.dirname(path))
    if _is_safe(found) or found.f_bavail * found.f_frsize >= _ROOM_BYTES:
        return
    raise no_space(path)


def reserve(path: str) -> None:
    """Have blocks for all of the shared memory of the database at `path`, which is open. Raises
    `StoreError` if there are none."""
    if _is_safe(os.statvfs(os.path.dirname(path))):
        return
    name = f"{path}-shm"
    for fd in map(int, os.listdir("/proc/self/fd")):
        # By the descriptor that SQLite has: closing another one to this file would give up all
        # locks that this process has on it (fcntl(2)).
        try:
            if os.readlink(f"/proc/self/fd/{fd}") == name:
                os.posix_fallocate(fd, 0, os.fstat(fd).st_size)
        except FileNotFoundError:
            continue  # That of the listing itself.
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise no_space(path) from error
            # What the filesystem does not offer it does not need either.


def no_space(path: str) -> StoreError:
    """The error to raise when the disk is too full for the database at `path`."""
    return StoreError(f"no space left for the store's metadata {path}", hint=MAKE_ROOM)


def _is_safe(found: os.statvfs_result) -> bool:
    """Whether a block that is reserved is a whole page."""
    return found.f_frsize >= os.sysconf("SC_PAGE_SIZE")
