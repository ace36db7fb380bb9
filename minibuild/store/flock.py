"""One lock that is taken or not: flock(2) on a file of its own.

Each call opens the file again, so a lock works between threads and between processes alike.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hold(path: str, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of the file `path`: alone, or together with others who share it.

    Yields whether it is held, which it is not if others have it and `wait` is false.
    """
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, how)
            held = True
        except BlockingIOError:
            held = False
        yield held
    finally:
        os.close(fd)
