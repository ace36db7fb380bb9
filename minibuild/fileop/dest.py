"""What a plan has to know of the destination: where symlinks lead, and what is there already.

Comes in: the root of a tree, or nothing at all. Goes out: `Destination`, in two forms: `OnDisk`
looks at the tree each time, so it sees what was written a moment ago; `InMemory` starts from a
tree that is only read (or from nothing) and gets what was planned. With the second one a copy
is a list of entries that need not be written: `PlannedTree` says which of them are news, and which
directories of the base come before them in a layer.

Where the entries do not say what the tree would be, `Unplannable` is raised: several sources that
do not come in the order of a walk, a file in place of another, archives, devices, owners that this
user namespace does not have. Read next: `plan`; `layer` and `update`, which write what is planned.
"""

import stat
from typing import TYPE_CHECKING, Protocol

from minibuild.errors import DefinitionError
from minibuild.fileop.api import Archive, Entry, Planned
from minibuild.fileop.walk import place
from minibuild.linux import xattr
from minibuild.linux.beneath import clean, join, lstat, parents, real_path
from minibuild.linux.owner import mapped_ids, seen
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    import os

    from minibuild.linux.recorded import Records

_ALL_IDS = (1 << 32, 1 << 32)
_PLAIN = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO)


class Destination(Protocol):
    """A tree that is being added to. Paths are real ones unless it says otherwise."""

    def resolve(self, path: str) -> str:
        """The real path of any path, symlinks followed inside the root, the last one too.

        `..` is taken back in the text first, as the path is written, before links are looked at.
        """

    def kind(self, real: str) -> int:
        """The type bits of what is at a path, as in `st_mode`; 0 for nothing."""

    def owner(self, real: str) -> tuple[int, int]:
        """Who owns the directory at a path."""


class OnDisk:
    """A tree that is written as the plan goes along. `owners` are its records, where owners are
    recorded."""

    __slots__ = ("_owners", "_root_fd")

    def __init__(self, root_fd: int, owners: "Records | None" = None) -> None:
        self._root_fd = root_fd
        self._owners = owners

    def resolve(self, path: str) -> str:
        return real_path(self._root_fd, clean(path))

    def kind(self, real: str) -> int:
        status = lstat(self._root_fd, real)
        return 0 if status is None else stat.S_IFMT(status.st_mode)

    def owner(self, real: str) -> tuple[int, int]:
        """See `Destination`."""
        status = lstat(self._root_fd, real)
        assert status is not None
        status = seen(status, xattr.at(self._root_fd, real), self._owners)
        return status.st_uid, status.st_gid


class InMemory:
    """A tree as it would be: what is planned, over a base that stays as it is (None: nothing).

    Every entry of the plan goes through `add`, which refuses what could not be written.
    """

    __slots__ = ("_base", "_kinds", "_new")

    def __init__(self, base_fd: int | None = None, owners: "Records | None" = None) -> None:
        self._base = None if base_fd is None else OnDisk(base_fd, owners)
        self._kinds: dict[str, int] = {"": stat.S_IFDIR}
        self._new: set[str] = set()

    def resolve(self, path: str) -> str:
        """A planned symlink on the way is not followed, but an error."""
        real = clean(path) if self._base is None else self._base.resolve(path)
        for above in parents(real):
            if self._kinds.get(above) == stat.S_IFLNK:
                raise Unplannable(f"/{above} is a symlink that the same copy makes")
        return real

    def kind(self, real: str) -> int:
        planned = self._kinds.get(real)
        if planned is not None:
            return planned
        # The base has nothing in a directory that is new: that saves a look for most paths.
        if self._base is None or real.rpartition("/")[0] in self._new:
            return 0
        return self._base.kind(real)

    def owner(self, real: str) -> tuple[int, int]:
        """See `Destination`. That of a planned directory is not kept, so it is an error."""
        if self._base is None or real in self._kinds:
            raise Unplannable(f"/{real} is met twice")
        return self._base.owner(real)

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


class BaseDirectory(NamedTuple):
    """A directory of the base, and the time that it will have; None is that of the writing."""

    path: str
    found: "os.stat_result"
    mtime_ns: int | None


