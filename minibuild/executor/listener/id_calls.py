"""Calls that change the ids of a process, and those that ask for them.

See credentials(7). A process that never changed its ids is left to the kernel, which says 0.
"""

import errno
import os
import stat
import struct
from typing import Any

from minibuild.executor.listener import process
from minibuild.executor.listener.identities import Identities
from minibuild.executor.listener.identity import (
    KEEP,
    Identity,
    IdKind,
    changed,
    executing,
    with_capabilities,
    with_groups,
)
from minibuild.executor.listener.identity_calls import IdentityCalls
from minibuild.executor.listener.notifications import Notification
from minibuild.executor.listener.permissions import SEARCH, refused
from minibuild.executor.listener.process import FilePlace
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
    """Answers them. `now` is who calls."""

    __slots__ = ("_identities",)

    def __init__(self, identities: Identities, *ours: Any) -> None:
        super().__init__(*ours)
        self._identities = identities

    def change(self, now: Identity, call: Notification, *, name: str) -> int:
        """setuid(2) and the like."""
        self._become(call, now, changed(now, name, *call.arguments))
        if name in ("setfsuid", "setfsgid"):
            return (now.user if name == "setfsuid" else now.group).filesystem
        return 0

    def ask(self, now: Identity, _: Notification, *, name: str) -> int:
        """getuid(2) and the like."""
        kind, which = ASKED[name]
        return int(getattr(getattr(now, kind), which))

    def tell(self, now: Identity, call: Notification, *addresses: int, kind: IdKind) -> int | None:
        """getresuid(2), getresgid(2)."""
        packed = [struct.pack("=I", id_) for id_ in getattr(now, kind)[:3]]
        return 0 if self._write(call, *zip(addresses, packed, strict=True)) else None

    def setgroups(self, now: Identity, call: Notification, count: int, address: int) -> int:
        count &= KEEP
        if count > _MOST_GROUPS:
            raise refused(errno.EINVAL)
        data = self._processes.read(call.pid, address, 4 * count) if count else b""
        groups = struct.unpack(f"={count}I", data)
        new = with_groups(now, tuple(sorted(groups)))  # The kernel sorts them, too.
        self._become(call, now, new)
        return 0

    def getgroups(self, now: Identity, call: Notification, size: int, address: int) -> int | None:
        size = process.signed(size)
        count = len(now.groups)
        if size < 0 or 0 < size < count:
            raise refused(errno.EINVAL)
        if size and not self._write(call, (address, struct.pack(f"={count}I", *now.groups))):
            return None
        return count

    def check_entering(self, who: Identity, place: FilePlace) -> None:
        """Raise `PermissionError` if a file may not be executed, or a directory searched."""
        self._permissions.check(who, self._permissions.find(who, place), SEARCH)

    def execute(self, now: Identity, call: Notification, place: FilePlace) -> None:
        """execveat(2), with which the kernel goes on. Only the ids change if it is a set-user-id
        program, also if it is not found to be a program in the end."""
        self._identities.begun = True
        with closing_fd(self._processes.open(place)) as fd:
            found = os.stat(fd)
            if now.settled and not found.st_mode & _SETS_IDS:
                return
            found = self._owned.seen(found, f"self/fd/{fd}", fd)
        ambient = now.keeps and int(process.status(call.pid)["CapAmb"], 16) != 0
        new = executing(now, found.st_mode, found.st_uid, found.st_gid, ambient=ambient)
        if found.st_mode & 0o111:
            self._become(call, now, new)

    def keep(self, now: Identity, call: Notification, keeps: int) -> None:
        """prctl(2) with PR_SET_KEEPCAPS, which the kernel goes on with."""
        self._become(call, now, with_capabilities(now, bool(keeps)))

    def _become(self, call: Notification, now: Identity, new: Identity) -> None:
        # One that no longer waits was killed, and its number may be that of another one.
        if new != now and self._notifications.valid(call):
            self._identities.give(call.pid, new)

    def check_root(self, who: Identity, place: FilePlace) -> None:
        """chroot(2), which is for root alone."""
        self.check_entering(who, place)
        raise refused(errno.EPERM)

    def root(self, _who: Identity, _call: Notification, _place: FilePlace) -> None:
        """The same, which the kernel goes on with."""
        self._processes.rooted = True
        self._permissions.forget()
