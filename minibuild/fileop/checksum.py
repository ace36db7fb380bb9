"""Fingerprints of what a copy or a bind mount would read: what cache keys are made of.

Comes in: a `Copy` (or a path) and the tree it reads. Goes out: pairs of a path and a fingerprint,
sorted by path, such as `("/src/a.py", "file 0644 2c26b46b...")`. A fingerprint says what can be
seen in the result and nothing else: no times, no mode that --chmod replaces, no owner that is
not kept, nothing of a file that is ignored or excluded. It is readable on purpose: a cache miss
is explained by two of them side by side.
Read next: `memo`, which spares reading files that have not changed.
"""

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from typing import NamedTuple

from minibuild.errors import DefinitionError
from minibuild.fileop.api import SourceTree
from minibuild.fileop.data import CAPABILITY, READ, SMALL
from minibuild.fileop.dirs import DirStack
from minibuild.fileop.explain import explained, unreadable
from minibuild.fileop.memo import BATCH, DigestMemo
from minibuild.fileop.mode import ModeRule, parse_mode
from minibuild.fileop.paths import join
from minibuild.fileop.select import Pick, Selection
from minibuild.graph.op import Copy
from minibuild.linux import xattr

__all__ = ["Contents", "DigestMemo", "changed_since", "content_digests", "tree_digests"]

Contents = tuple[tuple[str, str], ...]

_TYPES = {
    stat.S_IFDIR: "dir",
    stat.S_IFREG: "file",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFSOCK: "socket",
}
_KEEP_MODE = ModeRule(None)
_TICK_NS = 20_000_000
_ALL_NEW = (None,) * BATCH
_FIRST_BATCH = 16
"""A memo that raises for what it does not know raises soon: most often all is new, or nothing."""


class _Item(NamedTuple):
    """A path of the answer. `real` is where the data is; `data` says whether it is wanted."""

    label: str
    real: str
    stat: os.stat_result
    words: str
    data: bool


def content_digests(copy: Copy, tree: SourceTree, memo: DigestMemo | None = None) -> Contents:
    """The fingerprints of everything that `copy` would take from `tree`.

    Raises `DefinitionError` for a source that is not there, as the copy itself would.
    """
    selection = Selection(copy, tree)
    prints = _Prints(
        parse_mode(copy.chmod) if copy.chmod else _KEEP_MODE,
        owners=copy.keep_owner and not copy.chown,
    )
    return _fingerprints(selection, prints, memo)


def tree_digests(tree: SourceTree, path: str, memo: DigestMemo | None = None) -> Contents:
    """The fingerprints of all that a bind mount of `path` shows, owners and all modes included."""
    selection = Selection(Copy(0, (path or "/",), "/", keep_owner=True), tree)
    prints = _Prints(_KEEP_MODE, owners=True, tops=True)
    return _fingerprints(selection, prints, memo)


def changed_since(reader: Copy | str, tree: SourceTree, since_ns: int) -> bool:
    """Whether what a copy (or a bind mount of a path) reads may have changed since that time.

    Nobody can set a ctime, so files whose ctime is older are as they were. The clock that stamps
    them is behind by up to a tick; a file of that moment counts as changed.
    """
    copy = Copy(0, (reader or "/",), "/") if isinstance(reader, str) else reader
    selection, limit_ns = Selection(copy, tree), since_ns - _TICK_NS
    try:
        for pick in selection.picks():
            if pick.stat.st_ctime_ns >= limit_ns:
                return True
            if pick.is_dir and any(f.stat.st_ctime_ns >= limit_ns for f in selection.below(pick)):
                return True
    except (DefinitionError, OSError):
        return True  # Something is not there any more.
    return False


def _fingerprints(selection: Selection, prints: "_Prints", memo: DigestMemo | None) -> Contents:
    with explained("reading the files of a copy"), DirStack(selection.tree.fd) as dirs:
        reading = _Reading(dirs, memo)
        # All picks first: a source that is not there is told before anything is read.
        for pick in list(selection.picks()):
            for item in _read_pick(selection, pick, prints):
                reading.add(item)
        return reading.finish()


class _Prints:
    """Which properties count. `tops`: also those of a directory whose contents are taken."""

    __slots__ = ("_known", "_owners", "_rule", "_tops")

    def __init__(self, rule: ModeRule, *, owners: bool, tops: bool = False) -> None:
        self._rule = rule
        self._owners = owners
        self._tops = tops
        self._known: dict[tuple[int, int, int, int], str] = {}

    def top(self, pick: Pick) -> str:
        """The words for a picked directory, which a copy does not copy."""
        return self.words(pick.stat, "") if self._tops else "dir"

    def words(self, status: os.stat_result, more: str) -> str:
        """The fingerprint but for the data: type, mode, owner, and what else belongs to it."""
        # The files of a tree look much alike, so the words for most of them are there already.
        look = (status.st_mode, status.st_uid, status.st_gid, status.st_rdev)
        words = self._known.get(look)
        if words is None:
            words = self._known[look] = self._words(status)
        return f"{words} {more}" if more else words

    def _words(self, status: os.stat_result) -> str:
        kind = stat.S_IFMT(status.st_mode)
        words = [_TYPES[kind]]
        if kind != stat.S_IFLNK:
            words.append(f"{self._rule.apply(status.st_mode):04o}")
        if self._owners:
            words.append(f"{status.st_uid}:{status.st_gid}")
        if kind in (stat.S_IFCHR, stat.S_IFBLK):
            words.append(f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}")
        return " ".join(words)