class PlannedTree:
    """A plan on the tree `base_fd` (None: nothing), where owners may be recorded: `owners`.

    `dest` is the tree as it would be. `touched` are directories of the base that get a new name,
    and with it another time; `above` are those that come just before the last entry.
    """

    def __init__(self, base_fd: int | None = None, owners: "Records | None" = None) -> None:
        self._base_fd = base_fd
        self._owners = owners
        self.dest = InMemory(base_fd, owners)
        self._ids = mapped_ids() if owners is None else _ALL_IDS
        self._in = self._name = ""
        self._in_new = self.dest.is_new("")
        self._written: set[str] = {""}
        self._untouched: set[str] = set()
        self._inside: tuple[str, ...] = ()
        self.touched: list[str] = []
        self.above: list[BaseDirectory] = []

    def lacks_some(self, top: str) -> None:
        """Of what is below `top`, not all entries come here: the others are as the last time."""
        self._inside = (f"{top}/" if top else "",)

    def takes(self, entry: Planned) -> bool:
        """Whether an entry is part of what the plan adds. Raises `Unplannable`."""
        if self.above:
            self.above = []
        if isinstance(entry, Archive):
            raise Unplannable("what an archive holds is not known before it is unpacked")
        if self._follows(entry):
            return True
        self._check(entry)
        below = self.dest.add(entry)
        if stat.S_ISDIR(entry.mode):
            if below and entry.keep:
                # There already; written if something is put into it, or with another time.
                if entry.mtime_ns is not None:
                    self._in, _, self._name = entry.path.rpartition("/")
                    self._in_new = False
                    self._parents(f"{entry.path}/", new=True, time_ns=entry.mtime_ns)
                return False
            self._parents(entry.path, new=not below)
            self._written.add(entry.path)
        elif below:
            raise Unplannable("a file takes the place of another")
        else:
            self._parents(entry.path, new=True)
        self._in, _, self._name = entry.path.rpartition("/")
        self._in_new = self.dest.is_new(self._in) and self._name.isascii()
        return True

    def _follows(self, entry: Entry) -> bool:
        """Whether an entry needs no further look: a file like most, the next one by its name in a
        directory that is new with this layer, so nothing is there before it. It is not
        added to the destination: what would come to the same place is out of order."""
        above, _, name = entry.path.rpartition("/")
        if not self._in_new or above != self._in or name <= self._name:
            return False
        if not entry.is_read or not name.isascii():
            return False
        if entry.uid >= self._ids[0] or entry.gid >= self._ids[1]:
            return False
        self._name = name
        return True

    def _check(self, entry: Entry) -> None:
        """Raise if the tree would not be what the entry says, or be walked in another order."""
        if place(entry.path) <= place(join(self._in, self._name)):
            raise Unplannable("the sources are not in the order of a walk")
        if stat.S_IFMT(entry.mode) not in _PLAIN:
            raise Unplannable("a device may need a stand-in")
        if entry.uid >= self._ids[0] or entry.gid >= self._ids[1]:
            raise Unplannable("an owner is not mapped here")

    def _parents(self, path: str, *, new: bool, time_ns: int | None = None) -> None:
        """The directories of the base above a path, as they will be: a new name changes the time
        of the directory it is put into (to `time_ns`, if that is given)."""
        above = path.rpartition("/")[0]
        if above in self._untouched and new:
            raise Unplannable("a directory was written before its time changed")
        if above in self._written or above.startswith(self._inside):
            return
        assert self._base_fd is not None
        for folder in parents(above):
            if folder in self._written:
                continue
            found = lstat(self._base_fd, folder)
            assert found is not None
            found = seen(found, xattr.at(self._base_fd, folder), self._owners)
            self._written.add(folder)
            mtime_ns: int | None = found.st_mtime_ns
            if not new or folder != above:
                self._untouched.add(folder)
            else:
                mtime_ns = time_ns
                if time_ns is None:
                    self.touched.append(folder)
            self.above.append(BaseDirectory(folder, found, mtime_ns))


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
