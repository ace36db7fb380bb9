"""The data that the modules of this package hand to each other.

Comes in: nothing. Goes out: `SourceTree` (what to copy from), `Entry` and `Archive` (what will be
in the destination). Read next: `select`, which reads trees, and `plan`, which makes entries.
"""

import stat
from collections.abc import Callable

from minibuild.graph.vertex import IgnoreRules
from minibuild.startup.tuples import NamedTuple


class SourceTree(NamedTuple):
    """A tree to copy from: an open directory, and what of it does not exist for a build.

    `ignore` are patterns (`graph.pattern`); a file that they exclude is as good as not there.
    `name` is for messages, and so is `ignored`: the ignore file that the patterns came from, or
    by which the tree was made from a larger one. `local` says that it is a directory of this
    machine, whose sockets are empty files to a build, as with BuildKit.
    """

    fd: int
    ignore: tuple[str, ...] = ()
    name: str = ""
    ignored: IgnoreRules = IgnoreRules()
    local: bool = False


class Entry(NamedTuple):
    """One path that a plan puts into the destination.

    `path` is relative to the root of the destination, without symlinks on the way, and without a
    leading slash; the root itself is "". `mode` holds the type and the final permission bits.
    `mtime_ns` None is the time of writing. `target` is the text of a symlink, or the path of the
    earlier entry that a `hardlink` is another name of. A directory with `keep` is only made where
    there is none: an existing one keeps its mode and owner.

    The data of a regular file is `data`, or the file `name` of the open directory `dir_fd`, which
    stays open until the next entry is asked for; `size` is what it was when it was looked at.
    """

    path: str
    mode: int
    uid: int = 0
    gid: int = 0
    mtime_ns: int | None = None
    target: str = ""
    hardlink: bool = False
    rdev: int = 0
    keep: bool = False
    size: int = 0
    dir_fd: int = -1
    name: str = ""
    data: bytes | None = None

    @property
    def is_read(self) -> bool:
        """Whether it is a regular file with the data of another one."""
        return self.data is None and not self.hardlink and stat.S_ISREG(self.mode)


class Archive(NamedTuple):
    """An archive to be unpacked into the directory `path`, which an entry before it made.

    It is the file `name` of the open directory `dir_fd`. `owner`, if given, replaces all owners.
    """

    path: str
    dir_fd: int
    name: str
    owner: tuple[int, int] | None = None


Planned = Entry | Archive

Progress = Callable[[int, int], None]
"""Called now and then with the files and the bytes written so far."""


def made_directory(path: str, mode: int, owner: tuple[int, int]) -> Entry:
    """The entry of a directory that no source has: made if it is missing, else left alone."""
    return Entry(path, stat.S_IFDIR | mode, *owner, keep=True)


Copied = Callable[[str], bool]
"""Tells whether the file at a path was put there by a copy whose times are of no account."""
