"""What a copy puts where: the entries of a `Copy`, in order, before anything is written.

Comes in: a `Copy`, the tree it reads and a view of the destination. Goes out: entries, which are
put into a sink one after the other. The rules are those of COPY in BuildKit, learned from what it
does:

- missing directories of the destination are made with the owner of --chown and, for an octal
  --chmod, its permission bits; otherwise 0755 and root's. Existing ones are left alone;
- symlinks in the destination are followed, also the last one, also one that dangles;
- of a directory only the contents are copied: it is the destination that receives them. It gets the
  time of the directory, also if it was there before, unless something else follows into it. The
  top of a source gives no time: that of a context is not sent to BuildKit;
- directories below it unite with those of the destination, and take mode and owner of the source.
  One that --exclude or --parents lets through only for what is in it takes the mode alone;
- hardlinks within one source stay hardlinks, those between two sources do not.

Read next: `tree` and `layer`.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from minibuild.errors import DefinitionError
from minibuild.fileop.api import (
    Archive,
    Entry,
    Planned,
    Sink,
    SinkFull,
    SourceTree,
    Tally,
    made_directory,
)
from minibuild.fileop.dest import Destination, check_replaceable
from minibuild.fileop.select import Pick, Selection
from minibuild.fileop.walk import FoundFile
from minibuild.graph.mode import parse_mode
from minibuild.graph.op import Copy, FileAction
from minibuild.linux.beneath import clean, join, parents
from minibuild.linux.descriptors import closing_fd

_ROOT = (0, 0)


class EntryRules:
    """How the entries of one source look: owner and mode by the flags, and hardlinks."""

    __slots__ = ("_first_names", "_keep_owner", "_mode", "_owner", "_replaces", "_time_ns")

    def __init__(self, copy: Copy, owner: tuple[int, int] | None) -> None:
        self._replaces, self._time_ns = copy.rules.replace, copy.rules.time_ns
        self._mode = parse_mode(copy.chmod).apply if copy.chmod else stat.S_IMODE
        self._keep_owner = copy.keep_owner and owner is None
        self._owner = owner or _ROOT
        self._first_names: dict[tuple[int, int], str] = {}

    def entry(self, found: FoundFile, path: str) -> Entry:
        made = self._copied(found, path)
        if self._replaces:
            made = made._replace(replaces=True)
        return made if self._time_ns is None else made._replace(mtime_ns=self._time_ns)

    def _copied(self, found: FoundFile, path: str) -> Entry:
        status = found.stat
        kind = stat.S_IFMT(status.st_mode)
        mode = kind | (0o777 if kind == stat.S_IFLNK else self._mode(status.st_mode))
        uid, gid = (status.st_uid, status.st_gid) if self._keep_owner else self._owner
        if kind == stat.S_IFREG:
            first = path
            if status.st_nlink > 1:
                first = self._first_names.setdefault((status.st_dev, status.st_ino), path)
            if first is not path:
                return Entry(path, mode, uid, gid, status.st_mtime_ns, first, hardlink=True)
            # By position: with names it takes twice as long, and most entries are made here.
            data = (status.st_size, found.dir_fd, found.name)
            return Entry(path, mode, uid, gid, status.st_mtime_ns, "", False, 0, False, *data)
        if kind == stat.S_IFLNK:
            target = os.readlink(found.name, dir_fd=found.dir_fd)
            return Entry(path, mode, uid, gid, status.st_mtime_ns, target)
        if kind == stat.S_IFSOCK:
            mode = stat.S_IFREG | stat.S_IMODE(mode)
            return Entry(path, mode, uid, gid, status.st_mtime_ns, data=b"")
        rdev = status.st_rdev if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0
        if kind == stat.S_IFCHR and not rdev:
            raise DefinitionError(
                f"cannot copy {path}: a character device 0:0 means a deleted file in overlayfs",
                hint="exclude it in the ignore file",
            )
        return Entry(path, mode, uid, gid, status.st_mtime_ns, rdev=rdev)


def put_copy(
    copy: Copy,
    tree: SourceTree,
    dest: Destination,
    sink: Sink,
    tally: Tally,
    owner: tuple[int, int] | None = None,
    *,
    more: bool = False,
) -> None:
    """Put the entries of `copy` into the sink, each directory before its contents. `owner` is what
    --chown means. `more`: another copy into the same destination follows.

    The destination is looked at while the plan is made, so it has to show at once what was put.
    Raises `DefinitionError`, and what the sink raises.
    """
    plan = _Plan(Selection(copy, tree), dest, sink, tally, owner)
    if not copy.rules.make_dest:
        plan.insist_on_parent()
    sink.begin(copy)
    with suppress(SinkFull):
        plan.put(more=more)


class _Plan:
    """A copy on its way into a sink. `_made` is how directories look that no source has."""

    def __init__(
        self,
        selection: Selection,
        dest: Destination,
        sink: Sink,
        tally: Tally,
        owner: tuple[int, int] | None,
    ) -> None:
        copy = self._copy = selection.copy
        self._selection = selection
        self._dest = dest
        self._sink = sink
        self._tally = tally
        self._owner = owner
        mode = parse_mode(copy.chmod).made_mode if copy.chmod else 0o755
        self._made = mode, owner or _ROOT, copy.rules.time_ns

    def insist_on_parent(self) -> None:
        """Raise `DefinitionError` if there is no directory to copy into."""
        above = self._dest.resolve(self._copy.dest).rpartition("/")[0]
        if self._dest.kind(above) != stat.S_IFDIR:
            raise DefinitionError(
                f"failed to stat {self._copy.dest}: there is no directory /{above}"
            )

    def put(self, *, more: bool) -> None:
        """Put all that the copy names."""
        picks = list(self._selection.picks())
        timed = self._timed(picks) if picks and picks[-1].is_dir and not more else None
        for pick in picks:
            self._sink.enter(pick)
            if timed is not None and (pick is picks[0] or pick.wanted is not None):
                self._make_directories(timed.path.rpartition("/")[0])
                self._sink.put(timed)
            if pick.is_dir:
                self._put_directory(pick)
                continue
            with self._selection.parent(pick) as (dir_fd, name):
                found = FoundFile(pick.real, dir_fd, name, pick.stat)
                if stat.S_ISSOCK(pick.stat.st_mode) and not self._selection.tree.local:
                    continue  # no layer keeps one
                for entry in self._file(pick, found):
                    is_new = isinstance(entry, Entry) and not entry.keep
                    self._sink.put(entry, found if is_new else None)
                    self._tally.add(entry)

    def _timed(self, picks: Sequence[Pick]) -> Entry | None:
        """The destination with the time that the last directory brings along, if it does."""
        copy, (mode, owner, time_ns) = self._copy, self._made
        if time_ns is None and picks[-1].real:
            time_ns = picks[-1].stat.st_mtime_ns
        top = self._dest.resolve(copy.dest)
        kind = self._dest.kind(top)
        is_made = not kind and (picks[0].is_dir or names_directory(copy.dest))
        if time_ns is None or not top or not (is_made or kind == stat.S_IFDIR):
            return None
        return made_directory(top, mode, owner, time_ns) if copy.rules.contents else None

    def _put_directory(self, pick: Pick) -> None:
        copy, dest, sink = self._copy, self._dest, self._sink
        rules = EntryRules(copy, self._owner)
        top, itself = dest.resolve(copy.dest), False
        if not copy.rules.contents:
            if names_directory(copy.dest):
                self._make_directories(top)
            if dest.kind(top) == stat.S_IFDIR:
                top = join(top, clean(pick.named).rpartition("/")[2])
            itself = not dest.kind(top)
        if not names_directory(copy.dest) and not copy.rules.replace:
            check_replaceable(top, stat.S_IFDIR, dest.kind(top))
        if copy.rules.replace and dest.kind(top) not in (0, stat.S_IFDIR):
            sink.put(made_directory(top, *self._made)._replace(replaces=True))
        self._make_directories(top.rpartition("/")[0] if itself else top)
        if itself:
            with self._selection.parent(pick) as (dir_fd, name):
                found = FoundFile(pick.real, dir_fd, name, pick.stat)
                sink.put(rules.entry(found, top))
        put, count = sink.put, self._tally.add
        for found in sink.below(pick, top, self._selection.below(pick)):
            entry = rules.entry(found, join(top, found.path))
            if found.implied and dest.kind(entry.path) == stat.S_IFDIR:
                # Only the way to what is copied: --chown and --chmod do not mean it.
                mode, (uid, gid) = found.stat.st_mode, dest.owner(entry.path)
                entry = entry._replace(mode=mode, uid=uid, gid=gid)
            put(entry, found)
            count(entry)

    def _make_directories(self, real: str) -> None:
        for entry in make_directories(self._dest, real, *self._made):
            self._sink.put(entry)

    def _file(self, pick: Pick, found: FoundFile) -> Iterator[Planned]:
        """The entry of one file, and before it those of directories that it needs."""
        copy, dest = self._copy, self._dest
        target = dest.resolve(copy.dest)
        if copy.unpack and _is_archive(found):
            # --chmod is not for archives.
            yield from make_directories(dest, target, 0o755, *self._made[1:])
            yield Archive(target, found.dir_fd, found.name, self._owner)
            return
        if names_directory(copy.dest):
            yield from make_directories(dest, target, *self._made)
        if dest.kind(target) == stat.S_IFDIR:
            target = join(target, clean(pick.named).rpartition("/")[2])
        yield from make_directories(dest, target.rpartition("/")[0], *self._made)
        yield EntryRules(copy, self._owner).entry(found, target)


def make_directories(
    dest: Destination, real: str, mode: int, owner: tuple[int, int], time_ns: int | None = None
) -> Iterator[Entry]:
    """The missing ones of the directory `real` and those above it."""
    for path in parents(real):
        kind = dest.kind(path)
        if not kind:
            yield made_directory(path, mode, owner, time_ns)
        elif kind != stat.S_IFDIR:
            raise DefinitionError(
                f"mkdir /{path}: not a directory",
                hint="the destination goes through a file of the image",
            )


def goes_on(action: Copy, later: Iterable[FileAction]) -> bool:
    """Whether a later action of the same op copies into the destination of this one."""
    return any(isinstance(one, Copy) and one.dest == action.dest for one in later)


def names_directory(path: str) -> bool:
    """Whether `path` says by its end that it is a directory: `d/` or `d/.`."""
    return path.endswith(("/", "/.")) or path in ("", ".")


def _is_archive(found: FoundFile) -> bool:
    if not stat.S_ISREG(found.stat.st_mode):
        return False
    # Only ADD looks inside, and this loads the decompressors.
    from minibuild.layer.archive import detect

    fd = os.open(found.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=found.dir_fd)
    with closing_fd(fd):
        return detect(fd) is not None
