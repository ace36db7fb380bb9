"""Calls that the kernel refuses to some users: to remove, to rename, to change a mode, to ask.

Comes in: who calls, and the arguments of the call. Goes out: `PermissionError`, or nothing; then
the kernel goes on with the call. For calls that make files `permissions` does the same.
"""

import os
import stat
import struct

from minibuild.executor.listener.identity import Identity, in_real_ids, may_change
from minibuild.executor.listener.identity_calls import IdentityCalls
from minibuild.executor.listener.notifications import Notification
from minibuild.executor.listener.permissions import SEARCH, WRITE, NotJudged
from minibuild.executor.listener.process import FilePlace
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.syscalls import AT_SYMLINK_NOFOLLOW

_AT_EACCESS, _AT_SYMLINK_FOLLOW = 0x200, 0x400
_EXCHANGE = 2
_TIMES = struct.Struct("=qqqq")
_NOW, _OMIT = (1 << 30) - 1, (1 << 30) - 2


class Guards(IdentityCalls):
    """Checks them."""

    __slots__ = ()

    def unlink(self, who: Identity, place: FilePlace) -> None:
        """unlinkat(2), rmdir(2)."""
        self._permissions.check_removal(who, *self._permissions.parent(who, place))

    def rename(self, who: Identity, old: FilePlace, new: FilePlace, flags: int = 0) -> None:
        """renameat2(2)."""
        permissions = self._permissions
        source, name = permissions.parent(who, old)
        target, new_name = permissions.parent(who, new)
        moved = [permissions.check_removal(who, source, name)]
        try:
            replaced = permissions.check_removal(who, target, new_name)
            moved += [replaced] if flags & _EXCHANGE else []
        except FileNotFoundError:
            permissions.check(who, target, WRITE | SEARCH)
        if not os.path.samestat(source[1], target[1]):
            for entry in moved:
                if stat.S_ISDIR(entry[1].st_mode):
                    permissions.check(who, entry, WRITE)  # Its `..` changes.

    def link(self, who: Identity, old: FilePlace, new: FilePlace) -> None:
        """linkat(2)."""
        if not old.flags & _AT_SYMLINK_FOLLOW:
            old = FilePlace(old.pid, old.directory, old.path, AT_SYMLINK_NOFOLLOW)
        try:
            self._permissions.check_link(who, self._permissions.find(who, old))
        except NotJudged:
            pass  # That is how a nameless file gets a name.
        self._permissions.check_making(who, new)

    def truncate(self, who: Identity, place: FilePlace) -> None:
        """truncate(2)."""
        file = self._permissions.find(who, place)
        if stat.S_ISREG(file[1].st_mode):
            self._permissions.check(who, file, WRITE)

    def check_chmod(self, who: Identity, place: FilePlace, _mode: int) -> None:
        """fchmodat2(2)."""
        self._permissions.check_change(who, self._permissions.find(who, place))

    def chmod(self, who: Identity, call: Notification, place: FilePlace, mode: int) -> int | None:
        """The same where the mode has a bit that is for the owner's groups: for others it is left
        out in silence."""
        if who.overrides or not mode & stat.S_ISGID:
            return None
        try:
            file = self._permissions.find(who, place)
        except FileNotFoundError:
            return None  # The kernel says what is missing: a name, or an open file.
        if who.has_group(self._owned.owner_at(*file)[1]):
            return None
        with closing_fd(os.open(file[0], os.O_PATH | os.O_CLOEXEC)) as fd:
            if self._notifications.valid(call):
                os.chmod(f"self/fd/{fd}", mode & 0o7777 & ~stat.S_ISGID)
        return 0

    def times(self, who: Identity, place: FilePlace, times: int, *, special: bool = False) -> None:
        """utimensat(2); `special`: nanoseconds have values that mean another thing."""
        touches = not times
        if times and special:
            _, accessed, _, modified = _TIMES.unpack(
                self._processes.read(place.pid, times, _TIMES.size)
            )
            if accessed == modified == _OMIT:
                return
            touches = accessed == modified == _NOW
        file = self._permissions.find(who, place)
        if not touches:
            self._permissions.check_change(who, file)
        elif not may_change(who, self._owned.owner_at(*file)):
            self._permissions.check(who, file, WRITE)

    def chdir(self, who: Identity, place: FilePlace) -> None:
        """chdir(2), fchdir(2)."""
        file = self._permissions.find(who, place)
        if stat.S_ISDIR(file[1].st_mode):
            self._permissions.check(who, file, SEARCH)

    def access(self, who: Identity, _call: Notification, place: FilePlace, mode: int) -> None:
        """faccessat2(2), which asks for the real ids, unless a flag says otherwise: also for who is
        root otherwise."""
        asking = who if place.flags & _AT_EACCESS else in_real_ids(who)
        if not asking.overrides:
            file = self._permissions.find(asking, place)
            self._permissions.check(asking, file, mode & 0o7)
