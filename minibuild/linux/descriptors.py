"""File descriptors that are closed when a block ends.

Comes in: a descriptor that a call has just returned. Goes out: the same, for a `with` statement:

    with closing_fd(os.open(path, os.O_PATH | os.O_CLOEXEC)) as fd:
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
