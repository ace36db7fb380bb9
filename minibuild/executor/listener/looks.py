"""Calls that look at files: stat(2) and its kind.

A process is shown a device where a placeholder is, and the recorded owner of a file. In all other
cases the kernel goes on with the call. Nearly all looks are of that kind, so it is found out first
whether the file has a record at all: that takes one call, by its path.
"""

import os
from typing import Any

from minibuild.executor.listener import process
from minibuild.executor.listener.calls import Machine, packed_stat, packed_statx
from minibuild.executor.listener.identity_calls import IdentityCalls
from minibuild.executor.listener.notifications import Notification
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.recorded import takes_attributes
from minibuild.linux.syscalls import AT_SYMLINK_NOFOLLOW


class StatCalls(IdentityCalls):
    """Answers them."""

    __slots__ = ("_machine",)

    def __init__(self, machine: Machine, *ours: Any) -> None:
        super().__init__(*ours)
        self._machine = machine

    def stat(
        self,
        call: Notification,
        directory: int,
        address: int,
        into: int,
        flags: int = 0,
        *,
        extended: bool = False,
    ) -> int | None:
        """Any of them, as fstatat(2); `extended` is for the result of statx(2)."""
        processes = self._processes
        path = processes.read_path(call.pid, address) if address else ""
        if path and not self._identities.alone:
            permissions, follow = self._permissions, not flags & AT_SYMLINK_NOFOLLOW
            who = self._identities.of(call.pid)
            there = permissions.judge(
                who, permissions.find, call.pid, directory, path, follow=follow
            )
            if there is None and not who.overrides:
                return None
        if not processes.rooted:
            # Without a path it is the open file that is meant, if anything.
            name = processes.path(call.pid, directory, path) if path else ""
            follow = not path or not flags & AT_SYMLINK_NOFOLLOW
            file = name or process.base(call.pid, directory)
            if self._owned.shown_as_it_is(file, follow=follow):
                return None
            found = os.stat(file, follow_symlinks=follow)
            if takes_attributes(found.st_mode):  # All others have to be open.
                seen = self._owned.seen(found, file, -1)
                return self._show(call, found, seen, into, extended=extended)
        with closing_fd(processes.open_at(call.pid, directory, path, flags)) as fd:
            seen = self._owned.seen(found := os.stat(fd), f"self/fd/{fd}", fd)
            return self._show(call, found, seen, into, extended=extended)

    def fstat(self, call: Notification, number: int, into: int) -> int | None:
        """fstat(2)."""
        target = process.base(call.pid, number)
        if self._owned.shown_as_it_is(target, follow=True):
            return None
        found = os.stat(target)
        return self._show(call, found, self._owned.seen(found, target, -1), into, extended=False)

    def _show(
        self,
        call: Notification,
        found: os.stat_result,
        seen: os.stat_result,
        into: int,
        *,
        extended: bool,
    ) -> int | None:
        if seen is found:
            return None
        data = packed_statx(seen) if extended else packed_stat(self._machine, seen)
        return 0 if self._write(call, (into, data)) else None
