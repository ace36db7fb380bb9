"""Fingerprints of what a copy or a bind mount would read: what cache keys are made of.

Comes in: a `Copy` (or a path) and the tree it reads. Goes out: lines of a path and a fingerprint,
sorted by path, with nothing of a file that is ignored or excluded.
Read next: `digest_cache`, which spares reading files that have not changed.
"""

import os
import stat
import threading
from collections.abc import Iterable
from itertools import repeat
from typing import TYPE_CHECKING

from minibuild.digest import sha256_of
from minibuild.errors import DefinitionError
from minibuild.fileop.api import SourceTree, capability_words, explained, unreadable
from minibuild.fileop.digest_cache import BATCH, DigestCache, FreshDigests, is_since, stamps_of
from minibuild.fileop.hasher import (
    READ_NOW,
    Contents,
    Item,
    Labels,
    Prints,
    SourceLook,
    line,
    prints_of,
    sorted_prints,
)
from minibuild.fileop.select import Pick, Selection, one_path
from minibuild.graph.op import Copy
from minibuild.linux.beneath import join
from minibuild.linux.contents import READ, Copier
from minibuild.linux.cursor import Cursor

if TYPE_CHECKING:
    from minibuild.fileop.walk import FoundFile

_FIRST_BATCH = 16
"""A cache that raises for what it does not know raises soon: most often all is new, or nothing."""


def content_digests(
    copy: Copy,
    tree: SourceTree,
    digests: DigestCache | None = None,
    cancelled: threading.Event | None = None,
    look: SourceLook | None = None,
) -> Contents:
    """The fingerprints of everything that `copy` would take from `tree`; `look` has what was seen.

    Raises `DefinitionError` for a source that is not there, as the copy itself would.
    """
    selection = Selection(copy, tree)
    return _fingerprints(selection, prints_of(copy), digests, cancelled, look)


def tree_digests(
    tree: SourceTree,
    path: str,
    digests: DigestCache | None = None,
    cancelled: threading.Event | None = None,
) -> Contents:
    """The fingerprints of all that a bind mount of `path` shows, all modes included, and owners
    too: but a context is shown as root's."""
    selection = Selection(one_path(path)._replace(keep_owner=True), tree)
    prints = Prints(stat.S_IMODE, owners=not tree.local, tops=True)
    return _fingerprints(selection, prints, digests, cancelled)


def changed_since(reader: Copy | str, tree: SourceTree, since_ns: int) -> bool:
    """Whether what a copy (or a bind mount of a path) reads may have changed since that time."""
    copy = one_path(reader) if isinstance(reader, str) else reader
    selection = Selection(copy, tree)
    try:
        for pick in selection.picks():
            if is_since(pick.stat.st_ctime_ns, since_ns):
                return True
            below = selection.below(pick) if pick.is_dir else ()
            if any(is_since(found.stat.st_ctime_ns, since_ns) for found in below):
                return True
    except (DefinitionError, OSError):
        return True  # Something is not there any more.
    return False


def _fingerprints(
    selection: Selection,
    prints: Prints,
    digests: DigestCache | None,
    cancelled: threading.Event | None,
    look: SourceLook | None = None,
) -> Contents:
    with explained("reading the files of a copy"), Cursor(selection.tree.fd) as dirs:
        reading = _Reading(dirs, digests, cancelled, look)
        # All picks first: a source that is not there is an error before anything is read.
        for pick in list(selection.picks()):
            reading.read(pick, Labels(pick, prints), selection.below(pick) if pick.is_dir else ())
        return reading.finish()


class _Reading:
    """Puts fingerprints together, batch by batch: the cache is asked for many files at once, and
    the metadata of a whole context (1.3 KiB for each of its files) is never held at once. All files
    are hashed with one buffer: a fresh one for each would cost more than the hashing."""

    def __init__(
        self,
        dirs: Cursor,
        digests: DigestCache | None,
        cancelled: threading.Event | None,
        look: SourceLook | None,
    ) -> None:
        self._dirs = dirs
        self._digests = digests
        self._look = SourceLook() if look is None else look
        self._copier = Copier(cancelled)
        self._batch: list[tuple[str, bool, os.stat_result, str, str]] = []
        self._size = _FIRST_BATCH
        self._fresh = FreshDigests()
        self._prints: list[str] = []
        self._picks = self._bytes = 0

    def read(self, pick: Pick, labels: Labels, below: "Iterable[FoundFile]") -> None:
        """A pick, and what is below it. Raises what the cache raises for a file that it does not
        know."""
        self._picks += 1
        self._look.begin(pick, labels, self._prints)
        self._add(labels.top(), pick.stat, "", pick.real)
        for found in below:
            self._add(labels.below(found), found.stat, pick.real, found.path)

    def _add(self, item: Item, status: os.stat_result, above: str, path: str) -> None:
        label, words, data = item
        self._batch.append((line(label, words), data, status, above, path))
        if len(self._batch) == self._size:
            self._settle()
            self._size = BATCH

    def _settle(self) -> None:
        """The digests of a batch; files that the cache knows stay closed."""
        batch, digests, first = self._batch, self._digests, len(self._prints)
        stamps = stamps_of([one[2] for one in batch])
        files = [one[2] for one in batch if one[1]]
        asked = [stamp for stamp, one in zip(stamps, batch, strict=True) if one[1]]
        known = iter(digests.recall(files, asked) if files and digests else repeat(None))
        for text, data, _, above, path in batch:
            if data:
                digest = next(known)
                if digest is None:
                    status, digest = self._digest(join(above, path), text.partition("\0")[0])
                    self._fresh.add(status, digest)
                    stamps[len(self._prints) - first] = READ_NOW
                text = f"{text} {digest.hex()}"
            self._prints.append(text)
        self._look.stamps += b"".join(stamps)
        batch.clear()

    def _digest(self, path: str, label: str) -> tuple[os.stat_result, bytes]:
        """What the file was before it was read, and the digest of its data and capabilities. People
        know it as `label`."""
        above, _, name = path.rpartition("/")
        dirs = self._dirs
        dir_fd = dirs.fd if dirs.path == above else dirs.enter(above)
        try:
            fd = os.open(name, READ, dir_fd=dir_fd)
        except PermissionError as error:
            raise unreadable(label, error) from error
        from minibuild.linux import xattr  # A cached build opens no file.

        try:
            status = os.fstat(fd)
            self._bytes += status.st_size  # OpenSSL is loaded if all of them come to much.
            sha = sha256_of(self._bytes)(b"")
            self._copier.read(fd, status.st_size, sha)
            if xattr.CAPABILITY in xattr.names(fd):
                sha.update(capability_words(xattr.get(fd, xattr.CAPABILITY)))
            return status, sha.digest()
        finally:
            os.close(fd)

    def finish(self) -> Contents:
        """All fingerprints."""
        self._settle()
        if self._digests is not None:
            self._digests.remember(self._fresh.rows)
        return sorted_prints(self._prints, repeated=self._picks > 1)
