"""One entry made like another: a file, a link, a device, a directory's metadata.

Comes in: a source path that this process may read, and a name in an open directory. Goes out: the
same thing there. The order is fixed: create, chown, chmod, extended attributes, times. Changing
the owner clears set-id bits and drops file capabilities (chown(2), capabilities(7)), and
everything before it touches the times.
"""

import errno
import os
import stat
import threading
from contextlib import suppress

from minibuild.errors import raise_if_cancelled
from minibuild.linux import device, owner, xattr
from minibuild.linux.holes import extents
from minibuild.snapshot.compare import attributes

_CHUNK_BYTES = 1 << 20
_COPY_BYTES = 64 << 20
"""What the kernel copies at once, to be asked in between whether anybody still wants it."""

_NO_COPY_RANGE = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)


def copy(source: str, dir_fd: int, name: str, cancelled: threading.Event | None = None) -> None:
    """Make `name` a copy of `source`, which is no directory. The name must be free."""
    found = os.lstat(source)
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFREG:
        _copy_file(source, dir_fd, name, cancelled)
        return
    if kind == stat.S_IFLNK:
        os.symlink(os.readlink(source), name, dir_fd=dir_fd)
    else:
        # A socket's node can be made without a socket; what listened is long gone.
        os.mknod(name, kind | 0o600, found.st_rdev, dir_fd=dir_fd)
    owner.chown(dir_fd, name, found.st_uid, found.st_gid)
    if kind != stat.S_IFLNK:
        os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=dir_fd)
    _set_attributes(xattr.at(dir_fd, name), attributes(source))
    times = (found.st_atime_ns, found.st_mtime_ns)
    os.utime(name, ns=times, dir_fd=dir_fd, follow_symlinks=False)


def _copy_file(source: str, dir_fd: int, name: str, cancelled: threading.Event | None) -> None:
    # Not through O_NONBLOCK or O_NOFOLLOW tricks: the layer is ours, and the type was looked at.
    from_fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        to_fd = os.open(name, flags, 0o600, dir_fd=dir_fd)
        try:
            found = os.fstat(from_fd)
            copy_data(from_fd, to_fd, found.st_size, cancelled)
            _set_metadata(from_fd, to_fd, found, name)
            os.utime(to_fd, ns=(found.st_atime_ns, found.st_mtime_ns))
        finally:
            os.close(to_fd)
    finally:
        os.close(from_fd)


def copy_data(
    from_fd: int, to_fd: int, size: int, cancelled: threading.Event | None = None
) -> None:
    """Copy contents: shared blocks (reflink) where the filesystem can, no holes filled."""
    for start, end in extents(from_fd, size):
        _copy_extent(from_fd, to_fd, start, end, cancelled)
    os.ftruncate(to_fd, size)


def _copy_extent(
    from_fd: int, to_fd: int, start: int, end: int, cancelled: threading.Event | None
) -> None:
    while start < end:
        raise_if_cancelled(cancelled, "copying files")
        try:
            count = min(end - start, _COPY_BYTES)
            copied = os.copy_file_range(from_fd, to_fd, count, start, start)
        except OSError as error:
            if error.errno not in _NO_COPY_RANGE:
                raise
            copied = os.pwrite(
                to_fd, os.pread(from_fd, min(end - start, _CHUNK_BYTES), start), start
            )
        if copied == 0:
            break  # The file became shorter meanwhile.
        start += copied


def like_directory(source: str, dir_fd: int) -> os.stat_result:
    """Give an open directory the metadata of `source`, but for the times, which come last."""
    found = os.lstat(source)
    _set(dir_fd, found, source)
    _set_attributes(dir_fd, attributes(source))
    return found


def inherit_root(source: str, target: str) -> None:
    """Give the empty root of a new layer the metadata of the root below: the mount shows it."""
    fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = like_directory(source, fd)
        os.utime(fd, ns=(found.st_atime_ns, found.st_mtime_ns))
    finally:
        os.close(fd)


def _set_metadata(from_fd: int, to_fd: int, found: os.stat_result, name: str) -> None:
    _set(to_fd, found, name)
    _set_attributes(to_fd, attributes(from_fd))


def _set_attributes(target: xattr.Target, wanted: dict[str, bytes]) -> None:
    """Have just these, and no other: those of an earlier diff go, and the access list that a new
    file takes from its directory, see acl(5)."""
    for name in attributes(target).keys() - wanted.keys() - {device.MARK}:
        with suppress(PermissionError):  # trusted.* and security.* may be out of reach.
            xattr.remove(target, name)
    xattr.set_all(target, wanted, tolerant=True)


def _set(fd: int, found: os.stat_result, name: str) -> None:
    owner.fchown(fd, found.st_uid, found.st_gid, name)
    os.fchmod(fd, stat.S_IMODE(found.st_mode))
