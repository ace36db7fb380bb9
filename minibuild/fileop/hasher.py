"""What of a file counts in a cache key, in words; and the sink that notes it during a copy.

Comes in: metadata of what a copy or a bind mount reads, and digests of data. Goes out: lines of a
path and a fingerprint, such as `/src/a.py` and `file 0644 2c26b46b...`. A fingerprint says what
can be seen in the result and nothing else: no times, no mode that --chmod replaces, no owner that
is not kept. It is readable on purpose: a cache miss is explained by two of them side by side.

A key is usually known before the work, for the work may be in the cache. Where it cannot be, as
nothing like it was ever done, each file need be read only once, by the copy: 20,000 small files are
walked, opened and read in 0.3 seconds. What is said here of a file is then said of the very bytes
that were copied, so nothing has to be looked at again to see whether it changed meanwhile.
Read next: `checksum`, which reads files that are not copied.
"""

import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from minibuild.fileop.api import Entry, Planned, Sink
from minibuild.fileop.digest_cache import STAMP, FreshDigests
from minibuild.fileop.select import Pick
from minibuild.graph.op import Copy
from minibuild.linux.contents import SMALL
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from minibuild.fileop.walk import FoundFile

Contents = tuple[str, ...]
"""A `line` for each path, sorted by path. There may be 100,000, and a string for each takes half
the memory of a tuple of two."""

TYPES = {
    stat.S_IFDIR: "dir",
    stat.S_IFREG: "file",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFSOCK: "socket",
}

READ_NOW = b"\xff" * STAMP.size
"""Instead of a stamp: that of no file."""

_STAMPS = struct.Struct(f"{STAMP.size}s")

Item = tuple[str, str, bool]
"""A path of the answer, its fingerprint, and whether the digest of data is to follow there."""


class Prints:
    """Which properties count. `mode` says what the permission bits of a copy are, from the mode of
    its source. `tops`: also those of a directory whose contents are taken."""

    __slots__ = ("_known", "_mode", "_owners", "_tops")

    def __init__(self, mode: Callable[[int], int], *, owners: bool, tops: bool = False) -> None:
        self._mode = mode
        self._owners = owners
        self._tops = tops
        self._known: dict[tuple[int, int, tuple[int, ...]], str] = {}

    def top(self, pick: Pick) -> str:
        """The words for a picked directory, which a copy does not copy."""
        return self.words(pick.stat, "") if self._tops else "dir"

    def words(self, status: os.stat_result, more: str) -> str:
        """The fingerprint but for the data: type, mode, owner, and what else belongs to it."""
        # The files of a tree look much alike, so the words for most of them are there already.
        owner = (status.st_uid, status.st_gid) if self._owners else ()
        look = (status.st_mode, status.st_rdev, owner)
        words = self._known.get(look)
        if words is None:
            words = self._known[look] = self._words(status)
        return f"{words} {more}" if more else words

    def _words(self, status: os.stat_result) -> str:
        kind = stat.S_IFMT(status.st_mode)
        words = [TYPES[kind]]
        if kind != stat.S_IFLNK:
            words.append(f"{self._mode(status.st_mode):04o}")
        if self._owners:
            words.append(f"{status.st_uid}:{status.st_gid}")
        if kind in (stat.S_IFCHR, stat.S_IFBLK):
            words.append(f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}")
        return " ".join(words)


def prints_of(copy: Copy) -> Prints:
    """What counts for a copy."""
    mode = stat.S_IMODE
    if copy.chmod:
        from minibuild.graph.mode import parse_mode

        mode = parse_mode(copy.chmod).apply
    tops = not copy.rules.contents
    return Prints(mode, owners=copy.keep_owner and not copy.chown, tops=tops)


class Labels:
    """The items of one pick, in the order of the walk."""

    __slots__ = ("_first_names", "_pick", "_prefix", "_prints", "not_alone")

    def __init__(self, pick: Pick, prints: Prints) -> None:
        self.not_alone: set[str] = set()
        """Paths below the pick whose items depend on others: names of one file, and ways."""
        self._pick = pick
        self._prints = prints
        self._prefix = ("/" + pick.named).rstrip("/") + "/"
        self._first_names: dict[tuple[int, int], str] = {}

    def top(self) -> Item:
        """The pick itself."""
        pick, label = self._pick, "/" + self._pick.named
        if pick.is_dir:
            return label, self._prints.top(pick), False
        words = self._prints.words(pick.stat, "")
        return label, words, stat.S_ISREG(pick.stat.st_mode)

    def below(self, found: "FoundFile", target: str | None = None) -> Item:
        """Something in a picked directory; `target` is what a symlink says, if it was read."""
        status, more, path = found.stat, "", found.path
        kind = stat.S_IFMT(status.st_mode)
        data = kind == stat.S_IFREG
        if data and status.st_nlink > 1:
            # Two names of one file are copied as such, so it matters which names they are.
            first = self._first_names.setdefault((status.st_dev, status.st_ino), path)
            if first is not path:
                more, data = f"hardlink {first}", False
                self.not_alone.update((first, path))
        elif kind == stat.S_IFLNK:
            more = os.readlink(found.name, dir_fd=found.dir_fd) if target is None else target
        elif found.implied:
            # The way to what is copied: its mode counts where it is there already, see `plan`.
            more = f"way {stat.S_IMODE(status.st_mode):04o}"
            self.not_alone.add(path)
        return self._prefix + path, self._prints.words(status, more), data


