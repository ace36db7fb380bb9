"""What a plan has to know of the destination: where symlinks lead, and what is there already.

Comes in: the root of a tree, or nothing at all. Goes out: `Destination`, in two forms: `OnDisk`
looks at the tree each time, so it sees what was written a moment ago; `InMemory` starts from a
tree that is only read (or from nothing) and gets what was planned. With the second one a copy
is a list of entries that need not be written. Read next: `plan`.
"""

import stat
from typing import Protocol

from minibuild.errors import DefinitionError
from minibuild.fileop.api import Archive, Planned
from minibuild.linux.beneath import clean, lstat, parents, real_path


class Destination(Protocol):
    """A tree that is being added to. Paths are real ones unless it says otherwise."""

    def resolve(self, path: str) -> str:
        """The real path of any path, symlinks followed inside the root, the last one too.

        `..` is taken back in the text first, as the path is written, before links are looked at.
        """
        ...

    def kind(self, real: str) -> int:
        """The type bits of what is at a path, as in `st_mode`; 0 for nothing."""
        ...


class OnDisk:
    """A tree that is written as the plan goes along."""

    __slots__ = ("_root_fd",)

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd

    def resolve(self, path: str) -> str:
        """See `Destination`."""
        return real_path(self._root_fd, clean(path))

    def kind(self, real: str) -> int:
        """See `Destination`."""
        status = lstat(self._root_fd, real)
        return 0 if status is None else stat.S_IFMT(status.st_mode)


class InMemory:
    """A tree as it would be: what is planned, over a base that stays as it is (None: nothing).

    Every entry of the plan goes through `add`, which refuses what could not be written.
    """

    __slots__ = ("_base", "_kinds", "_new")

    def __init__(self, base_fd: int | None = None) -> None:
        self._base = None if base_fd is None else OnDisk(base_fd)
        self._kinds: dict[str, int] = {"": stat.S_IFDIR}
        self._new: set[str] = set()

    def resolve(self, path: str) -> str:
        """See `Destination`. A planned symlink on the way is not followed, but an error."""
        real = clean(path) if self._base is None else self._base.resolve(path)
        for above in parents(real):
            if self._kinds.get(above) == stat.S_IFLNK:
                raise Unplannable(f"/{above} is a symlink that the same copy makes")
        return real

    def kind(self, real: str) -> int:
        """See `Destination`."""
        planned = self._kinds.get(real)
        if planned is not None:
            return planned
        # The base has nothing in a directory that is new: that saves a look for most paths.
        if self._base is None or real.rpartition("/")[0] in self._new:
            return 0
        return self._base.kind(real)

    def is_new(self, real: str) -> bool:
        """Whether a directory is planned that was not there before: nothing else is in it."""
        return real in self._new or (self._base is None and not real)

    def add(self, entry: Planned) -> int:
        """Note an entry; return the type of what is there before, 0 for nothing. Raises
        `DefinitionError` where a directory and a file collide."""
        if isinstance(entry, Archive):
            raise Unplannable("what an archive holds is not known before it is unpacked")
        new, old = stat.S_IFMT(entry.mode), self.kind(entry.path)
        if old:
            if entry.replaces and old != new:
                raise Unplannable("a file and a directory take each other's place")
            check_replaceable(entry.path, new, old)
        elif new == stat.S_IFDIR:
            self._new.add(entry.path)
        self._kinds[entry.path] = new
        return old


class Unplannable(Exception):
    """This copy has to be written to a tree to know what comes of it."""


def check_replaceable(path: str, new: int, old: int) -> None:
    """Raise `DefinitionError` if something of type `new` cannot come where `old` is."""
    if old in (0, new):
        return
    if new == stat.S_IFDIR:
        what = "a symlink" if old == stat.S_IFLNK else "a file"
        raise DefinitionError(
            f"cannot copy to non-directory: /{path}",
            hint=f"the source has a directory where the image has {what}",
        )
    if old == stat.S_IFDIR:
        raise DefinitionError(
            f"cannot replace to directory /{path} with file",
            hint="the source has a file where the image has a directory",
        )
