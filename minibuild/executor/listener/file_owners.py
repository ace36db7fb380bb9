"""The owners of files as a step sees them, and gives them.

Comes in: an open file of the step. Goes out: its owner, or a record of a new one. What the layer
is to have is kept by `linux.recorded`, in the tree of the step. Files of other filesystems that
cannot hold a record have it in memory, until the step ends. Read next: `linux.recorded`, `inside`.
"""

import errno
import os
import stat

from minibuild.executor.listener.inside import Inside
from minibuild.linux import device
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.recorded import Records, decode, encode, takes_attributes
from minibuild.linux.syscalls import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, birth, openat2
from minibuild.linux.xattr import OWNER

_BENEATH = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS


class FileOwners:
    """`special` says that a file without the attribute may have a recorded owner."""

    __slots__ = ("_elsewhere", "_inside", "_records", "_special")

    def __init__(self, records: Records, inside: Inside, *, special: bool) -> None:
        self._records = records
        self._inside = inside
        self._elsewhere: dict[tuple[int, int], tuple[int, int]] = {}
        self._special = special

    def shown_as_it_is(self, path: str, *, follow: bool) -> bool:
        """Whether the kernel shows a file as the step is to see it; False if that takes a closer
        look. Nearly all files are of that kind, and most looks end here, after one call."""
        try:
            # In this list most files have nothing, which is an error if a single one is asked for:
            # that takes twice as long.
            names = os.listxattr(path, follow_symlinks=follow)
        except OSError as error:
            names = [OWNER] if error.errno in (errno.ERANGE, errno.E2BIG) else []
        if names and (OWNER in names or device.PLACEHOLDER in names):
            return False
        if not self._special:
            return True
        found = os.stat(path, follow_symlinks=follow)
        elsewhere = (found.st_dev, found.st_ino) in self._elsewhere
        return takes_attributes(found.st_mode) and not elsewhere

    def seen(self, found: os.stat_result, target: str, fd: int) -> os.stat_result:
        """What the step is shown of a file: `found` itself if that is what the kernel shows.

        `target` is its entry in PID/fd, and `fd` the file, if it is open here, else -1.
        """
        owner = self._recorded(found, target, fd)
        found = device.seen(found, target)
        if owner is None or owner == (found.st_uid, found.st_gid):
            return found
        return device.altered(found, uid=owner[0], gid=owner[1])

    def owner(self, fd: int) -> tuple[int, int]:
        """The owner of a file that is open, also with O_PATH."""
        found = os.stat(fd)
        return self._recorded(found, f"self/fd/{fd}", fd) or (found.st_uid, found.st_gid)

    def owner_at(self, path: str, found: os.stat_result) -> tuple[int, int]:
        """The owner of what is at a path, of which lstat(2) says `found`."""
        if takes_attributes(found.st_mode) or not self._special:
            return self._recorded(found, path, -1) or (found.st_uid, found.st_gid)
        last = os.O_NOFOLLOW if stat.S_ISLNK(found.st_mode) else 0
        with closing_fd(os.open(path, os.O_PATH | os.O_CLOEXEC | last)) as fd:
            return self.owner(fd)

    def _recorded(self, found: os.stat_result, target: str, fd: int) -> tuple[int, int] | None:
        if self._elsewhere and (owner := self._elsewhere.get((found.st_dev, found.st_ino))):
            return owner
        if not takes_attributes(found.st_mode):
            return self._records.owner(found, fd) if fd >= 0 else None
        try:
            return decode(os.getxattr(target, OWNER))
        except OSError:
            return None

    def give(self, fd: int, uid: int, gid: int) -> None:
        """Record an owner for such a file."""
        found = os.stat(fd)
        if not takes_attributes(found.st_mode):
            self._special = True
            self._give_special(fd, found, uid, gid)
            return
        try:
            _write(f"self/fd/{fd}", uid, gid)
        except OSError:
            self._special = True
            self._elsewhere[found.st_dev, found.st_ino] = uid, gid

    def _give_special(self, fd: int, found: os.stat_result, uid: int, gid: int) -> None:
        """A symlink, fifo or socket, whose record names the inode that it has on disk. Through the
        mount an old file shows the inode of the layer below, also after it was copied up."""
        try:
            if self._inside.upper_fd < 0 or not self._inside.is_in_tree(fd):
                raise FileNotFoundError
            path = os.readlink(f"self/fd/{fd}").strip("/")
            flags = os.O_PATH | os.O_NOFOLLOW
            with closing_fd(
                openat2(self._inside.upper_fd, path, flags, resolve=_BENEATH)
            ) as on_disk:
                inode, born_ns = birth(on_disk, "")
        except OSError:
            # In another mount, or deleted.
            self._elsewhere[found.st_dev, found.st_ino] = uid, gid
            return
        with self._inside.outside():
            for number in {inode, found.st_ino}:
                self._records.write_special(number, born_ns, uid, gid)


def _write(path: str, uid: int, gid: int) -> None:
    if uid or gid:
        os.setxattr(path, OWNER, encode(uid, gid))
        return
    try:
        os.removexattr(path, OWNER)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
