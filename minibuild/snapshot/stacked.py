"""Snapshots as layers that no kernel stacks: for containers that may not mount.

Comes in: parents. Goes out: layers, as on overlayfs, with whiteouts of our own. All that reads
layers (`view`, `diff`, `merge`) works on them as they lie. What a step runs in is made by its
executor (`executor.ownroot`), which keeps a tree in step with the layers. Where anything else needs
the whole tree in one directory, it is put together once, from links to the files of the layers, in
`snapshots/N/whole`. Nothing writes to a file there: what this program writes replaces files.
Read next: `overlay`, `view`.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from minibuild.linux.cursor import DIRECTORY
from minibuild.linux.descriptors import closing_fd
from minibuild.snapshot.api import Mount, SnapshotID
from minibuild.snapshot.apply import Applier
from minibuild.snapshot.diff import changes
from minibuild.snapshot.entry import inherit_root
from minibuild.snapshot.merge import view_of
from minibuild.snapshot.snapshotter import Snapshotter
from minibuild.snapshot.sweep import discard
from minibuild.snapshot.view import NOTHING, View
from minibuild.store.layout import Store


class StackedSnapshotter(Snapshotter):
    """The snapshotter for steps that get the container's own root."""

    max_layers = 300
    """Each is one more place to look for a file."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, "stacked", "marked")

    def prepare(self, parent: SnapshotID | None) -> SnapshotID:
        """A new active snapshot on `parent`. Swept if its process dies before `commit`."""
        return self.create_on(parent)

    def stack(self, snapshot: SnapshotID, layers: Sequence[SnapshotID], *, readonly: bool) -> Mount:
        """The whole tree, if that is only read. Else the layers, for an executor that puts them
        together itself."""
        if readonly:
            return Mount((self._whole(snapshot),))
        with suppress(FileNotFoundError):
            discard(self.store, self._path_of_whole(snapshot))  # It is about to change.
        lower = tuple(f"{layer}/fs" for layer in reversed(layers[:-1]))
        return Mount(lower, f"{snapshot}/fs", folder=self.folder)

    @contextmanager
    def tree(self, snapshot: SnapshotID, *, readonly: bool = True) -> Iterator[int]:
        """The whole tree as a directory descriptor. What was written to it is in the layer of the
        snapshot after the block."""
        if not readonly:
            self.table.require_active(snapshot)
        with closing_fd(os.open(self._whole(snapshot), DIRECTORY)) as fd:
            yield fd
        layers = self.layers(snapshot)
        if not readonly and len(layers) > 1:
            before, after = view_of(self, snapshot), View([self._whole(snapshot)], "plain")
            below = View([self.layer_dir(one) for one in reversed(layers[:-1])], self.whiteouts)
            applier = Applier(self.layer_dir(snapshot), below, cancelled=self.cancelled)
            applier.apply(list(changes(before, after)))

    def _path_of_whole(self, snapshot: SnapshotID) -> str:
        return f"{self.folder}/{snapshot}/whole"

    def _whole(self, snapshot: SnapshotID) -> str:
        """The directory with the whole tree, put together if it is not there."""
        layers = self.layers(snapshot)
        if len(layers) == 1:
            return self.layer_dir(layers[0])
        path = self._path_of_whole(snapshot)
        if not os.path.isdir(path):
            with self.store.lock(f"whole-{snapshot}", self.cancelled):
                if not os.path.isdir(path):
                    self._put_together(snapshot, path)
        return path

    def _put_together(self, snapshot: SnapshotID, path: str) -> None:
        making, view = f"{path}.new", view_of(self, snapshot)
        with suppress(FileNotFoundError):
            discard(self.store, making)  # Of a process that died.
        os.mkdir(making)
        inherit_root(view.dirs[0], making)
        applier = Applier(making, cancelled=self.cancelled)
        applier.apply(changes(NOTHING, view))
        os.rename(making, path)
