"""The tree that a plan would make, entry by entry, without making it.

Comes in: entries, and the tree they go onto (or none), which is only read. Goes out: whether an
entry is news, and which directories of the base come before it in a layer.

Where the entries do not say what the tree would be, `Unplannable` is raised: several sources that
do not come in the order of a walk, a file in place of another, archives, devices, owners that this
user namespace does not have. Read next: `layer` and `update`, which write what is planned so.
"""

import os
import stat
from typing import TYPE_CHECKING

from minibuild.fileop.api import Archive, Entry, Planned
from minibuild.fileop.dest import InMemory, Unplannable
from minibuild.fileop.walk import place
from minibuild.linux import xattr
from minibuild.linux.beneath import join, lstat, parents
from minibuild.linux.owner import mapped_ids, seen
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from minibuild.linux.recorded import Records

_ALL_IDS = (1 << 32, 1 << 32)
_PLAIN = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO)


class Above(NamedTuple):
    """A directory of the base; it `changed` if it gets a new name."""

    path: str
    found: os.stat_result
    changed: bool


class PlannedTree:
    """A plan on the tree `base_fd` (None: nothing), where owners may be recorded: `owners`.

    `dest` is the tree as it would be. `touched` are directories of the base that get a new name,
    and with it another time; `above` are those that come just before the last entry.
    """

    __slots__ = (
        "_base_fd",
        "_ids",
        "_in",
        "_name",
        "_owners",
        "_untouched",
        "_written",
        "above",
        "dest",
        "touched",
    )

    def __init__(self, base_fd: int | None = None, owners: "Records | None" = None) -> None:
        self._base_fd = base_fd
        self._owners = owners
        self.dest = InMemory(base_fd)
        self._ids = mapped_ids() if owners is None else _ALL_IDS
        self._in = self._name = ""
        self._written: set[str] = {""}
        self._untouched: set[str] = set()
        self.touched: list[str] = []
        self.above: list[Above] = []

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
                return False  # There already; written if something is put into it.
            self._parents(entry.path, new=not below)
            self._written.add(entry.path)
        elif below:
            raise Unplannable("a file takes the place of another")
        else:
            self._parents(entry.path, new=True)
        self._in, _, self._name = entry.path.rpartition("/")
        return True

    def _follows(self, entry: Entry) -> bool:
        """Whether an entry needs no further look: a file like most, the next one by its name in a
        directory that is new with this layer, so nothing is there before it. The destination is
        not told of it: whatever would come to the same place is out of order."""
        above, _, name = entry.path.rpartition("/")
        if above != self._in or name <= self._name or not self.dest.is_new(above):
            return False
        if not entry.is_read or not (name.isascii() and self._name.isascii()):
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

    def _parents(self, path: str, *, new: bool) -> None:
        """The directories of the base above a path, as they will be: a new name changes the time
        of the directory it is put into."""
        above = path.rpartition("/")[0]
        if above in self._untouched and new:
            raise Unplannable("a directory was written before its time changed")
        if above in self._written:
            return
        assert self._base_fd is not None
        for folder in parents(above):
            if folder in self._written:
                continue
            found = lstat(self._base_fd, folder)
            assert found is not None
            found = seen(found, xattr.at(self._base_fd, folder), self._owners)
            changed = new and folder == above
            self._written.add(folder)
            if changed:
                self.touched.append(folder)
            else:
                self._untouched.add(folder)
            self.above.append(Above(folder, found, changed))
