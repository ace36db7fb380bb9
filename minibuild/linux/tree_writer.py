"""Files and directories made below a root: the one place where trees are written.

Comes in: a name in the directory where the writer stands, what is to be there, and its metadata.
Goes out: the entry. A copy, a layer that is unpacked, and a merge all write through this. The order
of calls is fixed, by the kernel for the most part:

1. *Make room.* What is in the way goes first, by the rule of the caller. A new entry is made with
   O_EXCL and the like, so a symlink that turns up in between is an error and is not followed.
2. *Create.* The directory was opened one name at a time, none of them a symlink (`cursor`). A file
   that is to have set-id bits is closed to others until it has its owner; so is each directory.
3. *Write* the data. A write changes times, and drops set-id bits and capabilities.
4. *Owner.* chown(2) clears set-id bits and drops security.capability, so it comes before both.
   Where files cannot be given to others, the owner is recorded (`recorded`).
5. *Mode*, or its record.
6. *Attributes.* Access lists (acl(5)) are among them, and chmod(2) would change these.
7. *Times* last, for everything before changes them.

A directory gets its metadata when the writer leaves it. Until then entries are put into it: that
changes its time, and may take rights that its mode does not give. Read next: `contents`.
"""

import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from minibuild.linux import device, owner, xattr
from minibuild.linux.beneath import remove_tree
from minibuild.linux.cursor import Cursor, Level
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from minibuild.linux.recorded import Records

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

MakeRoom = Callable[[int, str, int], bool]
"""Called with a directory, a name that is taken, and the type (as in `st_mode`) of what is to be
there. Removes what is there, or returns False: it stays, and takes the place of the new entry."""


class Metadata(NamedTuple):
    """`mode` has the type, too. `times` are those of access and modification in nanoseconds; None
    leaves those of the writing."""

    mode: int
    uid: int
    gid: int
    times: tuple[int, int] | None = None
    xattrs: Mapping[str, bytes] = {}


def replace(dir_fd: int, name: str, kind: int) -> bool:
    """Make room for anything, in any case. A directory stays where one is to be."""
    if kind == stat.S_IFDIR:
        found = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            return False
    remove_tree(dir_fd, name)
    return True


_OURS = {device.MARK, *xattr.RECORDS}
_UNKNOWN = (-1, -1, -1)

Births = dict[int, tuple[int, int, int]]
"""Mode, owner and group that a new file has by itself, by the mode that it is to have.

They depend on the directory (set-group-id, default access lists), the mode asked for and the
umask, and are the same for the next file. So one look for each directory and mode saves a chown and
a chmod for each file, which would write the inode again (8 of 55 microseconds for a small file).
"""


class _Directory(Level):
    """A directory in which entries are made. It gets `metadata`, or just `times`, in the end."""

    __slots__ = ("births", "metadata", "times")

    def __init__(self, fd: int, name: str) -> None:
        super().__init__(fd, name)
        self.births: Births = {}
        self.metadata: Metadata | None = None
        self.times: tuple[int, int] | None = None


