"""Trees that are still mounted, although the steps that wrote them have ended.

Comes in: from the executor, the layer that a step wrote, and the step's root as an open directory.
Goes out: the same, closed when that has to be. Closing the last descriptor unmounts the tree, and
then the kernel drops an inode for each file that the step looked at: 60 ms for 20,000.

What the step wrote does not wait for that, because the upperdir is a plain directory, and a
volatile mount writes nothing at its end. But overlayfs calls that directory *in use* as long as it
is mounted, and what another mount shows of it meanwhile is undefined (the kernel's
filesystems/overlayfs, "Sharing and copying layers"). So a tree is closed before its layer is a part
of another mount. What is open at the end of a build is handed to a process that outlives it, with a
lock, so that the next build waits, too.
"""

import fcntl
import os
import threading
from collections.abc import Iterable
from contextlib import suppress

from minibuild.linux.channel import close_all

_LOCK = os.O_RDWR | os.O_CLOEXEC
_MOST = 6
"""A message has room for eight descriptors. Inodes that are not dropped take memory, too."""


class Unmounts:
    """The trees of a store's snapshots that this process has open. Safe in threads."""

    __slots__ = ("_lock", "_lock_path", "_trees", "_waited")

    def __init__(self, lock_path: str) -> None:
        self._lock_path = lock_path
        self._lock = threading.Lock()
        self._trees: dict[str, int] = {}
        self._waited = False

    def add(self, layer: str, tree_fd: int) -> None:
        """Keep the tree open in which a step wrote the directory `layer`."""
        with self._lock:
            self._trees[os.path.normpath(layer)] = tree_fd
            while len(self._trees) > _MOST:
                os.close(self._trees.pop(next(iter(self._trees))))

    def before_mount(self, layers: Iterable[str]) -> None:
        """Unmount the trees of which one of these layers is the upperdir."""
        with self._lock:
            if not self._waited:
                self._waited = True
                with suppress(FileNotFoundError):  # Nothing was handed over yet.
                    os.close(self._locked(0, fcntl.LOCK_EX))
        self.close(layers)

    def close(self, layers: Iterable[str]) -> None:
        """Unmount these trees of this process."""
        with self._lock:
            for layer in layers if self._trees else ():
                tree_fd = self._trees.pop(os.path.normpath(layer), None)
                if tree_fd is not None:
                    os.close(tree_fd)

    def hand_over(self) -> list[int]:
        """All descriptors, to be closed elsewhere: first the lock, which is to be closed last."""
        with self._lock:
            if not self._trees:
                return []
            trees = list(self._trees.values())
            self._trees.clear()
            try:
                return [self._locked(os.O_CREAT, fcntl.LOCK_SH), *trees]
            except OSError:  # The disk may be full; then this process waits for the unmounts.
                close_all(trees)
                return []

    def _locked(self, flags: int, how: int) -> int:
        fd = os.open(self._lock_path, _LOCK | flags, 0o600)
        fcntl.flock(fd, how)
        return fd
