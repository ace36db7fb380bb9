"""File descriptors that are closed when a block ends, files that are whole, and small files.

Comes in: a descriptor that a call has just returned. Goes out: the same, for a `with` statement:

    with closing_fd(os.open(path, os.O_PATH | os.O_CLOEXEC)) as fd:

Small files are those of /proc, /sys and cgroups.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO


@contextmanager
def closing_fd(fd: int) -> Iterator[int]:
    """Close a descriptor at the end of the block, however it ends."""
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def replacing(path: str, making: str = "", *, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A file that takes the place of the one at `path` when the block ends well: readers see all of
    the old one or all of the new one. Until then its name is `making`; if the block fails, nothing
    is left of it. It is not waited for the disk (fsync): after a power cut the file may lack
    contents, so what has to notice that keeps a sum in it."""
    making = making or f"{path}.{os.urandom(6).hex()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(making, flags, mode), "wb") as file:
            yield file
        os.rename(making, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(making)
        raise


def read_start(path: str, size: int) -> bytes:
    """The first bytes of a file; nothing if it cannot be opened. A fifo is not waited for."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return b""
    with closing_fd(fd):
        return os.read(fd, size)


def read_text(path: str) -> str:
    """The text of a small file; nothing if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def write_text(path: str, text: str) -> None:
    """Write to a file of the kernel: in one call, as it wants it, and never making one."""
    with closing_fd(os.open(path, os.O_WRONLY | os.O_CLOEXEC)) as fd:
        os.write(fd, text.encode())
