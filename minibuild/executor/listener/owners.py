"""Calls that give files to others: chown(2) and its kind.

The kernel is asked to give the file to root, whose it is: so it does what belongs to a change of
owner besides (it takes set-user-id bits and capabilities away, sets the time of the change, copies
the file into the upper layer), and refuses what it would refuse. What was wanted is recorded.
"""

import errno
import os

from minibuild.executor.listener import process
from minibuild.executor.listener.identity import KEEP, Identity, may_give
from minibuild.executor.listener.identity_calls import IdentityCalls
from minibuild.executor.listener.notifications import Notification
from minibuild.executor.listener.permissions import WRITE, refused
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
            raise refused(errno.EINVAL)
        find, follow = self._permissions.find, not flags & AT_SYMLINK_NOFOLLOW
        who = self._identities.of(call.pid)
        self._permissions.judge(who, find, call.pid, directory, path, follow=follow)
        with closing_fd(self._processes.open_at(call.pid, directory, path, flags)) as fd:
            return self._give(call, fd, uid, gid)

    def fchown(self, call: Notification, number: int, uid: int, gid: int) -> int | None:
        """fchown(2)."""
        with closing_fd(process.open_file(call.pid, number)) as fd:
            return self._give(call, fd, uid, gid)

    def attribute(
        self, call: Notification, directory: int, address: int, name_address: int, flags: int = 0
    ) -> int | None:
        """setxattr(2), removexattr(2): that in which owners are recorded is ours, though programs
        find it and copy it (`cp -a`). All others the kernel goes on with, if the user may."""
        name = self._processes.read_path(call.pid, name_address)
        if name in RECORDS:
            return 0

        def check(who: Identity) -> None:
            file = self._file(call, who, directory, address, flags)
            if name.startswith("user."):
                self._permissions.check(who, file, WRITE)
            elif name.startswith("system."):
                self._permissions.check_change(who, file)
            else:
                raise refused(errno.EPERM)

        self._permissions.judge(self._identities.of(call.pid), check)
        return None

    def _give(self, call: Notification, fd: int, uid: int, gid: int) -> int | None:
        uid, gid = uid & KEEP, gid & KEEP
        before = self._owned.owner(fd)
        if not may_give(self._identities.of(call.pid), before, uid, gid):
            raise refused(errno.EPERM)
        if not self._notifications.valid(call):
            return None
        os.chown(f"self/fd/{fd}", 0, 0)
        self._permissions.forget()
        after = (before[0] if uid == KEEP else uid, before[1] if gid == KEEP else gid)
        if after != before:
            self._owned.give(fd, *after)
        return 0
