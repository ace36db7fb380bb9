"""What the snapshotters have in common: rows, directories, diffs, usage.

Comes in: a store. Goes out: everything of the protocol that does not depend on how a tree is
shown. A snapshot N has its files in `snapshots/N/fs`. Read next: `overlay`, `native`.
"""

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from minibuild.errors import StoreError
from minibuild.linux import owner
from minibuild.snapshot.api import Change, Diff, Merged, MergePolicy, SnapshotID, Usage
from minibuild.snapshot.api import Whiteouts as WhiteoutStyle
from minibuild.snapshot.sweep import discard
from minibuild.snapshot.table import Table
from minibuild.store.layout import Store

if TYPE_CHECKING:
    from minibuild.linux.recorded import Records


class BaseSnapshotter:
    """A folder of snapshots with their rows; the backends add how to prepare and to show one."""

    max_layers: ClassVar[int]
    """How many layers may add up to one tree; with 1 each snapshot is a full copy."""

    def __init__(self, store: Store, name: str, whiteouts: WhiteoutStyle) -> None:
        self.name = name
        self.store = store
        self.table = Table(store, name)
        self.whiteouts: WhiteoutStyle = whiteouts
        self.folder = store.path("snapshots")
        self.cancelled: threading.Event | None = None
        self.records_owners = owner.are_recorded()
        self._there: set[SnapshotID] = set()
        """Layers that were found on disk. They stay: what this program removes is never in use."""

    def layer_dir(self, snapshot: SnapshotID) -> str:
        """The directory that holds the snapshot's own files."""
        return f"{self.folder}/{snapshot}/fs"

    def parent(self, snapshot: SnapshotID) -> SnapshotID | None:
        """The snapshot on which this one was prepared."""
        return self.table.parent(snapshot)

    def layers(self, snapshot: SnapshotID | None) -> tuple[SnapshotID, ...]:
        """The snapshots whose layer directories add up to this tree, lowest first."""
        return () if snapshot is None else self.table.layers(snapshot)

    def owners(self, snapshot: SnapshotID | None) -> "Records | None":
        """Who owns the files in the tree of a snapshot, where that is recorded."""
        return self.owners_of(self.layers(snapshot))

    def owners_of(self, layers: Sequence[SnapshotID]) -> "Records | None":
        """The same for layers, lowest first."""
        if not self.records_owners:
            return None
        from minibuild.linux.recorded import TABLE, Records

        return Records([f"{self.folder}/{layer}/{TABLE}" for layer in reversed(layers)])

    def requires(self, snapshot: SnapshotID) -> set[SnapshotID]:
        """The snapshots that cannot be removed before this one."""
        return self.table.requires(snapshot)

    def intact(self, snapshot: SnapshotID) -> bool:
        """Whether the snapshot and all that it stands on are still there, on disk too."""
        try:
            layers = self.layers(snapshot)
        except StoreError:
            return False
        for layer in layers:
            if layer not in self._there:
                if not os.path.isdir(self.layer_dir(layer)):
                    return False
                self._there.add(layer)
        return True

    def all(self) -> Iterable[SnapshotID]:
        """Every committed snapshot."""
        return self.table.committed()

    def create(
        self,
        parent: SnapshotID | None,
        stack: Sequence[SnapshotID] = (),
        *,
        merged: bool = False,
    ) -> SnapshotID:
        """A new active snapshot with an empty layer directory."""
        snapshot = self.table.insert(parent, stack, merged=merged)
        try:
            self._make_home(f"{self.folder}/{snapshot}")
        except BaseException:
            self.remove(snapshot)
            raise
        return snapshot

    def _make_home(self, home: str) -> None:
        try:
            os.mkdir(home, 0o700)  # Other accounts must not reach set-id programs in there.
        except FileExistsError:
            discard(self.store, home)  # Of a row that was lost: see `sweep`.
            os.mkdir(home, 0o700)
        layer = f"{home}/fs"
        os.mkdir(layer, 0o755)
        os.chmod(layer, 0o755)

    def commit(self, active: SnapshotID) -> None:
        """Make an active snapshot immutable. Moves no data. A second commit is an error."""
        self.table.commit(active)

    def remove(self, snapshot: SnapshotID) -> None:
        """Remove a snapshot on which no other stands. Missing ones are ignored."""
        if not self.table.claim_for_removal(snapshot):
            return
        self._there.discard(snapshot)
        try:
            discard(self.store, f"{self.folder}/{snapshot}")
        except FileNotFoundError:
            pass
        self.table.delete(snapshot)

    def changes(self, diff: Diff) -> Iterator[Change]:
        """The changes of a diff in walk order; see `diff`."""
        from minibuild.snapshot.diff import changes
        from minibuild.snapshot.merge import view_of

        return changes(view_of(self, diff.lower), view_of(self, diff.upper))

    def usage(self, snapshot: SnapshotID) -> Usage:
        """What the snapshot itself holds on disk, less what it shares with snapshots before it."""
        from minibuild.snapshot.usage import usage_of

        size_bytes, inodes, merged = self.table.usage(snapshot)
        if size_bytes is None or inodes is None or merged:
            found = usage_of(self.layer_dir(snapshot), shares=merged)
            self.table.set_usage(snapshot, *found)
            return found
        return Usage(size_bytes, inodes)

    def merge(
        self,
        diffs: Sequence[Diff],
        policy: MergePolicy = MergePolicy(),  # noqa: B008
        *,
        parent: SnapshotID | None = None,
    ) -> Merged:
        """The diffs applied in order to the tree of `parent`; see `merge`."""
        from minibuild.snapshot.merge import merge

        return merge(self, diffs, policy, parent)
