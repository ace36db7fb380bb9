"""Owners that files are to have and cannot have on disk: they are recorded beside the files.

Comes in: a file, and the ids that the image gives it. Goes out: a record, and later the file as if
it were owned so. Where chown(2) is refused (a user namespace with one single id, or an account that
is in none: `owner.are_recorded`), a record is the only place for an owner. Elsewhere nothing of
this module is used: files are owned.

A *regular file* and a *directory* have it in the extended attribute `user.rootlesscontainers`, by a
convention that other programs know (rootlesscontaine.rs): a message of protocol buffers, field 1
the user id, field 2 the group id. The attribute shows through an overlay mount, is copied up with
the file, and belongs to all of its names. A placeholder (`device`) is a regular file.

*Symlinks, fifos, sockets* and device nodes cannot have attributes of users (xattr(7)). Theirs are
in a table beside the tree of each snapshot: a text file with a line for each, `INODE BIRTH UID
GID`. A file is named by its inode, because `stat` tells that of the same file through an overlay
mount, after a rename, and under each of its names. The number is given to another file when the
file is gone, so the time of its birth counts, too (statx(2)). Lines are only appended, one write(2)
each, and the last one counts; so a process that is killed leaves a whole line or none. A snapshot
that is not committed is swept away with its table, and that of a committed one changes no more.

Where modes are recorded, too (`modes`), that is in another attribute of regular files and
directories: the convention has no place for it.

A file without a record belongs to root if it belongs to this process, for all that minibuild makes
does. No record of 0:0 is kept. Records never get into a layer or an output, and those that an image
or an archive brings along are not taken.

Interface: `Records` for the tree of a snapshot; `read`, `write` and `encode` for a single file that
can have an attribute.
"""

import errno
import os
import stat
from collections.abc import Sequence

from minibuild.errors import HostError
from minibuild.linux import device, modes
from minibuild.linux.syscalls import AT_FDCWD, birth
from minibuild.linux.xattr import OWNER as XATTR
from minibuild.startup.tuples import NamedTuple

TABLE = "owners"
"""The name of the table in the folder of a snapshot."""

NOTHING = 0xFFFFFFFF
"""An id in the attribute that says: this one is not recorded. It counts as 0."""

_NEW_LINE = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_ROOT = (0, 0)


class Recorded(NamedTuple):
    """The owner that a file is to have."""

    uid: int
    gid: int


# --- The attribute -----------------------------------------------------------------------------


def encode(uid: int, gid: int) -> bytes:
    """The value of the attribute. A field that is 0 is left out, as protocol buffers have it."""
    return b"".join(
        bytes((number << 3,)) + _varint(id) for number, id in ((1, uid), (2, gid)) if id
    )


def decode(value: bytes) -> Recorded | None:
    """What the attribute says; None if it is no such message. Other fields are passed over, if they
    are numbers."""
    ids = {1: 0, 2: 0}
    position = 0
    while position < len(value):
        tag, position = _read_varint(value, position)
        if position < 0 or tag & 7:
            return None
        ids[tag >> 3], position = _read_varint(value, position)
        if position < 0:
            return None
    uid, gid = (0 if id == NOTHING else id for id in (ids[1], ids[2]))
    return Recorded(uid, gid) if max(uid, gid) < NOTHING else None


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)


