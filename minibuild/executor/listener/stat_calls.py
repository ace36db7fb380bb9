"""Calls that look at files: stat(2) and its kind.

A process is shown a device where a placeholder is, and the recorded owner of a file. In all other
cases the kernel goes on with the call. Nearly all looks are of that kind, so it is found out first
whether the file has a record at all: that takes one call, by its path.
"""

import os
from typing import Any

from minibuild.executor.listener.calls import Machine, packed_stat, packed_statx
from minibuild.executor.listener.identity import Identity
from minibuild.executor.listener.identity_calls import IdentityCalls
from minibuild.executor.listener.notifications import Notification
from minibuild.executor.listener.process import FilePlace
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.recorded import takes_attributes
from minibuild.linux.syscalls import AT_EMPTY_PATH


class StatCalls(IdentityCalls):
    """Answers them."""

    __slots__ = ("_machine",)

    def __init__(self, machine: Machine, *ours: Any) -> None:
        super().__init__(*ours)
        self._machine = machine

    def stat(
        self,
        _: Identity,
        call: Notification,
        place: FilePlace,
        into: int,
        *,
        extended: bool = False,
    ) -> int | None:
        """Any of them, as fstatat(2); `extended` is for the result of statx(2)."""
        if not place.path and not place.flags & AT_EMPTY_PATH:
            return None  # That is an error, also where the directory has a record.
        processes = self._processes
        if not processes.rooted or not place.path:
            # Without a path it is the open file that is meant, if anything.
            file = processes.path(place)
            follow = not place.path or place.follow
            if self._owned.shown_as_it_is(file, follow=follow):
                return None
            found = os.stat(file, follow_symlinks=follow)
            if takes_attributes(found.st_mode):  # All others have to be open.
                seen = self._owned.seen(found, file, -1)
                return self._show(call, found, seen, into, extended=extended)
        with closing_fd(processes.open(place)) as fd:
            seen = self._owned.seen(found := os.stat(fd), f"self/fd/{fd}", fd)
            return self._show(call, found, seen, into, extended=extended)

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
