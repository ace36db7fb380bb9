"""Which process is at work on what, so that a crash differs from a build that is running.

A live process holds flock(2) on a file of its own. The kernel drops the lock when the process
dies, however it dies, so a claim whose lock can be taken has no owner. Process numbers
would not do: they are used again, and they mean other things in another pid namespace.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class StoreClaim:
    """The claim of this process. `name` marks what it has in the making: rows and file names."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.name, self._fd = _claim(folder)

    def release(self) -> None:
        """Give the claim up; call it when everything marked with it is committed or removed."""
        if self._fd >= 0:
            os.unlink(os.path.join(self.folder, self.name))
            os.close(self._fd)
            self._fd = -1


def _claim(folder: str) -> tuple[str, int]:
    """A file with a new name, and the descriptor that holds its lock.

    Another process can sweep between the making of the file and its lock, and take it for one
    of the dead. Then either the lock is taken, or the file is gone: the next name is tried.
    """
    while True:
        name = f"{os.getpid()}-{os.urandom(4).hex()}"
        path = os.path.join(folder, name)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if _locked(fd) and os.fstat(fd).st_nlink:
            return name, fd
        os.close(fd)


@contextmanager
def abandoned(folder: str) -> Iterator[list[str]]:
    """The names of the claims in `folder` whose processes are dead.

    They stay locked while the block sweeps what they left, and are removed after it.
    """
    dead: list[tuple[str, int]] = []
    try:
        for name in os.listdir(folder):
            with suppress(FileNotFoundError):
                fd = os.open(os.path.join(folder, name), os.O_RDWR | os.O_CLOEXEC)
                if _locked(fd):
                    dead.append((name, fd))
                else:
                    os.close(fd)
        yield [name for name, _ in dead]
        for name, _ in dead:
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(folder, name))
    finally:
        for _, fd in dead:
            os.close(fd)


def _locked(fd: int) -> bool:
    """Take the lock of a claim, unless another process has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
