"""Calls that make files, where the process is not the root that the kernel takes it for.

We make the file, as the call would, and record whose it is before the process can go on. What a
process makes that never changed its ids, the kernel makes: that is right as it is.
"""

import errno
import os
import stat
from collections.abc import Callable
from typing import NoReturn

from minibuild.executor.listener import process
from minibuild.executor.listener.arguments import OpenHow
from minibuild.executor.listener.identity import Identity
from minibuild.executor.listener.identity_calls import IdentityCalls
from minibuild.executor.listener.notifications import Notification
from minibuild.executor.listener.process import FilePlace
from minibuild.linux.descriptors import closing_fd

_NEW = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ITSELF = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_OTHERWISE = os.O_CREAT | os.O_EXCL | os.O_TRUNC | os.O_PATH


class Sent(Exception):
    """The call has its answer already, or wants none any more."""


class CreatingCalls(IdentityCalls):
    """Answers them."""

    __slots__ = ()

    def mkdir(self, who: Identity, call: Notification, place: FilePlace, mode: int) -> int | None:
        """mkdirat(2)."""
        return self._make(who, call, place, mode, lambda fd, name: os.mkdir(name, 0o700, dir_fd=fd))

    def mknod(self, who: Identity, call: Notification, place: FilePlace, mode: int) -> int | None:
        """mknodat(2) of all but devices."""
        kind = stat.S_IFMT(mode) or stat.S_IFREG
        return self._make(
            who, call, place, mode, lambda fd, name: os.mknod(name, kind | 0o600, dir_fd=fd)
        )

    def symlink(
        self, who: Identity, call: Notification, place: FilePlace, target: str
    ) -> int | None:
        """symlinkat(2)."""
        return self._make(
            who, call, place, None, lambda fd, name: os.symlink(target, name, dir_fd=fd)
        )

    def open(
        self,
        who: Identity,
        call: Notification,
        place: FilePlace,
        how: OpenHow,
    ) -> int | None:
        """openat(2) that makes a file. One that is there already the kernel opens, also one that we
        have just made, unless the call is to make it itself."""
        flags, mode, resolve = how
        if who.makes_files_of_root or flags & os.O_PATH:
            return None
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            self._open_nameless(who, call, place, how)
        if not flags & os.O_CREAT or not place.names_entry:
            return None
        try:
            parent_fd, name = self._processes.open_parent(place, resolve)
        except OSError:
            return None  # In /proc/self that is no error: it leads elsewhere for us.
        with closing_fd(parent_fd):
            if not flags & os.O_EXCL and _is_there(parent_fd, name):
                return None
            mode &= 0o7777 & ~_umask(call.pid)
            if not self._notifications.valid(call):
                return None
            # Open as the call would have it, for one that gets this file.
            made = os.open(name, flags & ~_OTHERWISE | _NEW, 0o600, dir_fd=parent_fd)
            with closing_fd(made):
                os.fchmod(made, mode)
                self._own(who, parent_fd, made)
                if flags & os.O_EXCL:
                    self._send(call, made, flags)
        return None

    def _open_nameless(
        self, who: Identity, call: Notification, place: FilePlace, how: OpenHow
    ) -> NoReturn:
        """A file that has no name yet, and may get one."""
        if not place.path:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        flags, mode, resolve = how
        # As the parent of a name that is made there.
        inside = place.with_path(f"{place.path}/.")
        parent_fd, _ = self._processes.open_parent(inside, resolve)
        with closing_fd(parent_fd):
            mode &= 0o7777 & ~_umask(call.pid)
            if not self._notifications.valid(call):
                raise Sent
            with closing_fd(os.open(".", flags | os.O_CLOEXEC, mode, dir_fd=parent_fd)) as made:
                self._own(who, parent_fd, made)
                self._send(call, made, flags)

    def _send(self, call: Notification, made: int, flags: int) -> NoReturn:
        kept = bool(flags & os.O_CLOEXEC)
        self._notifications.answer_with_file(call, made, close_on_exec=kept)
        raise Sent

    def _make(
        self,
        who: Identity,
        call: Notification,
        place: FilePlace,
        mode: int | None,
        make: Callable[[int, str], None],
    ) -> int | None:
        place = place.with_path(place.path.rstrip("/"))
        if who.makes_files_of_root or not place.names_entry:
            return None
        parent_fd, name = self._processes.open_parent(place)
        with closing_fd(parent_fd):
            if not self._notifications.valid(call):
                return None
            make(parent_fd, name)
            with closing_fd(os.open(name, _ITSELF, dir_fd=parent_fd)) as made:
                if mode is not None:
                    # A directory has got that of its parent.
                    kept = os.stat(made).st_mode & stat.S_ISGID
                    os.chmod(f"self/fd/{made}", mode & 0o7777 & ~_umask(call.pid) | kept)
                self._own(who, parent_fd, made)
        return 0

    def _own(self, who: Identity, parent_fd: int, made: int) -> None:
        gid = who.group.filesystem
        if os.stat(parent_fd).st_mode & stat.S_ISGID:
            _, gid = self._owned.owner(parent_fd)
        self._owned.give(made, who.user.filesystem, gid)


def _is_there(dir_fd: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _umask(pid: int) -> int:
    return int(process.status(pid)["Umask"], 8)
