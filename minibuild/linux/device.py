"""Device nodes, also where the kernel refuses to make them.

Comes in: an open directory, a name, a type and a number. Goes out: a device node, or a
*placeholder* for one. In a user namespace mknod(2) of a device is refused to every process, but a
build without root is to give the image that it gives with root. So an empty file stands for the
device there. It has the device's owner, mode and times; its type and number are in an extended
attribute. Code that packs, copies or compares files takes it for the device, see `seen`.

A placeholder is empty: one that a step wrote to is an ordinary file from then on.
A tree with placeholders has a *mark* on its root directory, because few trees have any, and
asking each file of the others would be a waste. See mknod(2), user_namespaces(7), xattr(7).
"""

import os
import stat
from typing import Any

PLACEHOLDER = "user.minibuild.device"
MARK = "user.minibuild.devices"
_WORDS = {stat.S_IFCHR: "char", stat.S_IFBLK: "block"}
_KINDS = {word: kind for kind, word in _WORDS.items()}
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def make(dir_fd: int, name: str, kind: int, rdev: int, root_fd: int) -> None:
    """Make a node of mode 0600, or its placeholder; `root_fd` is the root of the tree.

    `kind` is a type as in `st_mode`, also that of a fifo or socket. Raises `PermissionError` where
    neither is possible, `FileExistsError`, and so on.
    """
    try:
        os.mknod(name, kind | 0o600, rdev, dir_fd=dir_fd)
    except PermissionError:
        if kind not in _WORDS:
            raise
        make_placeholder(dir_fd, name, kind, rdev, root_fd)


def make_placeholder(dir_fd: int, name: str, kind: int, rdev: int, root_fd: int = -1) -> None:
    """Make an empty file that stands for a device, and mark the tree, if one is given."""
    os.close(open_placeholder(dir_fd, name, kind, rdev, root_fd))


def open_placeholder(dir_fd: int, name: str, kind: int, rdev: int, root_fd: int = -1) -> int:
    """The same, and stay at it: the name may be that of another file soon."""
    fd = os.open(name, _NEW, 0o600, dir_fd=dir_fd)
    text = f"{_WORDS[kind]} {os.major(rdev)}:{os.minor(rdev)}"
    try:
        os.setxattr(fd, PLACEHOLDER, text.encode())
        if root_fd >= 0:
            os.setxattr(f"/proc/self/fd/{root_fd}", MARK, b"")
    except OSError as error:
        # Such as ENOTSUP of a filesystem without attributes.
        os.close(fd)
        os.unlink(name, dir_fd=dir_fd)
        raise PermissionError(error.errno, error.strerror, name) from error
    return fd


def is_marked(root: str) -> bool:
    """Whether placeholders were made in the tree whose root directory is `root`."""
    try:
        os.getxattr(root, MARK)
    except OSError:
        return False
    return True


def seen(found: os.stat_result, target: str | int) -> os.stat_result:
    """What a file is to a build: `found`, or for a placeholder what the device would have.

    `target` is where the file can be reached: a path, or an open file.
    """
    if found.st_size or not stat.S_ISREG(found.st_mode):
        return found
    device = _device(target)
    if device is None:
        return found
    kind, rdev = device
    return altered(found, mode=kind | stat.S_IMODE(found.st_mode), rdev=rdev)


def _device(target: str | int) -> tuple[int, int] | None:
    try:
        # Its last component is no symlink: it was looked at.
        text = os.fsdecode(os.getxattr(target, PLACEHOLDER))
        word, _, number = text.partition(" ")
        major, _, minor = number.partition(":")
        return _KINDS[word], os.makedev(int(major), int(minor))
    except (OSError, KeyError, ValueError, OverflowError):
        return None  # None, or none of ours.


def altered(
    found: os.stat_result,
    *,
    mode: int | None = None,
    uid: int | None = None,
    gid: int | None = None,
    rdev: int | None = None,
) -> os.stat_result:
    """`found` with other values for what is given; all else stays, nanoseconds included."""
    # As copy.replace would do it: what its constructor takes is what it reduces to.
    made_from: Any = found.__reduce__()[1]
    values, named = list(made_from[0]), dict(made_from[1])
    for position, value in ((stat.ST_MODE, mode), (stat.ST_UID, uid), (stat.ST_GID, gid)):
        if value is not None:
            values[position] = value
    if rdev is not None:
        named["st_rdev"] = rdev
    return os.stat_result(values, named)