def _read_pick(selection: Selection, pick: Pick, prints: _Prints) -> Iterator[_Item]:
    label = "/" + pick.named
    if not pick.is_dir:
        yield _Item(label, pick.real, pick.stat, prints.words(pick.stat, ""), _has_data(pick.stat))
        return
    yield _Item(label, pick.real, pick.stat, prints.top(pick), False)
    first_names: dict[tuple[int, int], str] = {}
    prefix = label.rstrip("/") + "/"
    for found in selection.below(pick):
        status, more, data = found.stat, "", _has_data(found.stat)
        if data and status.st_nlink > 1:
            # Two names of one file are copied as such, so it matters which names they are.
            first = first_names.setdefault((status.st_dev, status.st_ino), found.path)
            if first is not found.path:
                more, data = f"hardlink {first}", False
        elif stat.S_ISLNK(status.st_mode):
            more = os.readlink(found.name, dir_fd=found.dir_fd)
        real = join(pick.real, found.path)
        yield _Item(prefix + found.path, real, status, prints.words(status, more), data)


def _has_data(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode)


class _Reading:
    """Puts fingerprints together, batch by batch: the memo is asked for many files at once, and
    nobody holds the metadata of a whole context (1.3 KiB for each of its files)."""

    __slots__ = ("_batch", "_began_ns", "_found", "_fresh", "_hasher", "_memo", "_size")

    def __init__(self, dirs: DirStack, memo: DigestMemo | None) -> None:
        self._memo = memo
        self._hasher = _Hasher(dirs)
        self._batch: list[_Item] = []
        self._size = _FIRST_BATCH
        self._fresh: list[tuple[os.stat_result, bytes]] = []
        self._found: dict[str, str] = {}
        self._began_ns = time.time_ns()

    def add(self, item: _Item) -> None:
        """One item more. Raises what the memo raises for a file that it does not know."""
        if not item.data:
            self._tell(item.label, item.words)
            return
        self._batch.append(item)
        if len(self._batch) == self._size:
            self._settle()
            self._size = BATCH

    def _settle(self) -> None:
        """The digests of a batch; files the memo knows stay closed."""
        batch = self._batch
        known = self._memo.recall([item.stat for item in batch]) if self._memo else _ALL_NEW
        for item, digest in zip(batch, known, strict=False):
            if digest is None:
                status, digest = self._hasher.digest(item)
                self._fresh.append((status, digest))
            self._tell(item.label, f"{item.words} {digest.hex()}")
        batch.clear()

    def _tell(self, label: str, words: str) -> None:
        # A path may be read twice, once as itself and once inside another source.
        before = self._found.setdefault(label, words)
        if before != words:
            self._found[label] = f"{before}; {words}"

    def finish(self) -> Contents:
        """All fingerprints."""
        self._settle()
        if self._memo is not None and self._fresh:
            self._memo.remember(self._fresh, self._began_ns)
        return tuple(sorted(self._found.items()))


class _Hasher:
    """Hashes files with one buffer: a fresh one for each file would cost more than the hashing."""

    __slots__ = ("_buffer", "_dirs", "_view")

    def __init__(self, dirs: DirStack) -> None:
        self._dirs = dirs
        self._buffer = bytearray(SMALL)
        self._view = memoryview(self._buffer)

    def digest(self, item: _Item) -> tuple[os.stat_result, bytes]:
        """What the file was before it was read, and the digest of its data and capabilities."""
        above, _, name = item.real.rpartition("/")
        dirs = self._dirs
        dir_fd = dirs.fd if dirs.path == above else dirs.enter(above)
        try:
            fd = os.open(name, READ, dir_fd=dir_fd)
        except PermissionError as error:
            raise unreadable(item.label, error) from error
        try:
            status = os.fstat(fd)
            sha, total = hashlib.sha256(), 0
            while count := os.readv(fd, [self._buffer]):
                sha.update(self._view[:count])
                total += count
                # A filesystem may give less than was asked for before the end, as FUSE can.
                if count < SMALL and total >= status.st_size:
                    break
            if CAPABILITY in xattr.names(fd):
                sha.update(b"\0" + CAPABILITY.encode() + (xattr.get(fd, CAPABILITY) or b""))
            return status, sha.digest()
        finally:
            os.close(fd)
