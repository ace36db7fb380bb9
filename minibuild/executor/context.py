"""A build context in a step: the files of this machine as the build sees them, without a copy.

Comes in: a `BindContext`. Goes out: a detached mount. Three things can be in the way, and each has
a mount that helps:

- the files belong to a user of this machine, and are to belong to root: an idmapped mount;
- some must not be seen, or cannot be shown as they are: overlayfs lays a *mask* over them, a layer
  with whiteouts and with replacements;
- the step may write, but to no effect: a layer in memory on top.

What this kernel or this filesystem refuses is reported by `CannotShow`, before anything of the step
has run: then the files are copied. Read next: `fileop.mask`, which makes the layer.
"""

import os
import stat

from minibuild.errors import DefinitionError, os_errors_as
from minibuild.executor.api import BindContext, CannotShow
from minibuild.executor.mounts import Detached, Scratch, clone_mount
from minibuild.linux import syscalls
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.idmapped import show_as_root
from minibuild.linux.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS
from minibuild.snapshot.api import Mount
from minibuild.snapshot.mount import attach

_LITERAL = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS
_BELOW_TOO = syscalls.AT_EMPTY_PATH | syscalls.AT_RECURSIVE


def detach_context(mount: BindContext, scratch: Scratch) -> Detached:
    """The context as a descriptor. Raises `CannotShow`, and `DefinitionError` if it is gone."""
    folder, name, is_dir = _place(mount)
    layered = bool(mount.mask) or mount.writable_discard
    try:
        # An overlay has directories as layers, so a file is taken out of its directory in the end.
        with closing_fd(_opened(mount, folder if layered else mount.source)) as fd:
            mount_fd = clone_mount(fd, recursive=not layered)
        if mount.owner != (0, 0):
            show_as_root(mount_fd, *mount.owner)
        if layered:
            mount_fd = _overlay(mount, mount_fd, name, scratch)
        attributes = syscalls.MOUNT_ATTR_NODEV
        if not mount.writable_discard:
            attributes |= syscalls.MOUNT_ATTR_RDONLY
        syscalls.mount_setattr(mount_fd, attr_set=attributes, flags=_BELOW_TOO)
    except OSError as error:
        raise CannotShow(
            f"{mount.path} cannot be mounted for a step in place: {error}",
            hint="`minibuild doctor` checks this machine",
        ) from error
    return Detached(mount.target, mount_fd, is_dir)


def _place(mount: BindContext) -> tuple[str, str, bool]:
    """The directory that is shown, the name in it of a file that is, and whether it is none."""
    with closing_fd(_opened(mount, mount.source)) as fd:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            return mount.source, "", True
    folder, _, name = mount.source.rpartition("/")
    return folder, name, False


def _opened(mount: BindContext, source: str) -> int:
    what = f"cannot mount /{source} of {mount.path} on {mount.target}"
    with (
        os_errors_as(DefinitionError, what, "did something change the files during the build?"),
        closing_fd(os.open(mount.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as root_fd,
    ):
        return syscalls.openat2(root_fd, source or ".", os.O_PATH, resolve=_LITERAL)


def _overlay(mount: BindContext, mount_fd: int, name: str, scratch: Scratch) -> int:
    """The directory under its mask, and under a layer that takes what is written; or the file
    `name` there."""
    below, merged = scratch.directory(), scratch.directory()
    # Attached, because before Linux 6.15 a detached mount could be no layer of an overlay.
    syscalls.move_mount(mount_fd, below)
    os.close(mount_fd)
    layers = [below]
    if mount.mask:
        mask = scratch.directory()
        if os.path.realpath(mount.mask).startswith(os.path.realpath(mount.path) + "/"):
            # The store is in the context. No layer of an overlay may be in another.
            _copy_layer(mount.mask, mask)
        else:
            attach(Mount((mount.mask,)), mask)
        layers.insert(0, mask)
    top = scratch.upper_layer(layers[0]) if mount.writable_discard else ("", "")
    # Names relative to the folder: its own path may hold a colon or a comma.
    lower, (upper, work) = map(os.path.basename, layers), map(os.path.basename, top)
    attach(Mount(tuple(lower), upper, work, scratch.options, scratch.path), merged)
    with closing_fd(os.open(merged, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
        return clone_mount(fd, name)


def _copy_layer(layer: str, target: str) -> None:
    """A layer of overlayfs in another directory, with its whiteouts and attributes."""
    from shutil import copy2, copystat, copytree

    def copy(source: str, copied: str) -> None:
        found = os.lstat(source)
        if stat.S_ISREG(found.st_mode):
            copy2(source, copied)
        else:
            os.mknod(copied, found.st_mode, found.st_rdev)
            copystat(source, copied)

    copytree(layer, target, symlinks=True, copy_function=copy, dirs_exist_ok=True)
