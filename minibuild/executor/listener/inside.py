"""Where a process that answers for a step lives: below the step's root, and yet not in the step.

Comes in: descriptors of the step's root and mount namespace. Goes out: this process there, with
/proc of its own pid namespace as its working directory. It is in no list of the step's processes,
none of them can signal or trace it. It loads no module any more: an import would find a file of the
step. See setns(2), mount_namespaces(7).
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from minibuild.linux.channel import close_all
from minibuild.linux.syscalls import CLONE_NEWNS, setns

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class Inside:
    """`root_fd` is the root of the step's tree, `upper_fd` the directory that takes what is written
    there, or -1 if the tree is read-only."""

    __slots__ = (
        "_inside_fd",
        "_mount",
        "_outside_fd",
        "_outside_root_fd",
        "_proc_fd",
        "root_fd",
        "upper_fd",
    )

    def __init__(self, root_fd: int, namespace_fd: int, upper_fd: int) -> None:
        self.root_fd = root_fd
        self.upper_fd = upper_fd
        self._inside_fd = namespace_fd
        self._outside_fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        self._outside_root_fd = os.open("/", _DIRECTORY)
        self._proc_fd = os.open("/proc", _DIRECTORY)
        sys.meta_path.clear()
        self._enter(self._inside_fd, self.root_fd)
        self._mount = _mount_of(root_fd)

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Where the builder is, for a moment."""
        self._enter(self._outside_fd, self._outside_root_fd)
        try:
            yield
        finally:
            self._enter(self._inside_fd, self.root_fd)

    def leave(self) -> None:
        """Go back for good. Where this process was the last one there, the kernel unmounts now."""
        self._enter(self._outside_fd, self._outside_root_fd)
        ours = (self._outside_fd, self._outside_root_fd, self._proc_fd)
        steps = (self.root_fd, self._inside_fd, self.upper_fd)
        close_all([fd for fd in (*ours, *steps) if fd >= 0])

    def _enter(self, namespace_fd: int, root_fd: int) -> None:
        setns(namespace_fd, CLONE_NEWNS)
        os.fchdir(root_fd)
        os.chroot(".")
        os.fchdir(self._proc_fd)

    def is_in_tree(self, fd: int) -> bool:
        """Whether an open file is in the tree itself, and not in what is mounted there."""
        return _mount_of(fd) == self._mount


def _mount_of(fd: int) -> bytes:
    with open(f"self/fdinfo/{fd}", "rb") as file:
        return next(line for line in file if line.startswith(b"mnt_id:"))
