"""A tree that steps write to, kept in step with snapshots, which nothing writes to.

Comes in: the directory of a snapshot that is being made, with the tree before the step. Goes out:
that directory with what the step changed. A working tree is a copy of the files of one snapshot,
with a note for each path: which inode of the snapshot it was copied from, and what inode and change
time the copy has. So two questions are answered by lstat(2) alone, and no file is read:

- *What has to be copied before a step?* What is another inode in its snapshot than in the note.
- *What did the step change?* What has another inode or change time than in the note. A program can
  set back the time of a file, but not the change time (inode(7)).

What a step changed is linked into the snapshot, and not copied. The next step could change it
there; so what shares its inode with a snapshot is copied before that. If none comes, it never is.
Read next: `snapshot.apply`, which does the writing.
"""

import os
import stat
import threading
from collections.abc import Iterable

from minibuild.executor.ownroot import exchange
from minibuild.executor.ownroot.exchange import Moved
from minibuild.linux import xattr
from minibuild.snapshot.api import Change, Kind, MergePolicy
from minibuild.snapshot.apply import Applier
from minibuild.snapshot.compare import same_directory, same_file
from minibuild.snapshot.view import View
from minibuild.startup.tuples import NamedTuple

Found = dict[str, os.stat_result]
"""A tree by its paths, which begin with a slash; without its root."""

Source = tuple[int, int, int, int, int, int]
"""What a file of a snapshot is known by. An inode may be used again when its file is gone; size,
time, mode and owners then tell that it is another."""

_NOTHING = View((), "plain")


class _Note(NamedTuple):
    """A path of a working tree: the file of a snapshot that it is like, and its own inode and
    change time."""

    source: Source
    inode: int
    changed_ns: int


class WorkingTree:
    """A folder with such a tree."""

    __slots__ = ("_notes", "folder")

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._notes: dict[str, _Note] = {}
        os.mkdir(folder, 0o755)

    def remove(self) -> None:
        """Remove the folder."""
        exchange.remove(self.folder)

    def likeness(self, snapshot: Found) -> int:
        """How many paths would not have to be copied."""
        notes = self._notes
        return sum(
            1 for path, found in snapshot.items() if path in notes and _is(notes[path], found)
        )

    def follow(self, snapshot: str, found: Found, cancelled: threading.Event) -> None:
        """Make the tree like that of a snapshot, which `found` was read from."""
        notes = self._notes
        wanted = {
            path
            for path, status in found.items()
            if path not in notes
            or not _is(notes[path], status)
            or (stat.S_ISDIR(status.st_mode) and not self._has_attributes_of(snapshot, path))
        }
        _add_other_names(wanted, found)
        gone = [path for path in notes if path not in found]
        self._apply(self.folder, snapshot, found, wanted, gone, cancelled, link=False)
        for path in gone:
            del notes[path]
        for path in (*wanted, *_parents(wanted)):
            status = found.get(path)
            if status is not None:
                notes[path] = _note(status, os.lstat(self.folder + path))

    def hand_over(
        self, snapshot: str, moved: tuple[Moved, Moved], cancelled: threading.Event
    ) -> None:
        """Put into the snapshot what was changed since `follow`. `moved` are the marks of what
        was moved in and out, because moving changes their times."""
        notes, now = self._notes, scan(self.folder)
        went_in, came_out = moved
        for path, mark in came_out.items():
            if went_in.get(path) == mark and path in notes and path in now:
                status = now[path]
                notes[path] = notes[path]._replace(
                    inode=status.st_ino, changed_ns=status.st_ctime_ns
                )
        suspects = {
            path
            for path, status in now.items()
            if path not in notes or notes[path][1:] != (status.st_ino, status.st_ctime_ns)
        }
        _add_other_names(suspects, now)
        wanted = {path for path in suspects if not self._is_as_before(snapshot, path, now)}
        _add_other_names(wanted, now)
        gone = [path for path in notes if path not in now]
        self._apply(snapshot, self.folder, now, wanted, gone, cancelled, link=True)
        for path in gone:
            del notes[path]
        for path in suspects | wanted:
            notes[path] = _note(os.lstat(snapshot + path), os.lstat(self.folder + path))

    def _has_attributes_of(self, snapshot: str, path: str) -> bool:
        """Whether a directory has those of the snapshot's, which no time of it tells."""
        return xattr.get_all(self.folder + path) == xattr.get_all(snapshot + path)

    def _is_as_before(self, snapshot: str, path: str, now: Found) -> bool:
        """Whether a path that was touched is the same all the same."""
        if path not in self._notes:
            return False
        before, after = snapshot + path, self.folder + path
        if stat.S_IFMT(os.lstat(before).st_mode) != stat.S_IFMT(now[path].st_mode):
            return False
        if stat.S_ISDIR(now[path].st_mode):
            return same_directory(before, after)
        return same_file(before, after)

    def _apply(
        self,
        target: str,
        source: str,
        found: Found,
        wanted: set[str],
        gone: list[str],
        cancelled: threading.Event,
        *,
        link: bool,
    ) -> None:
        applier = Applier(target, _NOTHING, MergePolicy(), link=link, cancelled=cancelled)
        applier.apply(_changes(source, found, wanted, gone))


