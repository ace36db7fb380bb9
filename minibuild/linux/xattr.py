"""Extended attributes of files, never of what a symlink points to. The only user of pyxattr.

Comes in: a descriptor or a path. Goes out: bytes. pyxattr is loaded on first use: a build that
finds everything in its cache reads no attribute. Filesystems and kinds of files without
attributes (tmpfs of old, symlinks and the `user` namespace) answer ENOTSUP, which counts as
"has none". See xattr(7).

pyxattr is compiled where it is installed, so it may be missing. Its module is called `xattr`, and
so is that of another package, which hides it where both are installed. In both cases the calls of
`os` do the same work.
"""

import errno
import os
from functools import cache
from typing import Protocol, cast

from minibuild.errors import HostError

Target = int | str | bytes
"""An open file, or a path; a path's last component is not followed."""

CAPABILITY = "security.capability"
"""What a program may do without root: the one attribute that belongs to the data of a file."""

_CAPABILITY = "user.minibuild.capability"
"""Stands for `CAPABILITY`, which an ordinary account may not set."""

MODE = "user.minibuild.mode"
"""The mode that a file is to have, where that would keep this process out, see `modes`."""

OWNER = "user.rootlesscontainers"
"""The owner that a file is to have and cannot have on disk, see `recorded`."""

RECORDS = frozenset((MODE, OWNER, _CAPABILITY))
"""What minibuild notes of a file of the store. An image or an archive brings none of them."""

LAYER = "user.minibuild.layer."
"""How the names begin by which layers are stacked where overlayfs cannot be mounted."""

OVERLAY = ("trusted.overlay.", "user.overlay.", LAYER)
"""How the names of attributes begin that make sense in one stack of layers only."""

_NONE = (errno.ENOTSUP, errno.ENODATA)
_LARGEST_BYTES = 64 << 10
"""The largest value that the kernel takes."""


def at(dir_fd: int, name: str) -> str:
    """A path to `name` in an open directory: the calls for attributes take no dir_fd."""
    return f"/proc/self/fd/{dir_fd}/{name}"


class _Library(Protocol):
    """What is used of pyxattr."""

    def get(self, item: Target, name: bytes, *, nofollow: bool) -> bytes: ...
    def list(self, item: Target, *, nofollow: bool) -> list[bytes]: ...
    def set(self, item: Target, name: bytes, value: bytes, *, nofollow: bool) -> None: ...
    def remove(self, item: Target, name: bytes, *, nofollow: bool) -> None: ...


class _StandardLibrary:
    """The same by the calls of `os`."""

    def get(self, item: Target, name: bytes, *, nofollow: bool) -> bytes:
        return os.getxattr(item, name, follow_symlinks=not nofollow)

    def list(self, item: Target, *, nofollow: bool) -> list[bytes]:
        return [os.fsencode(name) for name in os.listxattr(item, follow_symlinks=not nofollow)]

    def set(self, item: Target, name: bytes, value: bytes, *, nofollow: bool) -> None:
        os.setxattr(item, name, value, follow_symlinks=not nofollow)

    def remove(self, item: Target, name: bytes, *, nofollow: bool) -> None:
        os.removexattr(item, name, follow_symlinks=not nofollow)


@cache
def _library() -> _Library:
    """pyxattr; or what stands in for it where `xattr` is another module, or cannot be loaded."""
    try:
        import xattr
    except ImportError:
        return _StandardLibrary()
    # The other package has getxattr and listxattr alone.
    return cast(_Library, xattr) if hasattr(xattr, "get_all") else _StandardLibrary()


def is_pyxattr() -> bool:
    """Whether pyxattr is there and used."""
    return not isinstance(_library(), _StandardLibrary)


def get(target: Target, name: str) -> bytes | None:
    """The value of one attribute; None if it is not set, or cannot be."""
    try:
        return _library().get(target, os.fsencode(name), nofollow=not isinstance(target, int))
    except OSError as error:
        if error.errno not in _NONE:
            raise
    return get(target, _CAPABILITY) if name == CAPABILITY else None


def names(target: Target) -> list[str]:
    """The names of all attributes that this process may see."""
    try:
        found = _library().list(target, nofollow=not isinstance(target, int))
    except OSError as error:
        if error.errno in _NONE:
            return []
        raise
    shown = [os.fsdecode(name) for name in found]
    return [CAPABILITY if name == _CAPABILITY else name for name in shown]


def get_all(target: Target) -> dict[str, bytes]:
    """All attributes and their values, without the notes that overlayfs keeps in them."""
    found = {name: get(target, name) for name in names(target) if not name.startswith(OVERLAY)}
    return {name: value for name, value in found.items() if value is not None}


def set(target: Target, name: str, value: bytes, *, tolerant: bool = False) -> bool:
    """Set one attribute. If `tolerant`, say False where the system refuses, instead of raising.

    Refusals are ENOTSUP (the filesystem, or user.* on a symlink) and EPERM (trusted.*,
    security.* or a sticky directory without the privilege). Raises `HostError` if the file has too
    many of them: filesystems say that as they say that they are full.
    """
    try:
        _library().set(target, os.fsencode(name), value, nofollow=not isinstance(target, int))
    except OSError as error:
        if error.errno == errno.EPERM and name == CAPABILITY:
            return set(target, _CAPABILITY, value, tolerant=tolerant)
        if tolerant and error.errno in (errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.EINVAL):
            return False
        if error.errno == errno.ENOSPC and _has_room(target):
            raise HostError(
                f"the extended attributes of {_named(target)} do not fit: its filesystem takes a "
                "few KiB of them for each file",
                hint="set MINIBUILD_ROOT to a folder on xfs or btrfs, which take more (ext4 does "
                "with the feature ea_inode), or remove attributes of the file in its image",
            ) from error
        raise
    return True


def _has_room(target: Target) -> bool:
    """Whether the filesystem of a file is not full: then it is the file that is."""
    # Of a path, that of its directory: this call follows a symlink, and needs what it points to.
    place = target if isinstance(target, int) else os.path.dirname(target)
    found = os.fstatvfs(place) if isinstance(place, int) else os.statvfs(place)
    return found.f_bavail * found.f_frsize > _LARGEST_BYTES and found.f_favail > 0


def _named(target: Target) -> str:
    if isinstance(target, int):
        return os.readlink(f"/proc/self/fd/{target}")
    return (
        os.path.realpath(os.path.dirname(os.fsdecode(target)))
        + "/"
        + os.fsdecode(os.path.basename(target))
    )


def remove(target: Target, name: str) -> None:
    """Remove one attribute; it is fine if it is not there."""
    if name == CAPABILITY and get(target, _CAPABILITY) is not None:
        name = _CAPABILITY
    try:
        _library().remove(target, os.fsencode(name), nofollow=not isinstance(target, int))
    except OSError as error:
        if error.errno not in _NONE:
            raise
