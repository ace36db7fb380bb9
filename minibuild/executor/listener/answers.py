"""Who answers which call, by its name: each family has an object that knows the rules.

Comes in: names as in `calls`. Goes out: functions that take a call as it was made. Most calls have
two forms: one whose path starts in the working directory, and a younger one that begins with the
number of an open directory. See path_resolution(7), openat(2).
"""

import os
import stat
from collections.abc import Callable
from functools import partial

from minibuild.executor.listener.creations import CreatingCalls
from minibuild.executor.listener.guards import GuardedCalls
from minibuild.executor.listener.identity import CHANGES
from minibuild.executor.listener.ids import ASKED, IdCalls
from minibuild.executor.listener.looks import StatCalls
from minibuild.executor.listener.nodes import DEVICES, DeviceCalls
from minibuild.executor.listener.notifications import Notification
from minibuild.executor.listener.owners import ChownCalls
from minibuild.executor.listener.process import signed
from minibuild.linux.syscalls import AT_FDCWD, AT_SYMLINK_NOFOLLOW

Handler = Callable[[Notification], int | None]
OF_USERS = frozenset(ASKED) | frozenset(
    "getresuid getresgid mkdir mkdirat open openat openat2 creat symlink symlinkat".split()
)
"""Calls that are left to the kernel as long as each process is root, with those of `guarding`."""
_CREAT = os.O_CREAT | os.O_WRONLY | os.O_TRUNC


def _here(handler: Callable[..., int | None], count: int) -> Handler:
    """A call of `count` arguments whose path starts in the working directory."""
    return lambda call: handler(call, AT_FDCWD, *call.arguments[:count])


def _at(handler: Callable[..., int | None], count: int) -> Handler:
    """The same in an open directory."""
    return lambda call: handler(call, signed(call.arguments[0]), *call.arguments[1 : count + 1])


def _open(handler: Callable[..., int | None], count: int) -> Handler:
    """A call about an open file, for which another one would have a path."""
    return lambda call: handler(call, signed(call.arguments[0]), 0, *call.arguments[1 : count + 1])


def _here_both(handler: Callable[..., int | None]) -> Handler:
    """A call with two paths."""
    return lambda call: handler(call, AT_FDCWD, call.arguments[0], AT_FDCWD, call.arguments[1])


def _between(handler: Callable[..., int | None], count: int) -> Handler:
    """The same, each path in an open directory."""

    def answer(call: Notification) -> int | None:
        old_directory, old, directory, *rest = call.arguments[:count]
        return handler(call, signed(old_directory), old, signed(directory), *rest)

    return answer


def looking(looks: StatCalls) -> dict[str, Handler]:
    """Calls that look at files."""

    def statx(
        call: Notification, directory: int, path: int, flags: int, _mask: int, into: int
    ) -> int | None:
        return looks.stat(call, directory, path, into, flags, extended=True)

    return {
        "stat": _here(looks.stat, 2),
        "lstat": _here(partial(looks.stat, flags=AT_SYMLINK_NOFOLLOW), 2),
        "fstat": _at(looks.fstat, 1),
        "newfstatat": _at(looks.stat, 3),
        "statx": _at(statx, 4),
    }


def making(nodes: DeviceCalls, creations: CreatingCalls) -> dict[str, Handler]:
    """Calls that make files."""

    def node(
        call: Notification, directory: int, address: int, mode: int, number: int
    ) -> int | None:
        # The kernel takes the lower half of both registers.
        mode, number = mode & 0xFFFF, number & 0xFFFFFFFF
        if stat.S_IFMT(mode) in DEVICES:
            return nodes.make(call, directory, address, mode, number)
        return creations.mknod(call, directory, address, mode)

    def creat(call: Notification, directory: int, address: int, mode: int) -> int | None:
        return creations.open(call, directory, address, _CREAT, mode)

    def symlinkat(call: Notification) -> int | None:
        target, directory, address = call.arguments[:3]
        return creations.symlink(call, signed(directory), target, address)

    return {
        "mknod": _here(node, 3),
        "mknodat": _at(node, 3),
        "mkdir": _here(creations.mkdir, 2),
        "mkdirat": _at(creations.mkdir, 2),
        "open": _here(creations.open, 3),
        "openat": _at(creations.open, 3),
        "openat2": _at(creations.open2, 3),
        "creat": _here(creat, 2),
        "symlink": _here(creations.symlink, 2),
        "symlinkat": symlinkat,
    }


def owning(owners: ChownCalls, ids: IdCalls) -> dict[str, Handler]:
    """Calls about owners, and about who the process is."""
    return {
        **{name: partial(ids.change, name=name) for name in CHANGES},
        **{name: partial(ids.ask, name=name) for name in ASKED},
        **{name: partial(ids.ask_three, name=name) for name in ("getresuid", "getresgid")},
        "setgroups": ids.setgroups,
        "getgroups": ids.getgroups,
        "execve": _here(ids.execute, 1),
        "execveat": lambda call: ids.execute(
            call, signed(call.arguments[0]), call.arguments[1], call.arguments[4]
        ),
        "chown": _here(owners.chown, 3),
        "lchown": _here(partial(owners.chown, flags=AT_SYMLINK_NOFOLLOW), 3),
        "fchown": _at(owners.fchown, 2),
        "fchownat": _at(owners.chown, 4),
        "setxattr": _here(owners.attribute, 2),
        "removexattr": _here(owners.attribute, 2),
        "lsetxattr": _here(partial(owners.attribute, flags=AT_SYMLINK_NOFOLLOW), 2),
        "lremovexattr": _here(partial(owners.attribute, flags=AT_SYMLINK_NOFOLLOW), 2),
        "fsetxattr": _open(owners.attribute, 1),
        "fremovexattr": _open(owners.attribute, 1),
        "chroot": _here(ids.root, 1),
        "prctl": ids.keep,
        "pretended": lambda call: 0,
    }


def guarding(guards: GuardedCalls) -> dict[str, Handler]:
    """Calls that are refused to some users."""
    judged, changing = guards.judged, guards.changing
    rename, link = changing(guards.rename), changing(guards.link)
    return {
        "unlink": _here(changing(guards.unlink), 1),
        "rmdir": _here(changing(guards.unlink), 1),
        "unlinkat": _at(changing(guards.unlink), 1),
        "rename": _here_both(rename),
        "renameat": _between(rename, 4),
        "renameat2": _between(rename, 5),
        "link": _here_both(link),
        "linkat": _between(link, 5),
        "truncate": _here(judged(guards.truncate), 1),
        "chmod": _here(changing(guards.chmod), 2),
        "fchmod": _open(changing(guards.chmod), 1),
        "fchmodat": _at(changing(guards.chmod), 2),
        "fchmodat2": _at(changing(guards.chmod), 3),
        "utime": _here(judged(guards.times), 2),
        "utimes": _here(judged(guards.times), 2),
        "futimesat": _at(judged(guards.times), 2),
        "utimensat": _at(judged(partial(guards.times, special=True)), 3),
        "chdir": _here(judged(guards.chdir), 1),
        "fchdir": _open(judged(guards.chdir), 0),
        "access": _here(guards.access, 2),
        "faccessat": _at(guards.access, 2),
        "faccessat2": _at(guards.access, 3),
    }
