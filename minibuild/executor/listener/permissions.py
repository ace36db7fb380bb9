"""Whether a process may do with a file what it asks for: what the kernel would say to its user.

Comes in: an identity, and a path of a process. Goes out: nothing, or `PermissionError`. To the
kernel each process is root, so here a path is walked as path_resolution(7) has it: each directory
on the way has to be one that the user may search. It is a matter of the same result, and no
boundary: the kernel walks again when it goes on with the call, and a program that changes a
directory meanwhile can get past. What is in /proc, and devices, the kernel alone decides upon.
"""

import errno
import os
import stat

from minibuild.executor.listener.arguments import OpenHow
from minibuild.executor.listener.file_owners import FileOwners
from minibuild.executor.listener.identity import Identity, may_access, may_change
from minibuild.executor.listener.process import FilePlace, Processes
from minibuild.linux.syscalls import AT_SYMLINK_NOFOLLOW

READ, WRITE, SEARCH = 4, 2, 1
_WANTED = (READ, WRITE, READ | WRITE, READ | WRITE)
"""By the last two bits of what open(2) gets."""
_ITSELF = os.O_CREAT | os.O_EXCL
_MOST_LINKS = 40
_ALL_SEARCH = 0o111
_PROTECTS_LINKS = "sys/fs/protected_hardlinks"
PathStat = tuple[str, os.stat_result]
"""Where something is, by a path that has no symlink for us, and what lstat(2) says of it."""


class NotJudged(OSError):
    """The kernel alone says what may be done in /proc."""


def refused(code: int) -> OSError:
    """The error of this number."""
    return OSError(code, os.strerror(code))


class Permissions:
    """Those in the tree of a step. `guarded`: all calls that change one are handed over, so that
    the way to a folder need not be walked for each file in it."""

    __slots__ = ("_keeps", "_open", "_owned", "_proc", "_processes", "_protects_links")

    def __init__(self, processes: Processes, owned: FileOwners, *, guarded: bool) -> None:
        self._keeps = guarded
        self._open: dict[str, str] = {}
        self._processes = processes
        self._owned = owned
        with open(_PROTECTS_LINKS, "rb") as file:
            self._protects_links = file.read(1) == b"1"
        try:
            self._proc = os.stat("/proc").st_dev
        except OSError:
            self._proc = -1

    def forget(self) -> None:
        """A mode, an owner or a name changes: ways that were open may no longer be."""
        self._open.clear()

    def find(self, who: Identity, place: FilePlace, *_: int) -> PathStat:
        """What a path of a process leads to. Raises `PermissionError` for a directory that may not
        be searched, and any other `OSError` for what is not there, or is not ours to judge."""
        path, follow = place.path, place.follow
        folder, slash, name = path.rpartition("/")
        if slash and (at := self._open.get(folder)) and name not in ("", ".", ".."):
            there = f"{at}/{name}"
            found = os.lstat(there)
            if not follow or not stat.S_ISLNK(found.st_mode):
                return there, found
        root = f"{place.pid}/root" if self._processes.rooted else ""
        start = root if path.startswith("/") else place.base
        return self._walk(who, root, start, path, follow=follow)

    def _walk(self, who: Identity, root: str, at: str, path: str, *, follow: bool) -> PathStat:
        found = os.stat(at or "/")
        names = path.split("/")[::-1]
        # What is kept is the folder of an absolute path to which all directories are open to all.
        keeps = self._keeps and not at
        links = 0
        while names:
            name = names.pop()
            if name in ("", "."):
                continue
            if found.st_dev == self._proc:
                raise NotJudged
            if stat.S_ISDIR(found.st_mode):
                self.check(who, (at or "/", found), SEARCH)
                keeps = keeps and found.st_mode & _ALL_SEARCH == _ALL_SEARCH
            if keeps and not names:
                self._open[path.rpartition("/")[0]] = at
            below = f"{at}/{name}"
            entry = os.lstat(below)
            if not stat.S_ISLNK(entry.st_mode) or not (names or follow):
                at, found = below, entry
                continue
            links += 1
            if links > _MOST_LINKS:
                raise refused(errno.ELOOP)
            keeps = keeps and bool(names)  # Else the folder to come is that of the link.
            target = os.readlink(below)
            names += target.split("/")[::-1]
            if target.startswith("/"):
                at, found = root, os.stat(root or "/")
        return at or "/", found

    def check(self, who: Identity, file: PathStat, wanted: int) -> None:
        """Raise `PermissionError` if the mode of a file does not grant what is `wanted`."""
        mode = file[1].st_mode
        if not wanted & ~(mode & mode >> 3 & mode >> 6):
            return  # All may. Nearly all files are of that kind, and need no owner.
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            return
        if not may_access(who, self._owned.owner_at(*file), mode, wanted):
            raise refused(errno.EACCES)

    def check_change(self, who: Identity, file: PathStat) -> None:
        """The same for what only the owner of a file may do."""
        if not may_change(who, self._owned.owner_at(*file)):
            raise refused(errno.EPERM)

    def parent(self, who: Identity, place: FilePlace) -> tuple[PathStat, str]:
        """The directory in which a path ends, and the name there."""
        parent, slash, name = place.path.rstrip("/").rpartition("/")
        return self.find(who, place.with_path(parent + slash)), name

    def check_making(self, who: Identity, place: FilePlace, *_: int | str) -> None:
        """The same for a new entry. That it is there already is another error, and goes first."""
        parent, name = self.parent(who, place)
        self.check(who, parent, SEARCH)
        try:
            os.lstat(f"{parent[0]}/{name}")
        except FileNotFoundError:
            self.check(who, parent, WRITE | SEARCH)

    def check_open(self, who: Identity, place: FilePlace, how: OpenHow) -> None:
        """The same for open(2)."""
        flags = how.flags
        if flags & os.O_NOFOLLOW or flags & _ITSELF == _ITSELF:
            place = FilePlace(place.pid, place.directory, place.path, AT_SYMLINK_NOFOLLOW)
        try:
            file = self.find(who, place)
        except FileNotFoundError:
            if flags & os.O_CREAT:
                self.check_making(who, place)
            return
        if flags & _ITSELF == _ITSELF:
            return  # That is another error.
        wanted = 0 if flags & os.O_PATH else _WANTED[flags & os.O_ACCMODE]
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            wanted = WRITE | SEARCH
        elif flags & os.O_TRUNC:
            wanted |= WRITE
        elif wanted & WRITE and stat.S_ISDIR(file[1].st_mode):
            return  # And this one, too.
        self.check(who, file, wanted)

    def check_removal(self, who: Identity, parent: PathStat, name: str) -> PathStat:
        """The same for an entry that goes; in a sticky directory only those of the user's own."""
        path = f"{parent[0]}/{name}"
        self.check(who, parent, SEARCH)
        entry = path, os.lstat(path)
        self.check(who, parent, WRITE | SEARCH)
        if parent[1].st_mode & stat.S_ISVTX and not may_change(who, self._owned.owner_at(*parent)):
            self.check_change(who, entry)
        return entry

    def check_link(self, who: Identity, file: PathStat) -> None:
        """The same for a file that gets another name, where /proc/sys/fs/protected_hardlinks says
        so."""
        mode = file[1].st_mode
        if not self._protects_links or may_change(who, self._owned.owner_at(*file)):
            return
        plain = stat.S_ISREG(mode) and not mode & stat.S_ISUID and mode & 0o2010 != 0o2010
        if not plain or not may_access(who, self._owned.owner_at(*file), mode, READ | WRITE):
            raise refused(errno.EPERM)
