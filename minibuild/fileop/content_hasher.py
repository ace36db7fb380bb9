"""The fingerprints of a copy, taken while its files are copied.

Comes in: what `plan` finds, and the digests of what a `LayerWriter` reads. Goes out: the
`Contents` that `checksum` would give for each copy. A key is usually known before the work, for
the work may be in the cache. Where it cannot be, as nothing like it was ever done, each file need
be read only once: 20,000 small files are walked, opened and read in 0.3 seconds.

What is said here of a file is said of the very bytes that were copied, so nobody has to look
whether they changed meanwhile. Read next: `layer`.
"""

import os
import time

from minibuild.fileop.api import Entry
from minibuild.fileop.data import SMALL
from minibuild.fileop.digest_cache import Row, rows_of
from minibuild.fileop.fingerprint import Contents, Labels, Told, prints_of
from minibuild.fileop.select import Pick
from minibuild.fileop.walk import Found
from minibuild.graph.op import Copy
from minibuild.startup.tuples import NamedTuple


class Seen(NamedTuple):
    """The fingerprints of each copy of an op, and rows for the memo of digests."""

    contents: list[Contents]
    rows: list[Row]


class Witness:
    """Watches the copies of one op. `digest` is that of the file that was read last."""

    __slots__ = ("_began_ns", "_copies", "_fresh", "_labels", "_pick", "_prints", "digest", "whole")

    def __init__(self) -> None:
        self._began_ns = time.time_ns()
        self._copies: list[Told] = []
        self._fresh: list[tuple[os.stat_result, bytes]] = []
        self.digest = b""
        self.whole = True

    def begin(self, copy: Copy) -> None:
        """The next copy of the op begins."""
        self._prints = prints_of(copy)
        self._copies.append(Told())

    def enter(self, pick: Pick) -> None:
        """The next thing that it names."""
        self._pick = pick
        self._labels = Labels(pick, self._prints)
        if pick.is_dir:
            top = self._labels.top()
            self._copies[-1].tell(top.label, top.words)

    def copied(self, found: Found, entry: Entry) -> None:
        """What was found has been copied, as the entry says; `digest` is set if it was read."""
        labels, inside = self._labels, self._pick.is_dir
        item = labels.below(found, entry.target) if inside else labels.top()
        digest, self.digest = self.digest, b""
        if not item.data:
            self._copies[-1].tell(item.label, item.words)
            return
        # A large file is read once for its layer and once by the kernel for the tree.
        if not digest or (item.stat.st_size >= SMALL and _touched(found)):
            self.whole = False
            return
        # This stat(2) was before the file was opened. Had another file taken its place between
        # the two, the first would have a new ctime now, and nobody would find it by this one.
        self._fresh.append((item.stat, digest))
        self._copies[-1].tell(item.label, f"{item.words} {digest.hex()}")

    def seen(self) -> Seen | None:
        """What was seen of each copy; None if some files were not read, or changed meanwhile."""
        if not self.whole:
            return None
        rows = rows_of(self._fresh, self._began_ns)
        return Seen([told.contents() for told in self._copies], rows)


def _touched(found: Found) -> bool:
    """Whether a file was written while it was copied."""
    try:
        now = os.stat(found.name, dir_fd=found.dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return True
    before = found.stat
    return (now.st_ino, now.st_ctime_ns) != (before.st_ino, before.st_ctime_ns)