def line(label: str, words: str) -> str:
    """A path and its fingerprint as one string, which sorts as the path does."""
    return f"{label}\0{words}"


def sorted_prints(found: Iterable[str], *, repeated: bool) -> Contents:
    """Lines as they became known, each path once. `repeated`: a path may have been read twice, once
    as itself and once inside another source."""
    listed = sorted(found)
    return tuple(_merged(listed) if repeated else listed)


def _merged(listed: Iterable[str]) -> Iterator[str]:
    for label, lines in groupby(listed, lambda one: one[: one.index("\0")]):
        first, *others = lines
        if others:
            words = dict.fromkeys(one[len(label) + 1 :] for one in (first, *others))
            first = line(label, "; ".join(words))
        yield first


class SourceLook:
    """What a look saw of one directory that is copied: its path `top`, and for itself and all that
    is in it, in the order of the walk, `lines` and stamps (`digest_cache.STAMP`). What was read has
    the stamp `READ_NOW`, because it may have been written meanwhile. What is `not_alone` is more
    than its stamp says (see `Labels`). `top` is None if it was not just one directory that was
    looked at."""

    __slots__ = ("_picks", "lines", "not_alone", "stamps", "top")

    def __init__(self) -> None:
        self._picks = 0
        self.top: str | None = None
        self.lines: list[str] = []
        self.stamps = bytearray()
        self.not_alone: set[str] = set()

    def begin(self, pick: Pick, labels: Labels, lines: list[str]) -> None:
        """The next stamps are those of a pick, and of what is below it."""
        self._picks += 1
        self.top = pick.real if pick.is_dir and self._picks == 1 else None
        self.lines, self.not_alone = lines, labels.not_alone

    def items(self) -> Iterator[tuple[str, tuple[bytes]]]:
        """All lines, each with its stamp."""
        return zip(self.lines, _STAMPS.iter_unpack(self.stamps), strict=True)

    def forget(self) -> None:
        """Let go of what was seen: of 100,000 files it is 5 MiB."""
        self.top, self.lines, self.stamps = None, [], bytearray()


class CopyFingerprints(NamedTuple):
    """The fingerprints of each copy of an op, and `fresh` rows for the cache of digests, those of
    each process that copied."""

    contents: list[Contents]
    fresh: list[bytearray]


class ForwardingSink(Sink):
    """Puts entries into another sink, beside what it does itself."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.digest = b""

    def begin(self, copy: Copy) -> None:
        self._sink.begin(copy)

    def enter(self, pick: Pick) -> None:
        self._sink.enter(pick)

    def settle(self) -> None:
        self._sink.settle()


class ContentHasher(ForwardingSink):
    """Puts the entries of copies into another sink, which hashes the files that it reads."""

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink)
        self._copies: list[list[str]] = []
        self._repeated = False
        self._fresh = FreshDigests()
        self._whole = True

    def begin(self, copy: Copy) -> None:
        super().begin(copy)
        self._prints = prints_of(copy)
        self._copies.append([])

    def enter(self, pick: Pick) -> None:
        super().enter(pick)
        self._pick = pick
        self._labels = Labels(pick, self._prints)
        self._repeated = self._repeated or bool(self._copies[-1])
        if pick.is_dir:
            self._copies[-1].append(line(*self._labels.top()[:2]))

    def put(self, entry: Planned, found: "FoundFile | None" = None) -> None:
        """Put an entry, and note the fingerprint of what a source has."""
        sink = self._sink
        sink.put(entry, found)
        if found is None or not isinstance(entry, Entry):
            return
        digest, sink.digest = sink.digest, b""
        labels = self._labels
        is_below = self._pick.is_dir
        label, words, data = labels.below(found, entry.target) if is_below else labels.top()
        if not data:
            self._copies[-1].append(line(label, words))
            return
        status = found.stat if is_below else self._pick.stat
        # A large file is read once for its layer and once by the kernel for the tree.
        if not digest or (status.st_size >= SMALL and touched(found)):
            self._whole = False
            return
        # This stat(2) was before the file was opened. Had another file taken its place between
        # the two, the first would have a new ctime now, and would not be found by this one.
        self._fresh.add(status, digest)
        self._copies[-1].append(line(label, f"{words} {digest.hex()}"))

    def seen(self) -> CopyFingerprints | None:
        """What was seen of each copy; None if some files were not read, or changed meanwhile."""
        if not self._whole:
            return None
        contents = [sorted_prints(lines, repeated=self._repeated) for lines in self._copies]
        return CopyFingerprints(contents, [self._fresh.rows])


def touched(found: "FoundFile") -> bool:
    """Whether a file was written while it was copied."""
    try:
        now = os.stat(found.name, dir_fd=found.dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return True
    before = found.stat
    return (now.st_ino, now.st_ctime_ns) != (before.st_ino, before.st_ctime_ns)
