"""File descriptors that are closed when a block ends, and small files at a stroke.

Comes in: a descriptor that a call has just returned. Goes out: the same, for a `with` statement:

    with closing_fd(os.open(path, os.O_PATH | os.O_CLOEXEC)) as fd:

Small files are those of /proc, /sys and cgroups.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def closing_fd(fd: int) -> Iterator[int]:
    """Close a descriptor at the end of the block, however it ends."""
    try:
        yield fd
    finally:
        os.close(fd)


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
