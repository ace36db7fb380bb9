"""Calls that give files to others: chown(2) and its kind.

The kernel is asked to give the file to root, whose it is: so it does what belongs to a change of
owner besides (it takes set-user-id bits and capabilities away, sets the time of the change, copies
the file into the upper layer), and refuses what it would refuse. What was wanted is recorded.
"""

import errno
import os

from minibuild.executor.listener.identity import KEEP, Identity, may_give
from minibuild.executor.listener.identity_calls import IdentityCalls
from minibuild.executor.listener.notifications import Notification
from minibuild.executor.listener.permissions import WRITE, refused
from minibuild.executor.listener.process import FilePlace
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.syscalls import AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW
from minibuild.linux.xattr import RECORDS


class ChownCalls(IdentityCalls):
    """Answers them."""

    __slots__ = ()

    def chown(
        self, who: Identity, call: Notification, place: FilePlace, uid: int, gid: int
    ) -> int | None:
        """fchownat(2), fchown(2)."""
        if place.flags & KEEP & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW):
            raise refused(errno.EINVAL)
        with closing_fd(self._processes.open(place)) as fd:
            return self._give(who, call, fd, uid, gid)

    def check_attribute(self, who: Identity, place: FilePlace, name: str) -> None:
        """setxattr(2), removexattr(2)."""
        if name in RECORDS:
            return
        file = self._permissions.find(who, place)
        if name.startswith("user."):
            self._permissions.check(who, file, WRITE)
        elif name.startswith("system."):
            self._permissions.check_change(who, file)
        else:
            raise refused(errno.EPERM)

    def attribute(
        self, _who: Identity, _call: Notification, _place: FilePlace, name: str
    ) -> int | None:
        """The same: that in which owners are recorded is ours, though programs find it and copy it
        (`cp -a`). All others the kernel goes on with."""
        return 0 if name in RECORDS else None

    def _give(self, who: Identity, call: Notification, fd: int, uid: int, gid: int) -> int | None:
        uid, gid = uid & KEEP, gid & KEEP
        before = self._owned.owner(fd)
        if not may_give(who, before, uid, gid):
            raise refused(errno.EPERM)
        if not self._notifications.valid(call):
            return None
        os.chown(f"self/fd/{fd}", 0, 0)
        self._permissions.forget()
        after = (before[0] if uid == KEEP else uid, before[1] if gid == KEEP else gid)
        if after != before:
            self._owned.give(fd, *after)
        return 0
