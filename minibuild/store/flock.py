"""One lock that is taken or not: flock(2) on a file of its own."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def try_lock(path: str, *, shared: bool = False) -> Iterator[bool]:
    """Hold the lock of the file `path` if that is possible at once; yields whether it is held.

    Works between threads and between processes, because each call opens the file again.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)


@contextmanager
def hold_shared(path: str) -> Iterator[None]:
    """Hold the lock of the file `path` together with others who share it; waits for one who
    holds it alone."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)


@contextmanager
def hold_alone(path: str) -> Iterator[None]:
    """Hold the lock of the file `path` when no other process does; waits for all that share it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
