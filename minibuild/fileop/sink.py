"""Where the entries of a plan go: one protocol for a tree, a layer, both at once, and hashing.

Comes in: entries in the order of the plan, each with what it was found as. Goes out: what the sink
makes of them. Read next: `tree`, `layer`, `tee` and `hasher`, which are sinks.
"""

import stat
import threading
from typing import Protocol

from minibuild.errors import raise_if_cancelled
from minibuild.fileop.api import Archive, Planned, Progress
from minibuild.fileop.select import Pick
from minibuild.fileop.walk import Found
from minibuild.graph.op import Copy

_REPORT_EVERY = 256


class Sink(Protocol):
    """Takes entries. An entry is written before the next one is planned, for a plan looks at what
    is there already."""

    digest: bytes
    """That of the file that was put last, if the sink hashes and the file was read."""

    def begin(self, copy: Copy) -> None:
        """The entries that follow are those of a copy."""
        return

    def enter(self, pick: Pick) -> None:
        """The entries that follow are of one thing that the copy names."""
        return

    def put(self, entry: Planned, found: Found | None = None) -> None:
        """Take one entry. What it was `found` as is told of what a source has, and not of
        directories that are made on the way to it."""
        ...

    def settle(self) -> None:
        """Finish what was put so far: nothing of it is left undone."""
        return


class Tally:
    """Counts the files that were put, for progress. Stops when the build is cancelled."""

    __slots__ = ("_cancelled", "_files", "_progress", "_size_bytes")

    def __init__(
        self, progress: Progress | None = None, cancelled: threading.Event | None = None
    ) -> None:
        self._progress = progress
        self._cancelled = cancelled
        self._files = 0
        self._size_bytes = 0

    def add(self, entry: Planned) -> None:
        """Note that an entry was put. Raises `Cancelled`."""
        if isinstance(entry, Archive):
            self._files += 1
        elif not stat.S_ISDIR(entry.mode):
            self._files += 1
            self._size_bytes += entry.size
        else:
            return
        if self._files % _REPORT_EVERY == 0:
            raise_if_cancelled(self._cancelled, "copying files")
            self.tell()

    def tell(self) -> None:
        """Say how far it is."""
        if self._progress is not None and self._files:
            self._progress(self._files, self._size_bytes)
