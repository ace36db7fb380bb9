"""Calls that make a device, which the kernel refuses in a user namespace.

It becomes a placeholder (`linux.device`), provided that the process could have made it were it
root of the machine.
"""

import errno
import os
import stat
from contextlib import suppress
from typing import Any

from minibuild.executor.listener import process
from minibuild.executor.listener.identity import Identity
from minibuild.executor.listener.identity_calls import IdentityCalls
from minibuild.executor.listener.notifications import Notification
from minibuild.executor.listener.permissions import refused
from minibuild.executor.listener.process import FilePlace
from minibuild.linux import device
from minibuild.linux.descriptors import closing_fd
from minibuild.progress.console import visible

_CAP_MKNOD = 27
DEVICES = (stat.S_IFCHR, stat.S_IFBLK)


class DeviceCalls(IdentityCalls):
    """Answers them. `root_fd` is the root of the step's tree, which is marked when it gets a
    placeholder; a process may have another root, by chroot(2). `stderr` is that of the step."""

    __slots__ = ("_root_fd", "_said", "_stderr")

    def __init__(self, root_fd: int, stderr: int, *ours: Any) -> None:
        super().__init__(*ours)
        self._root_fd = root_fd
        self._stderr = stderr
        self._said = False

    def make(
        self, who: Identity, call: Notification, place: FilePlace, mode: int, number: int
    ) -> int | None:
        """mknodat(2)."""
        kind = stat.S_IFMT(mode)
        status = process.status(call.pid)
        if who.user.effective:
            raise refused(errno.EPERM)
        may = int(status["CapEff"], 16) >> _CAP_MKNOD & 1
        # 0:0 is how overlayfs marks a deletion: no process may make that in a rootfs, not even
        # root's.
        if not may or not place.names_entry or (kind == stat.S_IFCHR and not number):
            return None
        parent_fd, name = self._processes.open_parent(place)
        with closing_fd(parent_fd):
            if not self._notifications.valid(call):
                return None
            fd = device.open_placeholder(parent_fd, name, kind, number)
            os.setxattr(f"self/fd/{self._root_fd}", device.MARK, b"")
        with closing_fd(fd):
            uid, gid = (int(status[key].split()[3]) for key in ("Uid", "Gid"))
            if uid or gid:
                os.fchown(fd, uid, gid)
            os.fchmod(fd, stat.S_IMODE(mode) & ~int(status["Umask"], 8))
        self._say(place.path)
        return 0

    def _say(self, path: str) -> None:
        if not self._said:
            self._said = True
            what = f"{visible(path)} is a device in the image only: it cannot be used in this step"
            with suppress(OSError):
                os.write(self._stderr, f"minibuild: {what}\n".encode())
