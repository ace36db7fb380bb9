"""An upperdir as it lies on disk: its entries, whiteouts and opaque directories among them.

Comes in: the layer directory of a snapshot. Goes out: what lstat(2) says of each entry, and the
mark of overlayfs that hides what is below a directory. To see what a diff means, read `diff`; this
is how it is written down. Read next: `view`.
"""

import os
import stat
from collections.abc import Iterator

from minibuild.snapshot.api import Whiteouts
from minibuild.snapshot.view import View
from minibuild.startup.tuples import NamedTuple

_TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "char device",
    stat.S_IFBLK: "block device",
}


class UpperEntry(NamedTuple):
    """An entry of an upperdir, as lstat(2) has it; `device` is major:minor of a device node.
    `opaque` says that a directory hides what is below it."""

    path: str
    type: str
    device: str
    inode: int
    links: int
    opaque: bool = False

    @property
    def is_whiteout(self) -> bool:
        """How overlayfs says that a path is gone."""
        return (self.type, self.device) == ("char device", "0:0")


def entry_at(upperdir: str, path: str, whiteouts: Whiteouts) -> UpperEntry:
    """The entry at a path. Raises `FileNotFoundError`."""
    where = f"{upperdir}/{path}"
    found = os.lstat(where)
    is_node = stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode)
    device = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}" if is_node else ""
    kind = _TYPES[stat.S_IFMT(found.st_mode)]
    opaque = kind == "directory" and View((), whiteouts).is_opaque(where)
    return UpperEntry(path, kind, device, found.st_ino, found.st_nlink, opaque)


def upper_entries(upperdir: str, whiteouts: Whiteouts) -> Iterator[UpperEntry]:
    """All entries but the root, a directory before what is in it, names sorted as bytes."""
    pending = [""]
    while pending:
        path = pending.pop()
        if path:
            entry = entry_at(upperdir, path, whiteouts)
            yield entry
            if entry.type != "directory":
                continue
        names = sorted(os.listdir(f"{upperdir}/{path}"), key=os.fsencode, reverse=True)
        pending += [f"{path}/{name}" if path else name for name in names]
