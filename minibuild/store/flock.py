"""One lock that is taken or not: flock(2) on a file of its own, or on the folder that it is for.

Each call opens the file again, so a lock works between threads and between processes alike.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress


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


def lock_folder(path: str, *, wait: bool = False) -> int | None:
    """A descriptor that holds the lock of a folder; None if another process has it, or the folder
    is gone. The kernel drops the lock when its process dies, so a folder that can be locked is
    abandoned, or so new that its owner did not lock it yet: then that one makes another."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with ExitStack() as stack:
        stack.callback(os.close, fd)
        with suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.path.exists(path):  # No other process has swept it before it was locked.
                stack.pop_all()
                return fd
    return None
