"""What is seen on disk and what came of a run: data, and how it is judged.

Comes in: an upperdir as the kernel left it; how merges ended. Goes out: whether an exhibit showed
what it says. Read next: `build`, `exhibit_builder`.
"""

import re
from collections.abc import Sequence
from typing import Literal

from minibuild.lab.exhibit import Exhibit, Variation
from minibuild.snapshot.api import Applied, Diff, SnapshotID, Whiteouts
from minibuild.snapshot.upperdir import UpperEntry, entry_at
from minibuild.startup.tuples import NamedTuple

How = Literal["with the fix", "without the fix"]
"""By which policy merges are made: as it is today, or with the old condition."""


class MergeCall(NamedTuple):
    """A merge: its base, the layer directories of that, topmost first, and diffs with the
    instruction that made each. `needed_by` is the step that asked for it. `fates` are what became
    of the paths, and `snapshot` what was made; None if the merge failed."""

    base: SnapshotID | None
    lowerdirs: tuple[str, ...]
    diffs: tuple[Diff, ...]
    made_by: tuple[str, ...] = ()
    needed_by: str = ""
    fates: tuple[Applied, ...] = ()
    snapshot: SnapshotID | None = None


class MergeRun(NamedTuple):
    """How a run went: `error` is empty if it went well; and all merges that were made for it."""

    how: How
    error: str
    merges: tuple[MergeCall, ...] = ()

    @property
    def merge(self) -> MergeCall | None:
        """The last merge: of an exhibit, the one that its last step needs."""
        return self.merges[-1] if self.merges else None

    @property
    def fates(self) -> tuple[Applied, ...]:
        """What became of the paths in the last merge."""
        return self.merges[-1].fates if self.merges else ()


class Observation(NamedTuple):
    """The upperdir of the watched instruction, and what lies in it at the paths to look at.
    `store` is the folder of the store it is in; `unable` says why it is not what it should be."""

    store: str
    snapshotter: str
    upperdir: str
    entries: tuple[UpperEntry, ...]
    unable: str


class MountRow(NamedTuple):
    """A file that was deleted through the mount of this number, and the whiteout that is left."""

    mount: int
    entry: UpperEntry


class VariationResult(NamedTuple):
    """A variation, run both ways; or why it could not be."""

    variation: Variation
    without_fix: MergeRun | None
    with_fix: MergeRun | None
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
    """All that was seen of an exhibit. `mounts` is empty where whiteouts have no part in it."""

    exhibit: Exhibit
    seen: Observation
    mounts: tuple[MountRow, ...]
    without_fix: MergeRun
    with_fix: MergeRun
    variations: tuple[VariationResult, ...]

    @property
    def as_expected(self) -> bool:
        """Whether the last step failed without the fix, in the words of the exhibit, and passed
        with it; each variation did as its conditions say, and each mount made one inode."""
        return (
            not self.seen.unable
            and failed_so(self.exhibit, self.without_fix)
            and not self.with_fix.error
            and all(varied.as_expected(self.exhibit) for varied in self.variations)
            and one_inode_a_mount(self.mounts)
        )


def failed_so(exhibit: Exhibit, run: MergeRun) -> bool:
    """Whether a run failed in the way of the exhibit."""
    return bool(run.error) and re.search(exhibit.error, run.error) is not None


def one_inode_a_mount(rows: Sequence[MountRow]) -> bool:
    """Whether the whiteouts of one mount are one inode, and those of two mounts are two."""
    pairs = {(row.mount, row.entry.inode) for row in rows}
    mounts, inodes = ({pair[side] for pair in pairs} for side in (0, 1))
    return len(pairs) == len(mounts) == len(inodes)


def look(upperdir: str, paths: Sequence[str], whiteouts: Whiteouts) -> tuple[UpperEntry, ...]:
    """The entries of an upperdir at `paths`; those that are not there are left out."""
    found = []
    for path in paths:
        try:
            found.append(entry_at(upperdir, path, whiteouts))
        except FileNotFoundError:
            continue
    return tuple(found)


def obstacle(exhibit: Exhibit, entries: Sequence[UpperEntry], snapshotter: str) -> str:
    """Why the exhibit cannot be seen here, if so: the kernel or the filesystem does otherwise."""
    if snapshotter != "overlay":
        return "these snapshots are not overlays: each is a full copy, so a merge has no base"
    if not exhibit.shared_inode:
        return ""
    if len(entries) < len(exhibit.paths) or not all(e.is_whiteout for e in entries):
        return "a deletion leaves no whiteouts here"
    if len({entry.inode for entry in entries}) > 1:
        return "whiteouts do not share an inode on this kernel and filesystem"
    return ""
