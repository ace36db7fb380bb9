"""What is seen on disk and what came of a run: data, and how it is judged.

Comes in: an upperdir as the kernel left it; how merges ended. Goes out: whether an exhibit showed
what it says. Read next: `stage`.
"""

import os
import re
import stat
from collections.abc import Sequence

from minibuild.lab.exhibit import Exhibit, Variation
from minibuild.snapshot.api import Applied, Diff, SnapshotID
from minibuild.startup.tuples import NamedTuple

_TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "char device",
    stat.S_IFBLK: "block device",
}


class UpperEntry(NamedTuple):
    """An entry of an upperdir, as lstat(2) has it; `device` is major:minor of a device node."""

    path: str
    type: str
    device: str
    inode: int
    links: int

    @property
    def is_whiteout(self) -> bool:
        """How overlayfs says that a path is gone."""
        return (self.type, self.device) == ("char device", "0:0")


class Run(NamedTuple):
    """How the step that needs the merge went: `error` is empty if it went well.

    `merge` says on what was merged what, as the snapshotter was asked; None if it was not.
    """

    error: str
    merge: "MergeCall | None"
    fates: tuple[Applied, ...]


class MergeCall(NamedTuple):
    """What a merge was given: its base, the layer directories of that, lowest last, and diffs."""

    base: SnapshotID | None
    lowerdirs: tuple[str, ...]
    diffs: tuple[Diff, ...]


class Varied(NamedTuple):
    """A variation, run both ways; or why it could not be."""

    variation: Variation
    without_fix: Run | None
    with_fix: Run | None
    unable: str = ""

    def as_expected(self, exhibit: Exhibit) -> bool:
        """It fails as the exhibit does if all conditions hold, else not; with the fix, never."""
        if self.without_fix is None or self.with_fix is None:
            return True
        fails = not self.variation.breaks
        return not self.with_fix.error and (
            failed_so(exhibit, self.without_fix) if fails else not self.without_fix.error
        )


class Showing(NamedTuple):
    """All that was seen of an exhibit. `unable` says why this machine cannot show it."""

    exhibit: Exhibit
    store: str
    snapshotter: str
    upperdir: str
    entries: tuple[UpperEntry, ...]
    unable: str
    without_fix: Run
    with_fix: Run
    variations: tuple[Varied, ...]

    @property
    def as_expected(self) -> bool:
        """Whether the merge failed without the fix, in the words of the pull request, and passed
        with it; and whether each variation did as its conditions say."""
        return (
            not self.unable
            and failed_so(self.exhibit, self.without_fix)
            and not self.with_fix.error
            and all(varied.as_expected(self.exhibit) for varied in self.variations)
        )


def failed_so(exhibit: Exhibit, run: Run) -> bool:
    """Whether a run failed in the way of the exhibit."""
    return bool(run.error) and re.search(exhibit.error, run.error) is not None


def look(upperdir: str, paths: Sequence[str]) -> tuple[UpperEntry, ...]:
    """The entries of an upperdir at `paths`; those that are not there are left out."""
    found = []
    for path in paths:
        try:
            seen = os.lstat(os.path.join(upperdir, path))
        except FileNotFoundError:
            continue
        is_node = stat.S_ISCHR(seen.st_mode) or stat.S_ISBLK(seen.st_mode)
        device = f"{os.major(seen.st_rdev)}:{os.minor(seen.st_rdev)}" if is_node else ""
        kind = _TYPES[stat.S_IFMT(seen.st_mode)]
        found.append(UpperEntry(path, kind, device, seen.st_ino, seen.st_nlink))
    return tuple(found)


def obstacle(exhibit: Exhibit, entries: Sequence[UpperEntry]) -> str:
    """Why the exhibit cannot be seen here, if so: the kernel or the filesystem does otherwise."""
    if not exhibit.shared_inode:
        return ""
    if len(entries) < len(exhibit.paths) or not all(e.is_whiteout for e in entries):
        return "a deletion leaves no whiteouts here: these snapshots are not overlays"
    if len({entry.inode for entry in entries}) > 1:
        return "whiteouts do not share an inode on this kernel and filesystem"
    return ""
