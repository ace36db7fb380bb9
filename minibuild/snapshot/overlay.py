"""Snapshots as layers of overlayfs: nothing is copied, and what a step wrote is the diff.

Comes in: parents. Goes out: mounts. A snapshot N has its upperdir in `snapshots/N/fs` and, while
it is active, a workdir in `snapshots/N/work`. Options and why:

- `volatile`: no sync when unmounted; what a crash leaves is removed anyway. It leaves a marker in
  the workdir that forbids a second mount, which is removed before each.
- `userxattr` in a user namespace, where `trusted.*` attributes cannot be set.
- `index=off`, `metacopy=off`, `redirect_dir=nofollow`, `uuid=off`, `xino=off`: each would put
  something into the upperdir that makes sense only on these very lower layers; a layer is to stand
  by itself.

The kernel takes one page of options (mount(2)), so lowerdirs are given relative to the folder. And
it takes 500 layers: what is prepared on that many stands on one layer with all their files instead.
Kernel documentation: filesystems/overlayfs. Read next: `mount`, `native`.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from minibuild.snapshot.api import Mount, SnapshotID
from minibuild.snapshot.snapshotter import Snapshotter
from minibuild.store.layout import Store

_OPTIONS = ("index=off", "metacopy=off", "redirect_dir=nofollow", "uuid=off", "xino=off")
_MAX_LOWERDIR_BYTES = 3800  # Of a page of 4096; the other options take the rest.
_MARKER = "work/incompat/volatile"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_WORK = "work"
"""The name of a workdir, and of the directory that the kernel makes in it."""


class OverlaySnapshotter(Snapshotter):
    """The snapshotter to use wherever overlayfs can be mounted."""

    max_layers = 500
    """OVL_MAX_STACK of fs/overlayfs/params.h."""

    def __init__(self, store: Store, *, user_namespace: bool) -> None:
        super().__init__(store, "overlay", "user" if user_namespace else "trusted")
        self._options = (*_OPTIONS, "userxattr") if user_namespace else _OPTIONS

    def prepare(self, parent: SnapshotID | None) -> SnapshotID:
        """A new active snapshot on `parent`. Swept if its process dies before `commit`."""
        snapshot = self.create_on(parent)
        if parent is not None:
            self._make_workdir(snapshot)
        return snapshot

    def prepare_early(self, parent: SnapshotID) -> SnapshotID | None:
        """See `Snapshotter.prepare_early`: its upperdir and workdir are empty at first."""
        if len(self.layers(parent)) >= self.max_layers:
            return None
        snapshot = self.create(parent, early=True)
        self._make_workdir(snapshot)
        return snapshot

    def _make_workdir(self, snapshot: SnapshotID) -> None:
        with self.removed_if_failed(snapshot):
            os.mkdir(f"{self.folder}/{snapshot}/work", 0o700)

    def commit(self, active: SnapshotID) -> None:
        """Make an active snapshot immutable: its row says so, and the workdir goes."""
        self.table.commit(active)
        self._remove_workdir(active)

    def stack(self, snapshot: SnapshotID, layers: Sequence[SnapshotID], *, readonly: bool) -> Mount:
        """An overlay. The topmost layer is written to, or is one of those that are read."""
        self.unmounts.before_mount(map(self.layer_dir, layers))
        if readonly:
            mount = Mount(_lower(layers), options=self._options, folder=self.folder)
        else:
            self._allow_mount(snapshot)
            top = (f"{snapshot}/fs", f"{snapshot}/work")
            mount = Mount(_lower(layers[:-1]), *top, (*self._options, "volatile"), self.folder)
        if sum(map(len, mount.lower)) + len(mount.lower) < _MAX_LOWERDIR_BYTES:
            return mount
        return self._short_names(snapshot, mount)

    def _short_names(self, snapshot: SnapshotID, mount: Mount) -> Mount:
        """The same by symlinks with short names, in a folder of the snapshot."""
        folder = f"{self.folder}/{snapshot}/l"
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        names = tuple(map(str, range(len(mount.lower))))
        for name, lower in zip(names, mount.lower, strict=True):
            with suppress(FileExistsError):  # Layers never change, so neither do the links.
                os.symlink(f"../../{lower}", f"{folder}/{name}")
        top = ("../fs", "../work") if mount.upper else ("", "")
        return Mount(names, *top, mount.options, folder)

    @contextmanager
    def tree(self, snapshot: SnapshotID, *, readonly: bool = True) -> Iterator[int]:
        """See `Snapshotter.tree`. After writing it can be mounted again."""
        with super().tree(snapshot, readonly=readonly) as fd:
            yield fd
        if not readonly:
            self._allow_mount(snapshot)

    def _allow_mount(self, snapshot: SnapshotID) -> None:
        """Remove the marker of an earlier volatile mount."""
        # Just the marker: a process may still have the workdir open.
        self._remove(f"{snapshot}/{_WORK}/{_WORK}/incompat", "volatile")

    def _remove_workdir(self, snapshot: SnapshotID) -> None:
        """Remove the workdir, most often in five calls: what a volatile mount leaves in it is
        known (fs/overlayfs/super.c). Listing the directories first takes forty more."""
        top = f"{self.folder}/{snapshot}/work"
        try:
            os.unlink(f"{top}/{_MARKER}/dirty")
            for path in (f"{top}/{_MARKER}", f"{top}/{_WORK}/incompat", f"{top}/{_WORK}", top):
                os.rmdir(path)
        except OSError:
            self._remove(str(snapshot), "work")

    def _remove(self, directory: str, name: str) -> None:
        from minibuild.linux.beneath import remove_tree

        try:
            fd = os.open(f"{self.folder}/{directory}", _DIRECTORY)
        except FileNotFoundError:
            return
        try:
            remove_tree(fd, name)
        finally:
            os.close(fd)


def _lower(layers: Sequence[SnapshotID]) -> tuple[str, ...]:
    """Directories of layers, which come lowest first, as overlayfs wants them."""
    return tuple(f"{layer}/fs" for layer in reversed(layers))
