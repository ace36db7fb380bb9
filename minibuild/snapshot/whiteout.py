"""How it is written into a layer that a name is gone, or what is below a directory hidden.

Comes in: an open directory of a layer, a name, and the style of the snapshotter. Goes out: a
whiteout there. Overlayfs knows two: a character device 0:0, and, since Linux 6.7, an empty file
with an attribute, in a directory whose own attribute is "x". The second is what layers have that no
kernel reads. Read next: `view`, which reads both.
"""

import os
import stat

from minibuild.linux import xattr
from minibuild.linux.beneath import lstat
from minibuild.snapshot.api import Whiteouts

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def namespace(whiteouts: Whiteouts) -> str | None:
    """How the names of the attributes begin; None if there are none."""
    if whiteouts == "plain":
        return None
    return xattr.LAYER if whiteouts == "marked" else f"{whiteouts}.overlay."


def make(dir_fd: int, name: str, whiteouts: Whiteouts) -> None:
    """Make a whiteout at a name where nothing is."""
    if whiteouts != "marked":
        os.mknod(name, stat.S_IFCHR, 0, dir_fd=dir_fd)
        return
    fd = os.open(name, _NEW, 0o600, dir_fd=dir_fd)
    try:
        xattr.set(fd, f"{xattr.LAYER}whiteout", b"y")
    finally:
        os.close(fd)
    directory, opaque = xattr.at(dir_fd, "."), f"{xattr.LAYER}opaque"
    if xattr.get(directory, opaque) is None:
        xattr.set(directory, opaque, b"x")


def is_one(layer_fd: int, real: str, whiteouts: Whiteouts) -> bool:
    """Whether a whiteout is at a path of a layer, which leads through no symlink."""
    found = lstat(layer_fd, real)
    if found is None:
        return False
    if whiteouts != "marked":
        return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0
    is_empty = stat.S_ISREG(found.st_mode) and not found.st_size
    return is_empty and xattr.get(xattr.at(layer_fd, real), f"{xattr.LAYER}whiteout") is not None


def set_opaque(dir_fd: int, whiteouts: Whiteouts) -> None:
    """Hide what layers below have in a directory."""
    xattr.set(xattr.at(dir_fd, "."), f"{namespace(whiteouts)}opaque", b"y")