def scan(folder: str) -> Found:
    """A tree, by one lstat(2) for each path."""
    found: Found = {}
    left = [""]
    while left:
        path = left.pop()
        with os.scandir(folder + path) as entries:
            for entry in entries:
                inner = f"{path}/{entry.name}"
                status = found[inner] = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    left.append(inner)
    return found


def _source(found: os.stat_result) -> Source:
    if stat.S_ISDIR(found.st_mode):
        return (0, 0, found.st_mtime_ns, found.st_mode, found.st_uid, found.st_gid)
    return (
        found.st_ino,
        found.st_size,
        found.st_mtime_ns,
        found.st_mode,
        found.st_uid,
        found.st_gid,
    )


def _note(source: os.stat_result, copy: os.stat_result) -> _Note:
    return _Note(_source(source), copy.st_ino, copy.st_ctime_ns)


def _is(note: _Note, found: os.stat_result) -> bool:
    """Whether a path is a copy of this file of a snapshot, and no other name of it."""
    return note.source == _source(found) and note.inode != found.st_ino


def _add_other_names(paths: set[str], found: Found) -> None:
    """Add the other names of files that have several: what is written again has to be linked
    to them."""
    inodes = {
        found[path].st_ino
        for path in paths
        if path in found and found[path].st_nlink > 1 and not stat.S_ISDIR(found[path].st_mode)
    }
    if inodes:
        paths.update(path for path, status in found.items() if status.st_ino in inodes)


def _parents(paths: Iterable[str]) -> set[str]:
    found = set()
    for path in paths:
        while (path := path.rpartition("/")[0]) and path not in found:
            found.add(path)
    return found


def _changes(source: str, found: Found, wanted: set[str], gone: Iterable[str]) -> Iterable[Change]:
    """The changes in walk order, each directory before what is in it, the root always."""
    root = os.lstat(source)
    yield Change(Kind.MODIFY, "", source, root.st_ino, stat.S_IFDIR)
    dropped = {path for path in gone if _is_topmost(path, found)}
    paths = wanted | dropped | _parents(wanted) | _parents(dropped)
    for path in sorted(paths, key=lambda path: os.fsencode(path).split(b"/")):
        status = found.get(path)
        if status is None:
            yield Change(Kind.DELETE, path[1:])
        else:
            kind = stat.S_IFMT(status.st_mode)
            yield Change(Kind.MODIFY, path[1:], source + path, status.st_ino, kind)


def _is_topmost(path: str, found: Found) -> bool:
    """Whether its directory is still there: what goes with that need not be removed by itself."""
    parent = path.rpartition("/")[0]
    return not parent or (parent in found and stat.S_ISDIR(found[parent].st_mode))
