"""Calls that change the ids of a process, and those that ask for them.

See credentials(7). A process that never changed its ids is left to the kernel, which says 0.
"""

import errno
import os
import stat
import struct

from minibuild.executor.listener import process
from minibuild.executor.listener.identity import (
    KEEP,
    Identity,
    changed,
    executing,
    with_capabilities,
    with_groups,
)
from minibuild.executor.listener.identity_calls import IdentityCalls
from minibuild.executor.listener.notifications import Notification
from minibuild.executor.listener.permissions import SEARCH, refused
from minibuild.linux.descriptors import closing_fd

_MOST_GROUPS = 65536
_SETS_IDS = stat.S_ISUID | stat.S_ISGID
ASKED = {
    "getuid": ("user", "real"),
    "geteuid": ("user", "effective"),
    "getgid": ("group", "real"),
    "getegid": ("group", "effective"),
}


class IdCalls(IdentityCalls):
    """Answers them."""

    __slots__ = ()

    def change(self, call: Notification, name: str) -> int:
        """setuid(2) and the like."""
        now = self._identities.of(call.pid)
        new = changed(now, name, *call.arguments)
        self._become(call, now, new)
        if name in ("setfsuid", "setfsgid"):
            return (now.user if name == "setfsuid" else now.group).filesystem
        return 0

    def ask(self, call: Notification, name: str) -> int | None:
        """getuid(2) and the like."""
        now = self._identities.of(call.pid)
        if now is self._identities.first:
            return None
        kind, which = ASKED[name]
        return int(getattr(getattr(now, kind), which))

    def ask_three(self, call: Notification, name: str) -> int | None:
        """getresuid(2), getresgid(2)."""
        now = self._identities.of(call.pid)
        if now is self._identities.first:
            return None
        ids = now.user if name == "getresuid" else now.group
        packed = [struct.pack("=I", id_) for id_ in ids[:3]]
        return 0 if self._write(call, *zip(call.arguments, packed, strict=False)) else None

    def setgroups(self, call: Notification) -> int:
        count = call.arguments[0] & KEEP
        if count > _MOST_GROUPS:
            raise refused(errno.EINVAL)
        data = self._processes.read(call.pid, call.arguments[1], 4 * count) if count else b""
        groups = struct.unpack(f"={count}I", data)
        now = self._identities.of(call.pid)
        new = with_groups(now, tuple(sorted(groups)))  # The kernel sorts them, too.
        self._become(call, now, new)
        return 0

    def getgroups(self, call: Notification) -> int | None:
        now = self._identities.of(call.pid)
        size, address = process.signed(call.arguments[0]), call.arguments[1]
        count = len(now.groups)
        if size < 0 or 0 < size < count:
            raise refused(errno.EINVAL)
        if size and not self._write(call, (address, struct.pack(f"={count}I", *now.groups))):
            return None
        return count

    def execute(self, call: Notification, directory: int, address: int, flags: int = 0) -> None:
        """execveat(2), with which the kernel goes on. Only the ids change if it is a set-user-id
        program, also if it is not found to be a program in the end."""
        self._identities.begun = True
        now = self._identities.of(call.pid)
        path = self._processes.read_path(call.pid, address)
        self._permissions.judge(now, self._check_entering, call, directory, path)
        with closing_fd(self._processes.open_at(call.pid, directory, path, flags)) as fd:
            found = os.stat(fd)
            if now.settled and not found.st_mode & _SETS_IDS:
                return
            found = self._owned.seen(found, f"self/fd/{fd}", fd)
        ambient = now.keeps and int(process.status(call.pid)["CapAmb"], 16) != 0
        new = executing(now, found.st_mode, found.st_uid, found.st_gid, ambient=ambient)
        if found.st_mode & 0o111:
            self._become(call, now, new)

    def _check_entering(self, who: Identity, call: Notification, directory: int, path: str) -> None:
        """Raise `PermissionError` if a file may not be executed, or a directory searched."""
        file = self._permissions.find(who, call.pid, directory, path)
        self._permissions.check(who, file, SEARCH)

    def keep(self, call: Notification) -> None:
        """prctl(2) with PR_SET_KEEPCAPS, which the kernel goes on with."""
        now = self._identities.of(call.pid)
        new = with_capabilities(now, bool(call.arguments[1]))
        self._become(call, now, new)

    def _become(self, call: Notification, now: Identity, new: Identity) -> None:
        # One that no longer waits was killed, and its number may be that of another one.
        if new != now and self._notifications.valid(call):
            self._identities.give(call.pid, new)

    def root(self, call: Notification, directory: int, address: int) -> None:
        """chroot(2), which the kernel goes on with for root."""

        def check(who: Identity) -> None:
            path = self._processes.read_path(call.pid, address)
            self._check_entering(who, call, directory, path)
            raise refused(errno.EPERM)

        self._permissions.judge(self._identities.of(call.pid), check)
        self._processes.rooted = True
        self._permissions.forget()
