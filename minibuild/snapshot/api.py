"""What snapshots are, what changes from one to another, and how merges are done: data only.

Read next: `snapshotter`, which keeps snapshots; `overlay`, `native`; then `diff`, `apply` and
`merge`.
"""

import os
import stat
from collections.abc import Callable
from enum import Enum
from typing import Literal, NewType

from minibuild.startup.tuples import NamedTuple

SnapshotID = NewType("SnapshotID", int)


MAX_DATA_BYTES = 4095
"""mount(2) takes one page of options, with a NUL at its end."""


class Mount(NamedTuple):
    """How the tree of a snapshot is mounted, as data: the directories that add up to it.

    One directory is bound, several are an overlay. `lower` come topmost first, and are only read.
    `upper` takes what is written, and overlayfs has `work` beside it; without one the tree is
    read-only. `options` are those of overlayfs besides. Paths may be relative to `folder`: they
    have to be short, see `MAX_DATA_BYTES`.
    """

    lower: tuple[str, ...]
    upper: str = ""
    work: str = ""
    options: tuple[str, ...] = ()
    folder: str = ""

    @property
    def is_overlay(self) -> bool:
        """Whether there are several layers."""
        return len(self.lower) + bool(self.upper) > 1

    @property
    def layers(self) -> tuple[str, ...]:
        """The paths of all directories, topmost first."""
        names = (self.upper, *self.lower) if self.upper else self.lower
        return tuple(os.path.join(self.folder, name) for name in names)

    @property
    def upperdir(self) -> str:
        """The path of the directory that takes what is written; "" if the tree is read-only."""
        return os.path.join(self.folder, self.upper) if self.upper else ""

    @property
    def data(self) -> str:
        """The options for mount(2) of an overlay, to be called in the folder."""
        writable = (f"upperdir={self.upper}", f"workdir={self.work}") if self.upper else ()
        return ",".join((f"lowerdir={':'.join(self.lower)}", *writable, *self.options))


class Diff(NamedTuple):
    """What changed from `lower` to `upper`; no lower means everything in `upper`."""

    lower: SnapshotID | None
    upper: SnapshotID


class Kind(Enum):
    """What a change does to a path."""

    ADD = "add"
    MODIFY = "modify"
    DELETE = "delete"


class Change(NamedTuple):
    """One path of a diff, relative to the root and without a leading slash; the root is "".

    Parents of a changed path come before it as MODIFY. `source` is an absolute path at which the
    entry can be read without any mount (in an upperdir or a lower layer), and of which `inode` and
    `type` (as in `st_mode`) are; for a DELETE it is the whiteout that says so, if there is one.
    Within a directory changes are sorted by name as bytes; a directory comes before its contents.
    """

    kind: Kind
    path: str
    source: str = ""
    inode: int = 0
    type: int = 0


Whiteouts = Literal["plain", "trusted", "user", "marked"]
"""How a layer_dir says "gone": `plain` cannot (entries are removed from a full copy); `trusted` and
`user` use char devices 0:0 and the xattr `<namespace>.overlay.opaque` of overlayfs; `marked` uses
empty files with an xattr of ours, for layers that lie on an overlay: it refuses such devices."""


class Usage(NamedTuple):
    """Blocks on disk (in bytes) and inodes that a snapshot holds; a shared inode counts once."""

    size_bytes: int
    inodes: int


class Strategy(Enum):
    """How a merge was put on disk, or is to be: AUTO is STACK where that is right."""

    AUTO = "auto"
    HARDLINK = "hardlink"
    STACK = "stack"


class MergeReport(NamedTuple):
    """What a merge did, for progress: how, why, and how many files were linked and copied."""

    strategy: Strategy
    reason: str
    layers: int
    linked: int
    copied: int


class Applied(NamedTuple):
    """The fate of one change in a merge, for `MergePolicy.trace`.

    `action` is `linked`, `copied`, `made` (a directory), `kept` (one that was there takes the
    metadata), `opaque` (one that hides what is below), `removed`, `whiteout`, or `skipped`: a
    deletion of what is not there. `reason` says why it was not something else; `diff` is the
    position of the diff among those that were applied, or -1 for the parent, where that is applied
    as well (see `merge.by_hardlinks`). `type` is that of the change.
    """

    path: str
    kind: Kind
    action: str
    source: str
    reason: str = ""
    diff: int = 0
    type: int = 0

    @property
    def deletes(self) -> bool:
        """Whether nothing is at the path afterwards."""
        return self.kind is Kind.DELETE

    @property
    def directory(self) -> bool:
        """Whether a directory is there afterwards."""
        return not self.deletes and self.type == stat.S_IFDIR


Defect = Literal[
    "",
    "whiteout-hardlink",
    "type-mask",
    "opaque-copied",
    "link-followed",
    "early-times",
    "owner-last",
]
"""An old defect of merges, brought back to be shown: see docs/lab.md."""


class MergePolicy(NamedTuple):
    """How to merge. `trace` is called with each path's fate; without it the merge builds no such
    record. `failed` is called with the layer directory of a merge that fails, before that goes.
    `defect` is one of those that a merge once had, switched on to be shown.
    """

    strategy: Strategy = Strategy.AUTO
    defect: Defect = ""
    trace: Callable[[Applied], None] | None = None
    failed: Callable[[str], None] | None = None

    @property
    def is_normal(self) -> bool:
        """Whether the outcome may be used by other builds, and their short cuts by this one."""
        return self.strategy is Strategy.AUTO and not self.defect


class Merged(NamedTuple):
    """The committed snapshot of a merge, and what it took."""

    snapshot: SnapshotID
    report: MergeReport
