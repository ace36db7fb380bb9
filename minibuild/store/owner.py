"""Which process is at work on what, so that a crash differs from a build that is running.

A live process holds flock(2) on a file of its own. The kernel drops the lock when the process
dies, however it dies, so a claim whose lock can be taken has no owner. Process numbers
would not do: they are used again, and they mean other things in another pid namespace.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_OLD_S = 3600.0


class StoreOwner:
    """The claim of this process. `name` marks what it has in the making: rows and file names."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.name = f"{os.getpid()}-{os.urandom(4).hex()}"
        # Created locked: under a temporary name that no process looks at until the lock is held.
        hidden = os.path.join(folder, "." + self.name)
        self._fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        os.rename(hidden, os.path.join(folder, self.name))

    def release(self) -> None:
        """Give the claim up; call it when everything marked with it is committed or removed."""
        if self._fd >= 0:
            os.unlink(os.path.join(self.folder, self.name))
            os.close(self._fd)
            self._fd = -1


@contextmanager
def abandoned(folder: str) -> Iterator[list[str]]:
    """The names of the claims in `folder` whose processes are dead.

    They stay locked while the block sweeps what they left, and are removed after it.
    """
    dead: list[tuple[str, int]] = []
    try:
        for name in os.listdir(folder):
            if name.startswith("."):
                _remove_if_old(os.path.join(folder, name))
                continue
            try:
                fd = os.open(os.path.join(folder, name), os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
            else:
                dead.append((name, fd))
        yield [name for name, _ in dead]
        for name, _ in dead:
            try:
                os.unlink(os.path.join(folder, name))
            except FileNotFoundError:
                pass
    finally:
        for _, fd in dead:
            os.close(fd)


def _remove_if_old(path: str) -> None:
    """Remove a claim that was never finished: its process was killed in the moment between its
    two names, for nothing takes an hour there."""
    with suppress(FileNotFoundError):
        if time.time() - os.stat(path).st_mtime > _OLD_S:
            os.unlink(path)
