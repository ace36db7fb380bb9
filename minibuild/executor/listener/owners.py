"""Calls that give files to others: chown(2) and its kind.

The kernel is asked to give the file to root, whose it is: so it does what belongs to a change of
owner besides (it takes set-user-id bits and capabilities away, sets the time of the change, copies
the file into the upper layer), and refuses what it would refuse. What was wanted is recorded.
"""

import errno
import os

from minibuild.executor.listener import process
from minibuild.executor.listener.identity import KEEP, may_give
from minibuild.executor.listener.identity_calls import IdentityCalls
from minibuild.executor.listener.notifications import Notification
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.syscalls import AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW
from minibuild.linux.xattr import RECORDS


class ChownCalls(IdentityCalls):
    """Answers them."""

    __slots__ = ()

    def chown(
        self, call: Notification, directory: int, address: int, uid: int, gid: int, flags: int = 0
    ) -> int | None:
        """fchownat(2)."""
        path = self._processes.read_path(call.pid, address)
        if flags & KEEP & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        with closing_fd(self._processes.open_at(call.pid, directory, path, flags)) as fd:
            return self._give(call, fd, uid, gid)

    def fchown(self, call: Notification, number: int, uid: int, gid: int) -> int | None:
        """fchown(2)."""
        with closing_fd(process.open_file(call.pid, number)) as fd:
            return self._give(call, fd, uid, gid)

    def attribute(self, call: Notification) -> int | None:
        """setxattr(2), removexattr(2): that in which owners are recorded is ours, though programs
        find it and copy it (`cp -a`). All others the kernel goes on with."""
        name = self._processes.read_path(call.pid, call.arguments[1])
        return 0 if name in RECORDS else None

    def _give(self, call: Notification, fd: int, uid: int, gid: int) -> int | None:
        uid, gid = uid & KEEP, gid & KEEP
        before = self._owned.owner(fd)
        if not may_give(self._identities.of(call.pid), before, uid, gid):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        if not self._notifications.valid(call):
            return None
        os.chown(f"self/fd/{fd}", 0, 0)
        after = (before[0] if uid == KEEP else uid, before[1] if gid == KEEP else gid)
        if after != before:
            self._owned.give(fd, *after)
        return 0
