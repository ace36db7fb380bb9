"""Whether an entry of one tree is the same in another.

Comes in: two paths of one type. Goes out: yes or no. What counts as a change: type, mode, owner,
extended attributes, device number, link target, and for all but directories size, modification
time and content. A directory's time does not count: it changes when a file is moved away
and back, which is no change. Access and change times never count.

Both being of one type means equal S_IFMT values. Testing the directory bit with a bitwise AND
will not do: directory (0o04), block device (0o06) and socket (0o14) share a bit.
"""

import os
import stat
from typing import TYPE_CHECKING

from minibuild.linux import owner, xattr
from minibuild.linux.contents import same_contents

if TYPE_CHECKING:
    from minibuild.linux.recorded import Records


def same_directory(one: str, other: str) -> bool:
    """Whether two directories have the same metadata; their contents are not looked at."""
    a, b = os.lstat(one), os.lstat(other)
    # A recorded owner is an attribute.
    return _same_owner_and_mode(a, b) and xattr.get_all(one) == xattr.get_all(other)


def same_file(
    one: str,
    other: str,
    owners: "Records | None" = None,
    other_owners: "Records | None" = None,
) -> bool:
    """Whether two entries that are no directories are the same; with the records of their trees."""
    a, b = os.lstat(one), os.lstat(other)
    if (a.st_ino, a.st_dev) == (b.st_ino, b.st_dev):
        return True
    if not stat.S_ISREG(a.st_mode):  # Of a regular file a recorded owner is an attribute.
        a, b = owner.seen(a, one, owners), owner.seen(b, other, other_owners)
    if not _same_owner_and_mode(a, b) or a.st_mtime_ns != b.st_mtime_ns:
        return False
    kind = stat.S_IFMT(a.st_mode)
    if kind in (stat.S_IFCHR, stat.S_IFBLK) and a.st_rdev != b.st_rdev:
        return False
    if kind == stat.S_IFLNK and os.readlink(one) != os.readlink(other):
        return False
    if kind == stat.S_IFREG and a.st_size != b.st_size:
        return False
    if xattr.get_all(one) != xattr.get_all(other):
        return False
    return kind != stat.S_IFREG or _same_content(one, other)


def same_data(one: str, other: str) -> bool:
    """Whether two regular files hold the same, or two symlinks lead to the same; owners and
    permissions do not count."""
    a, b = os.lstat(one), os.lstat(other)
    if stat.S_ISLNK(a.st_mode) and stat.S_ISLNK(b.st_mode):
        return os.readlink(one) == os.readlink(other)
    if not (stat.S_ISREG(a.st_mode) and stat.S_ISREG(b.st_mode)):
        return False
    return a.st_size == b.st_size and _same_content(one, other)


def _same_owner_and_mode(a: os.stat_result, b: os.stat_result) -> bool:
    return (a.st_mode, a.st_uid, a.st_gid) == (b.st_mode, b.st_uid, b.st_gid)


def _same_content(one: str, other: str) -> bool:
    # Equal size and time do not prove it: a program may write and set the time back.
    with open(one, "rb", buffering=0) as a, open(other, "rb", buffering=0) as b:
        return same_contents(a.fileno(), b.fileno())
