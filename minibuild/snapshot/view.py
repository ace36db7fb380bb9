"""Layers seen as one tree, without mounting them.

Comes in: layer directories, topmost first. Goes out: nodes, each with the real path at which it
can be read. The rules are those by which overlayfs itself merges (kernel documentation,
filesystems/overlayfs, "Upper and Lower", "whiteouts and opaque directories"):

- the topmost layer that has a name decides what it is;
- a directory goes on with the directories of that name below it, until one is opaque or a layer
  has something else there;
- a whiteout says that the name is gone: a character device 0:0, or a marked file (`whiteout`).

A diff has to name the real file below the mount, since only that can be linked. And walking
layers needs neither a mount nor the privilege for one. Read next: `diff`.
"""

import os
import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING

from minibuild.linux import xattr
from minibuild.snapshot.api import Whiteouts
from minibuild.snapshot.whiteout import namespace
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from minibuild.linux.recorded import Records

WHITEOUT = 0
"""The type of a whiteout; no S_IFMT value is 0."""


class Node(NamedTuple):
    """One name of a view. `dirs` are the real directories that add up to it, topmost first."""

    type: int
    path: str
    inode: int
    dirs: tuple[str, ...] = ()


class View:
    """The tree that layers add up to. Names are str with surrogate escapes.

    `owners` are the records of its files, where owners are recorded.
    """

    __slots__ = ("_namespace", "dirs", "owners", "whiteouts")

    def __init__(
        self, layer_dirs: Sequence[str], whiteouts: Whiteouts, owners: "Records | None" = None
    ) -> None:
        self.owners = owners
        self.dirs = tuple(layer_dirs)
        self.whiteouts: Whiteouts = whiteouts
        self._namespace = namespace(whiteouts)

    def names_in(self, dirs: tuple[str, ...], count: int) -> dict[str, Node]:
        """What the merged directory `dirs` holds, as far as the first `count` of them name it.

        Whiteouts are included: to a diff they are news.
        """
        found: dict[str, Node] = {}
        for depth in range(count):
            directory, below = dirs[depth], dirs[depth + 1 :]
            files_may_be_whiteouts = self._may_hold_marked_files(directory, bool(below))
            with os.scandir(directory) as entries:
                for entry in entries:
                    name = entry.name
                    if name in found:
                        continue
                    path = f"{directory}/{name}"
                    kind = self._type_of(entry)
                    if kind == stat.S_IFDIR:
                        merged = (path, *self._below(path, name, below)) if below else (path,)
                        found[name] = Node(kind, path, entry.inode(), merged)
                        continue
                    if (
                        files_may_be_whiteouts
                        and kind == stat.S_IFREG
                        and self._is_file_whiteout(path)
                    ):
                        kind = WHITEOUT
                    found[name] = Node(kind, path, entry.inode())
        return found

    def lookup(self, dirs: tuple[str, ...], name: str) -> Node | None:
        """One name of the merged directory `dirs`; None if it is not there or whited out."""
        for depth, directory in enumerate(dirs):
            path = f"{directory}/{name}"
            try:
                found = os.lstat(path)
            except FileNotFoundError:
                continue
            kind = stat.S_IFMT(found.st_mode)
            if kind == stat.S_IFDIR:
                below = self._below(path, name, dirs[depth + 1 :])
                return Node(kind, path, found.st_ino, (path, *below))
            if self._namespace is not None:
                if kind == stat.S_IFCHR and found.st_rdev == 0:
                    return None
                if (
                    kind == stat.S_IFREG
                    and found.st_size == 0
                    and self._may_hold_marked_files(directory)
                    and self._is_file_whiteout(path)
                ):
                    return None
            return Node(kind, path, found.st_ino)
        return None

    def find(self, path: str) -> Node | None:
        """The node at a path relative to the root; symlinks are not followed anywhere."""
        node: Node | None = Node(stat.S_IFDIR, self.dirs[0] if self.dirs else "", 0, self.dirs)
        for name in path.split("/"):
            if node is None or not name:
                continue
            node = self.lookup(node.dirs, name)
        return node

    def is_opaque(self, directory: str) -> bool:
        """Whether a directory hides what is below it."""
        return self._mark(directory) == b"y"

    def may_hide(self, directory: str) -> bool:
        """Whether a directory is opaque, or files in it may be whiteouts."""
        return self._mark(directory) is not None

    def _mark(self, directory: str) -> bytes | None:
        # "y": opaque. "x": nothing is hidden, but files in it may be whiteouts (Linux 6.7).
        if self._namespace is None:
            return None
        return xattr.get(directory, f"{self._namespace}opaque")

    def _may_hold_marked_files(self, directory: str, below: bool = True) -> bool:
        # The kernel looks where it says "x" and something lies below. Ours are nothing else
        # anywhere, also where the directory became opaque later.
        if self.whiteouts == "marked":
            return self._mark(directory) is not None
        return below and self._mark(directory) == b"x"

    def _is_file_whiteout(self, path: str) -> bool:
        if os.lstat(path).st_size != 0:
            return False
        return xattr.get(path, f"{self._namespace}whiteout") is not None

    def _type_of(self, entry: "os.DirEntry[str]") -> int:
        # The first three come with readdir(3); only the rare rest costs a stat.
        if entry.is_file(follow_symlinks=False):
            return stat.S_IFREG
        if entry.is_dir(follow_symlinks=False):
            return stat.S_IFDIR
        if entry.is_symlink():
            return stat.S_IFLNK
        found = entry.stat(follow_symlinks=False)
        if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0 and self._namespace is not None:
            return WHITEOUT
        return stat.S_IFMT(found.st_mode)

    def _below(self, path: str, name: str, dirs: tuple[str, ...]) -> list[str]:
        """The directories of `dirs` that go on with the directory `path` above them."""
        merged: list[str] = []
        for directory in dirs:
            candidate = f"{directory}/{name}"
            try:
                found = os.lstat(candidate)
            except FileNotFoundError:
                continue
            # Asked this late because most directories have nothing below them.
            if not stat.S_ISDIR(found.st_mode) or self.is_opaque(path):
                break
            merged.append(candidate)
            path = candidate
        return merged


NOTHING = View((), "plain")
"""The tree of no layers: what is put on it is a tree by itself."""
