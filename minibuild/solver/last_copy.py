"""The last copy of the same shape: what a new one can begin with.

Comes in: the result of an earlier copy, on the same base, of files that were partly others. Goes
out: its table (`fileop.inventory`), its layer, and its tree if that can be stood on. The tables of
a store are in `inventories/`, each named by its diff and by the layer whose places are in it.
Read next: `fileop.update`.
"""

import os

from minibuild.cache.results import DiffKey, Result
from minibuild.fileop.hasher import SourceLook
from minibuild.fileop.inventory import average_bytes, keep
from minibuild.fileop.update import EarlierCopy
from minibuild.layer.layer import Layer
from minibuild.layer.patch import LayerPatch
from minibuild.snapshot.api import SnapshotID
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.worker import Worker

_MAX_UPDATES = 8
"""Snapshots on top of each other that are one copy. After so many all is copied: each is one more
place where the kernel looks for a file."""

_MOST_NEW = 1 / 8

_SMALL_BYTES = 16 << 10
"""What is decompressed in the time of opening a file. Larger files are better read again."""


class LastCopy(NamedTuple):
    """What there is of the last copy. `tree` is None if no snapshot can stand on it. `same_base`:
    what it stands on is the very same, and not just of the same key."""

    inventory: str
    layer: "Layer | LayerPatch | None"
    tree: SnapshotID | None
    same_base: bool


def last_copy(
    worker: Worker, result: Result, base: Result, parent: SnapshotID | None
) -> LastCopy | None:
    """What there is of the copy with this result, of use for one on `base`, whose tree is
    `parent`; None if it is not known what it put."""
    row = worker.diffs.get(result[-1])
    layer = row.layer
    if layer is not None and not worker.content.has(layer.digest, layer.size):
        layer = None
    tree = row.upper if row.base == base and row.lower == parent else None
    if tree is not None and not _can_be_stood_on(worker, tree, parent):
        tree = None
    # A patch that was packed since is the same tar as a layer.
    names = (
        (_name(row.key, layer), layer),
        (_patch_name(row.key), layer or _patch(worker, row.key)),
        (_name(row.key, None), None),
    )
    for name, of in names:
        path = worker.store.path("inventories", name)
        if os.path.exists(path):
            return LastCopy(path, of, tree, row.base == base)
    return None


def begin(last: LastCopy, look: SourceLook | None, patch: str, *, packed: bool) -> EarlierCopy:
    """What a copy begins with. Its layer becomes a patch where that is cheaper: one that is
    `packed` at once is decompressed, which takes as long as opening small files. Raises
    `Unplannable` if the table is damaged."""
    begun = EarlierCopy(last.inventory, look=look if last.same_base else None)
    if last.layer is None or (packed and average_bytes(last.inventory) >= _SMALL_BYTES):
        return begun
    return begun._replace(layer=last.layer, patch=patch)


def keep_table(
    worker: Worker, making: str, key: DiffKey, layer: Layer | None, *, patched: bool
) -> None:
    """Keep the table of a copy that is done, for the next one. `patched`: its layer is a patch."""
    if os.path.exists(making):
        name = _patch_name(key) if patched else _name(key, layer)
        keep(making, worker.store.path("inventories"), name)


def own_snapshots(worker: Worker, upper: SnapshotID, lower: SnapshotID | None) -> list[SnapshotID]:
    """The snapshots that are one copy, highest first: those above `lower`."""
    found: list[SnapshotID] = []
    at: SnapshotID | None = upper
    while at is not None and at != lower:
        found.append(at)
        at = worker.snapshots.table.parent(at)
    return found


def _can_be_stood_on(worker: Worker, tree: SnapshotID, parent: SnapshotID | None) -> bool:
    snapshots = worker.snapshots
    if snapshots.whiteouts == "plain" or not snapshots.intact(tree):
        return False  # What is prepared on a full copy is a full copy, too.
    return len(own_snapshots(worker, tree, parent)) < _MAX_UPDATES


def _patch(worker: Worker, key: DiffKey) -> LayerPatch | None:
    """The patch that is the layer of a diff, unless much of it is new: then all is packed again, so
    that patches do not grow."""
    patch = worker.layers.patch(key)
    return None if patch is None or patch.new_bytes > patch.tar_bytes * _MOST_NEW else patch


def _patch_name(key: DiffKey) -> str:
    return f"{key}-patch"


def _name(key: DiffKey, layer: Layer | None) -> str:
    return f"{key}" if layer is None else f"{key}-{layer.diff_id[7:23]}"