def _read_varint(value: bytes, position: int) -> tuple[int, int]:
    """A number and where it ends; -1 if it does not."""
    number = 0
    for shift in range(0, 64, 7):
        if position >= len(value):
            break
        byte = value[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    return 0, -1


def read(target: int | str) -> Recorded | None:
    """The record of a regular file or directory: an open one (also as O_PATH by its path in
    /proc/self/fd), or a path, whose last component is not followed."""
    try:
        value = os.getxattr(target, XATTR, follow_symlinks=isinstance(target, int))
    except OSError:
        return None  # It has none, or is of a kind that cannot have one.
    return decode(value)


def write(target: int | str, uid: int, gid: int) -> None:
    """Record the owner of a regular file or directory; 0:0 takes the record away.

    Raises `HostError` where the filesystem has no attributes, and `OSError`.
    """
    follow = isinstance(target, int)
    try:
        if uid or gid:
            os.setxattr(target, XATTR, encode(uid, gid), follow_symlinks=follow)
        else:
            os.removexattr(target, XATTR, follow_symlinks=follow)
    except OSError as error:
        if error.errno == errno.ENODATA or (error.errno == errno.ENOTSUP and not (uid or gid)):
            return
        if error.errno == errno.ENOTSUP:
            raise HostError(
                f"the owner {uid}:{gid} cannot be recorded: the filesystem takes no attributes",
                hint="set MINIBUILD_ROOT to a folder on ext4, xfs or btrfs, or give this account "
                "more ids in /etc/subuid and /etc/subgid",
            ) from error
        raise


# --- The table, and both ------------------------------------------------------------------------


class Records:
    """The owners in the tree of a snapshot.

    `tables` are those of the layers that the tree adds up to, topmost first. What is written goes
    into the first one, which is made with the first line. Without any, what cannot have attributes
    belongs to root. Safe in threads that only read.
    """

    __slots__ = ("_known", "tables")

    def __init__(self, tables: Sequence[str]) -> None:
        self.tables = tuple(tables)
        self._known: dict[int, tuple[int, Recorded]] | None = None

    def __reduce__(self) -> tuple[type["Records"], tuple[tuple[str, ...]]]:
        return Records, (self.tables,)  # Another process reads the tables itself.

    def seen(self, found: os.stat_result, target: int | str) -> os.stat_result:
        """What a file is to a build: `found`, with the owner and mode that it is to have; and for a
        placeholder what its device would have. `target` is where the file can be reached: a path,
        whose last component is not followed, or an open file."""
        uid, gid = self.owner(found, target)
        mode = self.mode(found, target)
        if (mode, uid, gid) != (found.st_mode, found.st_uid, found.st_gid):
            found = device.altered(found, mode=mode, uid=uid, gid=gid)
        return device.seen(found, target)

    def mode(self, found: os.stat_result, target: int | str) -> int:
        """The mode that a file is to have, of which lstat(2) says `found`, with its type."""
        mode = found.st_mode
        return modes.read(target, mode) if takes_attributes(mode) else mode

    def chmod(self, target: int | str, mode: int) -> None:
        """Give a file a mode, which has the type, too. `target` is no symlink."""
        if modes.are_recorded() and not stat.S_ISFIFO(mode) and not stat.S_ISSOCK(mode):
            modes.write(target, mode)
        else:
            os.chmod(target, stat.S_IMODE(mode))

    def owner(self, found: os.stat_result, target: int | str) -> tuple[int, int]:
        """The owner that a file is to have, of which lstat(2) says `found`."""
        if takes_attributes(found.st_mode):
            made = read(target)
        else:
            made = self._of_special(found.st_ino, target)
        if made is not None:
            return made
        uid, gid = found.st_uid, found.st_gid
        return (0 if uid == os.geteuid() else uid, 0 if gid == os.getegid() else gid)

    def write_open(self, fd: int, uid: int, gid: int) -> None:
        """Record the owner of an open regular file or directory."""
        write(fd, uid, gid)

    def write(self, dir_fd: int, name: str, uid: int, gid: int) -> None:
        """Record the owner of `name` in an open directory, of whatever kind it is.

        On a mounted overlay that has to be a file of the upper layer already, if it is a symlink,
        fifo or socket: the kernel tells the old inode of one that was copied up since the mount.
        """
        if takes_attributes(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode):
            write(f"/proc/self/fd/{dir_fd}/{name}", uid, gid)
        else:
            self.write_special(*birth(dir_fd, name), uid, gid)

    def write_special(self, inode: int, born_ns: int, uid: int, gid: int) -> None:
        """Record the owner of a symlink, fifo or socket that `syscalls.birth` names so."""
        before = self._lines().get(inode)
        if not self.tables or not (uid or gid or (before and before[0] == born_ns)):
            return
        fd = os.open(self.tables[0], _NEW_LINE, 0o600)
        try:
            os.write(fd, b"%d %d %d %d\n" % (inode, born_ns, uid, gid))
        finally:
            os.close(fd)
        self._lines()[inode] = born_ns, Recorded(uid, gid)

    def has_special(self) -> bool:
        """Whether a table has a line. All are read now, if they were not."""
        return bool(self._lines())

    def _of_special(self, inode: int, target: int | str) -> Recorded | None:
        line = self._lines().get(inode)
        if line is None:
            return None
        if isinstance(target, int):
            _, born_ns = birth(target, "")
        else:
            _, born_ns = birth(AT_FDCWD, target)
        return line[1] if line[0] == born_ns else None

    def _lines(self) -> dict[int, tuple[int, Recorded]]:
        """All tables as one, read when a file is met that may be in one."""
        if self._known is None:
            known: dict[int, tuple[int, Recorded]] = {}
            for table in reversed(self.tables):
                known.update(_read_table(table))
            self._known = known
        return self._known


def takes_attributes(mode: int) -> bool:
    """Whether a file of this type can have attributes of users."""
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def _read_table(path: str) -> dict[int, tuple[int, Recorded]]:
    try:
        with open(path, "rb") as file:
            lines = [line.split() for line in file.read().split(b"\n")]
    except FileNotFoundError:
        return {}
    rows = [tuple(map(int, fields)) for fields in lines if len(fields) == 4]
    return {inode: (born_ns, Recorded(uid, gid)) for inode, born_ns, uid, gid in rows}