class TreeWriter(Cursor):
    """A cursor that makes entries in the directory where it stands. Call `finish` at the end.

    With `exact` an entry has no other extended attributes than those it is given: what an earlier
    diff left, or a new file took from its directory, is removed. With `owners` these are recorded,
    there. `defect` brings an old defect of merges back, to be shown: see docs/lab.md.
    """

    __slots__ = ("_defect", "_exact", "_make_room", "_owners")

    _levels: list[_Directory]  # type: ignore[assignment]

    def __init__(
        self,
        root_fd: int,
        make_room: MakeRoom = replace,
        *,
        exact: bool = False,
        owners: "Records | None" = None,
        defect: str = "",
    ) -> None:
        super().__init__(root_fd)
        self._owners = owners
        self._make_room = make_room
        self._exact = exact
        self._defect = defect

    def level(self, fd: int, name: str) -> _Directory:
        """See `Cursor`."""
        return _Directory(fd, name)

    def leave(self, level: Level) -> None:
        """See `Cursor`. Gives the directory its metadata."""
        assert isinstance(level, _Directory)
        if level.metadata is not None:
            self._set_metadata(level.fd, level.metadata, self.path or "/")
        elif level.times is not None:
            os.utime(level.fd, ns=level.times)
        level.metadata = level.times = None

    def finish(self) -> None:
        """Leave all directories, the root as well. The writer can be used further."""
        self.enter("")
        self.leave(self._levels[0])

    def describe(self, metadata: Metadata) -> None:
        """Give the directory where it stands this metadata in the end."""
        if self._defect == "early-times":
            return self._set_metadata(self.fd, metadata, self.path or "/")
        self._levels[-1].metadata = metadata

    def _set_metadata(
        self, fd: int, metadata: Metadata, name: str, born: tuple[int, int, int] = _UNKNOWN
    ) -> None:
        exact, owners = self._exact, self._owners
        set_metadata(fd, metadata, name, exact=exact, owners=owners, born=born)

    def keep_times(self) -> None:
        """Let the directory where it stands have the times in the end that it has now, unless it is
        given others."""
        directory = self._levels[-1]
        if directory.times is None:
            directory.times = times_of(os.fstat(self.fd))

    # --- Entries, each False (or "kept") if something else stays in its place ---------------------

    def directory(
        self, name: str, metadata: Metadata, *, keep: bool = False
    ) -> Literal["made", "replaced", "kept"]:
        """A directory, in which the writer stands then. With `keep` one that was there already
        keeps its metadata but for the times."""
        done: Literal["made", "replaced", "kept"] = "made"
        try:
            os.mkdir(name, 0o700, dir_fd=self.fd)
        except FileExistsError:
            done = "replaced" if self._make_room(self.fd, name, stat.S_IFDIR) else "kept"
            if done == "replaced":
                os.mkdir(name, 0o700, dir_fd=self.fd)
        self.push(name)
        if done != "kept" or not keep:
            self.describe(metadata)
        elif metadata.times is not None:
            self._levels[-1].times = metadata.times
        return done

    def file(self, name: str, metadata: Metadata, fill: Callable[[int], object]) -> bool:
        """A regular file, whose data `fill` writes."""
        mode = metadata.mode
        # Set-id bits come last: they are worth something only with the right owner. An attribute
        # for the owner can be set on what may be written.
        plain = mode & 0o7000 == 0 and (mode & 0o600 == 0o600 or self._owners is None)
        birth_mode = mode & 0o777 if plain else 0o600
        try:
            fd = os.open(name, _NEW_FILE, birth_mode, dir_fd=self.fd)
        except FileExistsError:
            if not self._make_room(self.fd, name, stat.S_IFREG):
                return False
            fd = os.open(name, _NEW_FILE, birth_mode, dir_fd=self.fd)
        try:
            births = self._levels[-1].births
            born = births.get(mode)
            if born is None:
                found = os.fstat(fd)
                # A new file has no record, and then it is root's.
                ids = (found.st_uid, found.st_gid) if self._owners is None else (0, 0)
                born = births[mode] = (found.st_mode, *ids)
            fill(fd)
            self._set_metadata(fd, metadata, name, born)
        finally:
            os.close(fd)
        return True

    def special(self, name: str, metadata: Metadata, target: str = "", rdev: int = 0) -> bool:
        """A symlink to `target`, or a node: `device.make` says what may come instead. Raises
        `PermissionError` where a device cannot be made."""
        kind = stat.S_IFMT(metadata.mode)
        try:
            self._make_special(name, kind, target, rdev)
        except FileExistsError:
            if not self._make_room(self.fd, name, kind):
                return False
            self._make_special(name, kind, target, rdev)
        if self._defect != "owner-last":
            owner.chown(self.fd, name, metadata.uid, metadata.gid, self._owners)
        if kind != stat.S_IFLNK:
            owner.chmod(self.fd, name, metadata.mode, self._owners)
        if self._defect == "owner-last":
            owner.chown(self.fd, name, metadata.uid, metadata.gid, self._owners)
        if metadata.xattrs or self._exact:
            _set_xattrs(xattr.at(self.fd, name), metadata.xattrs, self._exact)
        if metadata.times is not None:
            os.utime(name, ns=metadata.times, dir_fd=self.fd, follow_symlinks=False)
        return True

    def _make_special(self, name: str, kind: int, target: str, rdev: int) -> None:
        if kind == stat.S_IFLNK:
            os.symlink(target, name, dir_fd=self.fd)
        else:
            device.make(self.fd, name, kind, rdev, self.root_fd)

    def link(self, name: str, first: str, first_dir_fd: int | None = None, kind: int = 0) -> bool:
        """One more name of the file `first`, which is of type `kind`. Its metadata stay."""
        try:
            os.link(first, name, src_dir_fd=first_dir_fd, dst_dir_fd=self.fd, follow_symlinks=False)
        except FileExistsError:
            if not self._make_room(self.fd, name, kind):
                return False
            os.link(first, name, src_dir_fd=first_dir_fd, dst_dir_fd=self.fd, follow_symlinks=False)
        return True

    def restate(self, name: str, metadata: Metadata) -> None:
        """Give an entry another owner and mode. Only a difference is written, for chown(2) takes
        capabilities away."""
        found = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        if self._owners is not None:
            found = self._owners.seen(found, xattr.at(self.fd, name))
        mode, old = stat.S_IMODE(metadata.mode), stat.S_IMODE(found.st_mode)
        if (found.st_uid, found.st_gid) != (metadata.uid, metadata.gid):
            owner.chown(self.fd, name, metadata.uid, metadata.gid, self._owners)
            old &= 0o777
        if mode != old and not stat.S_ISLNK(found.st_mode):
            owner.chmod(self.fd, name, stat.S_IFMT(found.st_mode) | mode, self._owners)


def set_metadata(
    fd: int,
    metadata: Metadata,
    name: str = "",
    *,
    exact: bool = False,
    owners: "Records | None" = None,
    born: tuple[int, int, int] = _UNKNOWN,
) -> None:
    """Give an open file or directory its metadata. `born` is the mode, owner and group that it has;
    `name` is for messages."""
    mode, uid, gid, times, xattrs = metadata
    if born[1:] != (uid, gid):
        owner.fchown(fd, uid, gid, name, owners)
    if born[0] != mode:
        owner.fchmod(fd, mode, owners)
    if xattrs or exact:
        _set_xattrs(fd, xattrs, exact)
    if times is not None:
        os.utime(fd, ns=times)


def _set_xattrs(target: xattr.Target, wanted: Mapping[str, bytes], exact: bool) -> None:
    if exact:
        for name in xattr.get_all(target).keys() - wanted.keys() - _OURS:
            with suppress(PermissionError):  # trusted.* and security.* may be out of reach.
                xattr.remove(target, name)
    for name, value in wanted.items():
        xattr.set(target, name, value, tolerant=True)


def times_of(found: os.stat_result) -> tuple[int, int]:
    """The times of access and modification."""
    return found.st_atime_ns, found.st_mtime_ns
