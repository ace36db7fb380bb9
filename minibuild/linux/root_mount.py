"""The root directory of a process as a mount point: it is none in a plain chroot(2).

The propagation of mounts is a property of mount points, and pivot_root(2) swaps mount points. So a
process in a chroot that has a mount namespace of its own first makes a mount of its root: a copy of
all mounts from "/" on, attached where it spreads nowhere, and then entered.
See mount_namespaces(7), chroot(2), open_tree(2). Read next: `namespace`.
"""

import errno
import os

from minibuild.linux import syscalls
from minibuild.linux.mountinfo import own_mounts


def is_mount_point() -> bool:
    """Whether the root directory is one, as far as this process can see."""
    return any(mount.point == "/" for mount in own_mounts())


def contain_mounts() -> None:
    """Keep mounts of this process's own mount namespace out of others. Mounts of the machine, such
    as a disk that is plugged in, may still come in."""
    flags = syscalls.MS_REC | syscalls.MS_SLAVE
    try:
        syscalls.mount("", "/", flags=flags)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        _enter_copy()
        syscalls.mount("", "/", flags=flags)


def _enter_copy() -> None:
    """Make a mount point of the root directory.

    Not by a bind mount on itself: the mount it lies in may be shared with the machine, which would
    see it then, and its propagation cannot be changed from here, where its mount point is out of
    sight. /proc is a mount of its own, and can be made private.
    """
    copy = syscalls.open_tree("/", syscalls.OPEN_TREE_CLONE | syscalls.AT_RECURSIVE)
    syscalls.mount("", "/proc", flags=syscalls.MS_PRIVATE)
    syscalls.move_mount(copy, "/proc")
    os.fchdir(copy)
    os.chroot(".")
    os.close(copy)
