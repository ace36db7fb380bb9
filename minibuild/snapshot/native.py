"""Snapshots as full copies: they need nothing of the kernel, and take much room on the disk.

Comes in: parents. Goes out: directories that can be bound as they are. Preparing copies the whole
parent (sharing blocks where the filesystem can): linking would not do, as a step that writes to a
file would write to all its names. A merge may link, because it is never written.
Read next: `merge`.
"""

from minibuild.snapshot.api import SnapshotID
from minibuild.snapshot.snapshotter import Snapshotter
from minibuild.store.layout import Store


class NativeSnapshotter(Snapshotter):
    """The snapshotter for where overlayfs cannot be mounted."""

    max_layers = 1

    def __init__(self, store: Store) -> None:
        super().__init__(store, "native", "plain")

    def layers(self, snapshot: SnapshotID | None) -> tuple[SnapshotID, ...]:
        """The snapshot itself: its directory holds the whole tree."""
        if snapshot is None:
            return ()
        self.table.parent(snapshot)  # Raises for one of another snapshotter.
        return (snapshot,)

    def prepare(self, parent: SnapshotID | None) -> SnapshotID:
        """A new active snapshot: a copy of `parent`. Swept if its process dies before `commit`."""
        snapshot = self.create(parent)
        if parent is None:
            return snapshot
        from minibuild.snapshot.apply import Applier
        from minibuild.snapshot.diff import changes
        from minibuild.snapshot.merge import view_of
        from minibuild.snapshot.view import NOTHING

        whole = view_of(self, parent)
        with self.removed_if_failed(snapshot):
            owners, cancelled = self.owners(snapshot), self.cancelled
            folder = self.layer_dir(snapshot)
            applier = Applier(folder, link=False, owners=owners, cancelled=cancelled)
            applier.apply(changes(NOTHING, whole), whole.owners)
        return snapshot
