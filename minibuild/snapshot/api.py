"""What a snapshotter does, in containerd's words.

An *active* snapshot is prepared on a parent and can be written; *commit* makes it immutable; a
*view* reads a committed one. Snapshots form chains by their parents; the tree of a snapshot is
what the chain adds up to. Comes in: parents and diffs. Goes out: mounts, as data for a step, or
as an open directory for this process.

A mount that this process itself needs is a *file descriptor*, never a path in the file tree: it
comes from the kernel's detached mounts (fsmount(2), or a lazily unmounted one), belongs to no
directory, and goes when it is closed or the process dies. So a crash leaves no mount behind.
Read next: `overlay`, `native`, then `diff`, `apply` and `merge`.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from typing import TYPE_CHECKING, Literal, NewType, Protocol

from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from minibuild.linux.recorded import Records

SnapshotID = NewType("SnapshotID", int)


class Mount(NamedTuple):
    """A mount as data: `overlay` with its options, or a `bind` of the directory `source`.

    The step's rootfs is made from these inside its own mount namespace. Paths in overlay options
    may be relative to `cwd`: the kernel takes one page of options, so they have to be short.
    """

    type: str
    source: str
    options: tuple[str, ...] = ()
    cwd: str = ""


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


Whiteouts = Literal["plain", "trusted", "user"]
"""How a layer_dir says "gone": `plain` cannot (entries are removed from a full copy); the others
use char devices 0:0 and the xattr `<namespace>.overlay.opaque` of overlayfs."""


class Usage(NamedTuple):
    """Blocks on disk (in bytes) and inodes that a snapshot holds; a shared inode counts once."""

    size_bytes: int
    inodes: int


class Snapshotter(Protocol):
    """Keeps snapshots in a folder of the store. Safe to use from many threads and processes.
    Copies and merges end early when `cancelled` is set."""

    name: str
    whiteouts: Whiteouts
    cancelled: threading.Event | None

    def prepare(self, parent: SnapshotID | None) -> SnapshotID:
        """A new active snapshot on `parent`. Swept if its process dies before `commit`."""
        ...

    def commit(self, active: SnapshotID) -> None:
        """Make an active snapshot immutable. Moves no data. A second commit is an error."""
        ...

    def remove(self, snapshot: SnapshotID) -> None:
        """Remove a snapshot that is no parent of another. Missing ones are ignored."""
        ...

    def mounts(self, snapshot: SnapshotID, *, readonly: bool) -> list[Mount]:
        """The mounts that show the tree of a snapshot; not `readonly` only for an active one."""
        ...

    def tree(self, snapshot: SnapshotID, *, readonly: bool = True) -> AbstractContextManager[int]:
        """The tree of a snapshot as a directory file descriptor, open while the block runs.

        Use it with `linux.beneath` (paths resolved inside this root). `/proc/self/fd/N` is a path
        to it. Writing needs an active snapshot and `readonly=False`.
        """
        ...

    def parent(self, snapshot: SnapshotID) -> SnapshotID | None:
        """The snapshot on which this one was prepared."""
        ...

    def layer_dir(self, snapshot: SnapshotID) -> str:
        """The directory that holds the snapshot's own files: the upperdir, or the whole copy."""
        ...

    def owners(self, snapshot: SnapshotID | None) -> "Records | None":
        """Who owns the files in the tree of a snapshot, where that is recorded; None where they are
        owned so on disk. Into that of an active snapshot can be written."""
        ...

    def changes(self, diff: Diff) -> Iterator[Change]:
        """The changes of a diff in walk order: from the upperdir where that is right, else by a
        double walk. Equal trees give no change; unmodified parents of a change are MODIFY."""
        ...

    def usage(self, snapshot: SnapshotID) -> Usage:
        """What the snapshot itself holds on disk, less what it shares with snapshots before it."""
        ...

    def requires(self, snapshot: SnapshotID) -> set[SnapshotID]:
        """The snapshots that cannot be removed before this one."""
        ...

    def intact(self, snapshot: SnapshotID) -> bool:
        """Whether the snapshot and all that it stands on are still there, on disk too."""
        ...

    def all(self) -> Iterable[SnapshotID]:
        """Every committed snapshot."""
        ...


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
    position of the diff among those that were applied.
    """

    path: str
    kind: Kind
    action: str
    source: str
    reason: str = ""
    diff: int = 0


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


class MergeSnapshotter(Snapshotter, Protocol):
    """A snapshotter that can also put a list of diffs on disk as one tree."""

    def merge(
        self,
        diffs: Sequence[Diff],
        policy: MergePolicy = MergePolicy(),  # noqa: B008
        *,
        parent: SnapshotID | None = None,
    ) -> Merged:
        """The diffs applied in order to the tree of `parent` (nothing, if None).

        Without a `parent`, the longest prefix of `diffs` that is a plain chain from nothing
        becomes it (where the backend can share a parent). A failure leaves no snapshot behind.
        """
        ...
