"""A mount that is in no directory: it lasts as long as its descriptor is open.

Comes in: overlay layers as paths. Goes out: a directory descriptor. When it is closed, or the
process dies, the kernel unmounts. Two ways lead there:

- fsopen(2), fsconfig(2), fsmount(2): made for it. Overlayfs takes its layers one by one
  (`lowerdir+`) since Linux 6.7; before, one string of at most 255 bytes had to hold all of them.
- On older kernels a thread enters a mount namespace of its own, mounts there, opens the
  directory, and ends: the namespace goes, the open mount stays. Namespaces belong to threads
  (unshare(2)), so the rest of the process sees nothing of it.
"""

import errno
import os
import threading
from collections.abc import Sequence

from minibuild.errors import HostError, is_full
from minibuild.linux import syscalls
from minibuild.linux.root_mount import contain_mounts

_ATTRIBUTES = syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class OverlayMount:
    """What to mount: names relative to `folder`, lowerdirs topmost first, and options."""

    __slots__ = ("folder", "lowers", "options", "upper", "work")

    def __init__(
        self,
        folder: str,
        lowers: Sequence[str],
        upper: str | None,
        work: str | None,
        options: Sequence[str],
    ) -> None:
        self.folder = folder
        self.lowers = lowers
        self.upper = upper
        self.work = work
        self.options = options


def open_overlay(overlay: OverlayMount) -> int:
    """Mount an overlay nowhere and open its root."""
    try:
        try:
            return _open_detached(overlay)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
            return open_in_own_namespace(overlay)
    except OSError as error:
        if error.errno == errno.ENOSPC and is_full(overlay.folder):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), overlay.folder) from error
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise  # It has nothing to do with overlays; `errors.lack` explains it.
        hint = error.hint if isinstance(error, syscalls.SyscallError) else ""
        raise HostError(
            f"cannot mount an overlay in {overlay.folder}: {error}",
            hint=hint or "try another folder for the store, or the native snapshotter",
        ) from error


def _open_detached(overlay: OverlayMount) -> int:
    folder_fd = os.open(overlay.folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    fs_fd = -1
    try:
        fs_fd = syscalls.fsopen("overlay")
        # Through the descriptor the paths are short whatever the store's own path is.
        prefix = f"/proc/self/fd/{folder_fd}"
        for lower in overlay.lowers:
            syscalls.fsconfig_string(fs_fd, "lowerdir+", f"{prefix}/{lower}")
        if overlay.upper is not None and overlay.work is not None:
            syscalls.fsconfig_string(fs_fd, "upperdir", f"{prefix}/{overlay.upper}")
            syscalls.fsconfig_string(fs_fd, "workdir", f"{prefix}/{overlay.work}")
        for option in overlay.options:
            key, separator, value = option.partition("=")
            if separator:
                syscalls.fsconfig_string(fs_fd, key, value)
            else:
                syscalls.fsconfig_flag(fs_fd, key)
        syscalls.fsconfig_create(fs_fd)
        attributes = _ATTRIBUTES | (0 if overlay.upper else syscalls.MOUNT_ATTR_RDONLY)
        mount_fd = syscalls.fsmount(fs_fd, attributes)
        try:
            return os.open(".", _DIRECTORY, dir_fd=mount_fd)
        finally:
            os.close(mount_fd)
    finally:
        os.close(folder_fd)
        if fs_fd >= 0:
            os.close(fs_fd)


def mount_data(overlay: OverlayMount) -> str:
    """The options for mount(2), relative to the folder."""
    options = [f"lowerdir={':'.join(overlay.lowers)}"]
    if overlay.upper is not None and overlay.work is not None:
        options += [f"upperdir={overlay.upper}", f"workdir={overlay.work}"]
    return ",".join([*options, *overlay.options])


def open_in_own_namespace(overlay: OverlayMount) -> int:
    """The same for older kernels: mount in a thread that has a mount namespace of its own."""
    opened: list[int] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            opened.append(_mount_and_open(overlay))
        except BaseException as error:  # Handed to the caller's thread.
            failed.append(error)

    thread = threading.Thread(target=work, name="mount")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return opened[0]


def _mount_and_open(overlay: OverlayMount) -> int:
    syscalls.unshare(syscalls.CLONE_NEWNS)  # Gives the thread a working directory of its own, too.
    contain_mounts()
    os.chdir(overlay.folder)
    target = os.path.abspath(overlay.folder)
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | (0 if overlay.upper else syscalls.MS_RDONLY)
    syscalls.mount("overlay", target, "overlay", flags, mount_data(overlay))
    return os.open(target, _DIRECTORY)
