"""A snapshotter, in containerd's words: it keeps trees on disk.

An *active* snapshot is prepared on a parent and can be written; *commit* makes it immutable; a
*view* reads a committed one. Snapshots form chains by their parents; the tree of a snapshot is
what the chain adds up to. Comes in: parents and diffs. Goes out: mounts, as data for a step, or
as an open directory for this process. A snapshot N has its files in `snapshots/N/fs`.

A mount that this process itself needs is a *file descriptor*, never a path in the file tree: it
comes from the kernel's detached mounts (fsmount(2), or a lazily unmounted one), belongs to no
directory, and goes when it is closed or the process dies. So a crash leaves no mount behind.
Read next: `overlay`, `native`, then `diff`, `apply` and `merge`.
"""

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from minibuild.errors import StoreError
from minibuild.linux import owner
from minibuild.snapshot.api import Change, Diff, Merged, MergePolicy, Mount, SnapshotID, Usage
from minibuild.snapshot.api import Whiteouts as WhiteoutStyle
from minibuild.snapshot.sweep import discard
from minibuild.snapshot.table import Table
from minibuild.store.layout import Store

if TYPE_CHECKING:
    from minibuild.linux.recorded import Records
    from minibuild.snapshot.unmounts import Unmounts

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Snapshotter(ABC):
    """Keeps snapshots in a folder of the store, and their rows; the backends add how to prepare and
    to show one. Safe to use from many threads and processes. Copies and merges end early when
    `cancelled` is set."""

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

    @abstractmethod
    def prepare(self, parent: SnapshotID | None) -> SnapshotID:
        """A new active snapshot on `parent`. Swept if its process dies before `commit`."""

    def prepare_early(self, parent: SnapshotID) -> SnapshotID | None:
        """The same on a parent that is still written by this process; None where a snapshot cannot
        begin before its parent has ended. It is complete after `settle`."""
        return None

    def settle(self, early: SnapshotID) -> None:
        """Complete a snapshot that was prepared early: nothing writes to its parent any more."""
        *_, below, _ = self.layers(early)
        self._inherit_root(below, early)
        self.unmounts.close((self.layer_dir(below),))

    def mount(self, snapshot: SnapshotID, *, readonly: bool) -> Mount:
        """The mount that shows the tree of a snapshot; not `readonly` only for an active one."""
        layers = self.layers(snapshot)
        if not readonly:
            self.table.require_active(snapshot)
        if len(layers) > 1:
            return self.stack(snapshot, layers, readonly=readonly)
        only = self.layer_dir(layers[0])
        return Mount((only,)) if readonly else Mount((), only)

    def stack(self, snapshot: SnapshotID, layers: Sequence[SnapshotID], *, readonly: bool) -> Mount:
        """The mount of several layers, lowest first, for a backend that has some."""
        raise NotImplementedError

    @contextmanager
    def tree(self, snapshot: SnapshotID, *, readonly: bool = True) -> Iterator[int]:
        """The tree of a snapshot as a directory file descriptor, open while the block runs.

        Use it with `linux.beneath` (paths resolved inside this root). `/proc/self/fd/N` is a path
        to it. Writing needs an active snapshot and `readonly=False`.
        """
        mount = self.mount(snapshot, readonly=readonly)
        if mount.is_overlay:
            from minibuild.snapshot.mount import open_overlay

            fd = open_overlay(mount)
        else:
            fd = os.open(mount.layers[0], _DIRECTORY)
        try:
            yield fd
        finally:
            os.close(fd)

    @cached_property
    def unmounts(self) -> "Unmounts":
        """Trees of steps that have ended. The executor asks for them before there are threads."""
        from minibuild.snapshot.unmounts import Unmounts  # A cached build runs no step.

        return Unmounts(self.store.path("locks", "unmounts"))

    def layer_dir(self, snapshot: SnapshotID) -> str:
        """The directory that holds the snapshot's own files: the upperdir, or the whole copy."""
        return f"{self.folder}/{snapshot}/fs"

    def layers(self, snapshot: SnapshotID | None) -> tuple[SnapshotID, ...]:
        """The snapshots whose layer directories add up to this tree, lowest first."""
        return () if snapshot is None else self.table.layers(snapshot)

    def owners(self, snapshot: SnapshotID | None) -> "Records | None":
        """Who owns the files in the tree of a snapshot, where that is recorded; None where they are
        owned so on disk. Into that of an active snapshot can be written."""
        return self.owners_of(self.layers(snapshot))

    def owners_of(self, layers: Sequence[SnapshotID]) -> "Records | None":
        """The same for layers, lowest first."""
        if not self.records_owners:
            return None
        from minibuild.linux.recorded import TABLE, Records

        return Records([f"{self.folder}/{layer}/{TABLE}" for layer in reversed(layers)])

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

    def create(
        self,
        parent: SnapshotID | None,
        stack: Sequence[SnapshotID] = (),
        *,
        merged: bool = False,
        early: bool = False,
    ) -> SnapshotID:
        """A new active snapshot with an empty layer directory."""
        snapshot = self.table.insert(parent, stack, merged=merged, early=early)
        with self.removed_if_failed(snapshot):
            self._make_home(f"{self.folder}/{snapshot}")
        return snapshot

    def create_on(self, parent: SnapshotID | None) -> SnapshotID:
        """A new active snapshot whose layer is to lie on those of `parent`."""
        if parent is not None and len(self.layers(parent)) >= self.max_layers:
            from minibuild.snapshot.merge import flattened

            parent = flattened(self, parent)
        snapshot = self.create(parent)
        if below := self.layers(parent):
            with self.removed_if_failed(snapshot):
                self._inherit_root(below[-1], snapshot)
        return snapshot

    def _inherit_root(self, below: SnapshotID, snapshot: SnapshotID) -> None:
        from minibuild.snapshot.entry import inherit_root

        inherit_root(self.layer_dir(below), self.layer_dir(snapshot))

    @contextmanager
    def removed_if_failed(self, active: SnapshotID) -> Iterator[None]:
        """Remove a snapshot in the making if the block ends with an error."""
        try:
            yield
        except BaseException:
            self.remove(active)
            raise

    def _make_home(self, home: str) -> None:
        try:
            os.mkdir(home, 0o700)  # Other accounts must not reach set-id programs in there.
        except FileExistsError:
            discard(self.store, home)  # Of a row that was lost: see `sweep`.
            os.mkdir(home, 0o700)
        layer = f"{home}/fs"
        os.mkdir(layer)
        os.chmod(layer, 0o755)

    def commit(self, active: SnapshotID) -> None:
        """Make an active snapshot immutable. Moves no data. A second commit is an error."""
        self.table.commit(active)

    def remove(self, snapshot: SnapshotID) -> None:
        """Remove a snapshot on which no other stands. Missing ones are ignored."""
        if not self.table.claim_for_removal(snapshot):
            return
        self.unmounts.close((self.layer_dir(snapshot),))  # Its files take room until then.
        with suppress(FileNotFoundError):
            discard(self.store, f"{self.folder}/{snapshot}")
        self.table.delete(snapshot)

    def changes(self, diff: Diff) -> Iterator[Change]:
        """The changes of a diff in walk order: from the upperdir where that is right, else by a
        double walk. Equal trees give no change; unmodified parents of a change are MODIFY."""
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
        """The diffs applied in order to the tree of `parent` (nothing, if None).

        Without a `parent`, the longest prefix of `diffs` that is a plain chain from nothing
        becomes it (where the backend can share a parent). A failure leaves no snapshot behind.
        """
        from minibuild.snapshot.merge import merge

        return merge(self, diffs, policy, parent)
