"""Calls that the kernel refuses to some users: to remove, to rename, to change a mode, to ask.

A process that is root to itself never gets here, see `Permissions.judge`. For others each call is
looked at as its user: `PermissionError` is its answer, and with all else the kernel goes on.
Calls that make files are in `creations`, which asks `permissions` as well.
"""

import os
import stat
import struct
from collections.abc import Callable

from minibuild.executor.listener.identity import Identity, in_real_ids, may_change
from minibuild.executor.listener.identity_calls import IdentityCalls
from minibuild.executor.listener.notifications import Notification
from minibuild.executor.listener.permissions import SEARCH, WRITE, NotJudged, PathStat
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.syscalls import AT_SYMLINK_NOFOLLOW

_AT_EACCESS, _AT_SYMLINK_FOLLOW = 0x200, 0x400
_EXCHANGE = 2
_TIMES = struct.Struct("=qqqq")
_NOW, _OMIT = (1 << 30) - 1, (1 << 30) - 2


class GuardedCalls(IdentityCalls):
    """Answers them. `who` makes the call, and is not root."""

    __slots__ = ()

    def judged(self, check: Callable[..., int | None]) -> Callable[..., int | None]:
        """What answers a call by a check of this class."""

        def answer(call: Notification, *arguments: int) -> int | None:
            who = self._identities.of(call.pid)
            return self._permissions.judge(who, check, call, *arguments)

        return answer

    def changing(self, check: Callable[..., int | None]) -> Callable[..., int | None]:
        """The same for a call that changes where paths lead, or who may follow them."""
        judging = self.judged(check)

        def answer(call: Notification, *arguments: int) -> int | None:
            self._permissions.forget()
            return judging(call, *arguments)

        return answer

    def _parent(
        self, call: Notification, who: Identity, directory: int, address: int
    ) -> tuple[PathStat, str]:
        path = self._processes.read_path(call.pid, address)
        return self._permissions.parent(who, call.pid, directory, path)

    def unlink(self, who: Identity, call: Notification, directory: int, address: int) -> None:
        """unlinkat(2), rmdir(2)."""
        self._permissions.check_removal(who, *self._parent(call, who, directory, address))

    def rename(
        self,
        who: Identity,
        call: Notification,
        old_directory: int,
        old: int,
        directory: int,
        new: int,
        flags: int = 0,
    ) -> None:
        """renameat2(2)."""
        permissions = self._permissions
        source, name = self._parent(call, who, old_directory, old)
        target, new_name = self._parent(call, who, directory, new)
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

    def link(
        self,
        who: Identity,
        call: Notification,
        old_directory: int,
        old: int,
        directory: int,
        new: int,
        flags: int = 0,
    ) -> None:
        """linkat(2)."""
        last = 0 if flags & _AT_SYMLINK_FOLLOW else AT_SYMLINK_NOFOLLOW
        try:
            self._permissions.check_link(who, self._file(call, who, old_directory, old, last))
        except NotJudged:
            pass  # That is how a nameless file gets a name.
        path = self._processes.read_path(call.pid, new)
        self._permissions.check_making(who, call.pid, directory, path)

    def truncate(self, who: Identity, call: Notification, directory: int, address: int) -> None:
        """truncate(2)."""
        file = self._file(call, who, directory, address)
        if stat.S_ISREG(file[1].st_mode):
            self._permissions.check(who, file, WRITE)

    def chmod(
        self,
        who: Identity,
        call: Notification,
        directory: int,
        address: int,
        mode: int,
        flags: int = 0,
    ) -> int | None:
        """fchmodat2(2)."""
        file = self._file(call, who, directory, address, flags)
        self._permissions.check_change(who, file)
        if not mode & stat.S_ISGID or who.has_group(self._owned.owner_at(*file)[1]):
            return None
        # The bit is for the owner's groups. For others it is left out in silence.
        with closing_fd(os.open(file[0], os.O_PATH | os.O_CLOEXEC)) as fd:
            if self._notifications.valid(call):
                os.chmod(f"self/fd/{fd}", mode & 0o7777 & ~stat.S_ISGID)
        return 0

    def times(
        self,
        who: Identity,
        call: Notification,
        directory: int,
        address: int,
        times: int,
        flags: int = 0,
        *,
        special: bool = False,
    ) -> None:
        """utimensat(2); `special`: nanoseconds have values that mean another thing."""
        touches = not times
        if times and special:
            _, accessed, _, modified = _TIMES.unpack(
                self._processes.read(call.pid, times, _TIMES.size)
            )
            if accessed == modified == _OMIT:
                return
            touches = accessed == modified == _NOW
        file = self._file(call, who, directory, address, flags)
        if not touches:
            self._permissions.check_change(who, file)
        elif not may_change(who, self._owned.owner_at(*file)):
            self._permissions.check(who, file, WRITE)

    def chdir(self, who: Identity, call: Notification, directory: int, address: int) -> None:
        """chdir(2), fchdir(2)."""
        file = self._file(call, who, directory, address)
        if stat.S_ISDIR(file[1].st_mode):
            self._permissions.check(who, file, SEARCH)

    def access(
        self, call: Notification, directory: int, address: int, mode: int, flags: int = 0
    ) -> None:
        """faccessat2(2), which asks for the real ids, unless a flag says otherwise."""
        who = self._identities.of(call.pid)
        asking = who if flags & _AT_EACCESS else in_real_ids(who)

        def check(who: Identity) -> None:
            file = self._file(call, who, directory, address, flags)
            self._permissions.check(who, file, mode & 0o7)

        self._permissions.judge(asking, check)
