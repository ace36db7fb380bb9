"""The tree of a snapshot, mounted: at a directory, or nowhere at all.

Comes in: a `Mount`. Goes out: the mount, or a directory descriptor. A mount that is in no directory
lasts as long as its descriptor is open: when it is closed, or the process dies, the kernel
unmounts. Two ways lead there:

- fsopen(2), fsconfig(2), fsmount(2): made for it. Overlayfs takes its layers one by one
  (`lowerdir+`) since Linux 6.7; before, one string of at most 255 bytes had to hold all of them.
- On older kernels a thread enters a mount namespace of its own, mounts there, opens the
  directory, and ends: the namespace goes, the open mount stays. Namespaces belong to threads
  (unshare(2)), so the rest of the process sees nothing of it.
"""

import errno
import os
from collections.abc import Callable

from minibuild.errors import HostError, is_full, os_errors_as
from minibuild.linux import syscalls
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.root_mount import contain_mounts
from minibuild.snapshot.api import MAX_DATA_BYTES, Mount

_FLAGS = syscalls.MS_NOSUID | syscalls.MS_NODEV
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def attach(mount: Mount, target: str, flags: int = 0) -> None:
    """Mount a tree at the directory `target`. The `flags` are of those that mount(2) and
    mount_setattr(2) have in common, with the same numbers: MS_NODEV and its neighbours.

    The kernel itself keeps an overlay without an upperdir from being written."""
    if not mount.is_overlay:
        bind = syscalls.MS_BIND | syscalls.MS_REC
        syscalls.mount(mount.layers[0], target, flags=bind)
        flags |= 0 if mount.upper else syscalls.MS_RDONLY
        if flags:
            syscalls.mount_setattr(syscalls.AT_FDCWD, target, attr_set=flags, flags=0)
    elif len(os.fsencode(mount.data)) <= MAX_DATA_BYTES:
        os.chdir(mount.folder or "/")
        syscalls.mount("overlay", target, "overlay", flags, mount.data)
    else:
        hint = "Linux before 6.8 takes 4 KiB of mount options: use fewer layers"
        with os_errors_as(HostError, "cannot stack so many layers", hint):
            mount_fd = _detached(mount, flags)
        with closing_fd(mount_fd):
            syscalls.move_mount(mount_fd, target)


def open_detached(mount: Mount) -> int:
    """Mount an overlay nowhere and open its root."""
    with closing_fd(_detached(mount, _FLAGS)) as fd:
        return os.open(".", _DIRECTORY, dir_fd=fd)


def open_in_own_namespace(mount: Mount) -> int:
    """The same for older kernels: mount in a thread that has a mount namespace of its own."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_mount_and_open, mount).result()


def open_overlay(
    mount: Mount,
    ways: tuple[Callable[[Mount], int], Callable[[Mount], int]] = (
        open_detached,
        open_in_own_namespace,
    ),
) -> int:
    """Open the root of an overlay that is mounted nowhere: by the second way where this kernel does
    not know the first one."""
    try:
        try:
            return ways[0](mount)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
            return ways[1](mount)
    except OSError as error:
        if error.errno == errno.ENOSPC and is_full(mount.folder):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), mount.folder) from error
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise  # It has nothing to do with overlays; `errors.lack` explains it.
        hint = error.hint if isinstance(error, syscalls.SyscallError) else ""
        raise HostError(
            f"cannot mount an overlay in {mount.folder}: {error}",
            hint=hint or "try another folder for the store, or the native snapshotter",
        ) from error


def _detached(mount: Mount, flags: int) -> int:
    """An overlay that is attached nowhere."""
    with closing_fd(os.open(mount.folder, _DIRECTORY)) as fd:
        paths = [("lowerdir+", lower) for lower in mount.lower]
        if mount.upper:
            paths += [("upperdir", mount.upper), ("workdir", mount.work)]
        # Through the descriptor the paths are short whatever the store's own path is.
        options = [(key, os.path.join(f"/proc/self/fd/{fd}", path)) for key, path in paths]
        for option in mount.options:
            key, _, value = option.partition("=")
            options.append((key, value))
        return syscalls.new_filesystem("overlay", options, flags)


def _mount_and_open(mount: Mount) -> int:
    syscalls.unshare(syscalls.CLONE_NEWNS)  # Gives the thread a working directory of its own, too.
    contain_mounts()
    target = os.path.abspath(mount.folder)
    attach(mount, target, _FLAGS)
    return os.open(target, _DIRECTORY)
