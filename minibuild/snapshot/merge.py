"""Putting a list of diffs on disk as one tree.

Comes in: diffs, lowest first. Goes out: a committed snapshot, and how it came about.

1. Diffs that start on the tree so far are already there: `Diff(None, A)` on nothing is A, and
   `Diff(A, B)` on A is B. So the longest such prefix costs nothing and becomes the parent.
2. *Stack*: the rest is shown by listing the diffs' own layer directories as further lowerdirs. No
   file is touched. It is right if a diff means on the new base what it meant on its own: if it
   lies on the very same layers again, or if it is one layer and that is portable, which is to say
   that it has no whiteout, no opaque directory and no file that is as it was below. A diff on
   nothing, as the copy of a COPY --link, may be several layers, if none hides files.
3. *Hardlink*: otherwise the changes of each diff are applied, one by one, to a new snapshot.

Either way the same tree comes out; the tests run over both. Read next: `apply`.
"""

import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING

from minibuild.snapshot import entry
from minibuild.snapshot.api import (
    Diff,
    Merged,
    MergePolicy,
    MergeReport,
    SnapshotID,
    Strategy,
)
from minibuild.snapshot.apply import Applier
from minibuild.snapshot.diff import changes
from minibuild.snapshot.view import WHITEOUT, View

if TYPE_CHECKING:
    from minibuild.snapshot.snapshotter import Snapshotter

MAX_STACK = 240
"""Less than the 500 layers that overlayfs takes: later steps need some of them."""


def view_of(snapshotter: "Snapshotter", snapshot: SnapshotID | None) -> View:
    """The tree of a snapshot, read from its layers."""
    return _view(snapshotter, snapshotter.layers(snapshot))


def _view(snapshotter: "Snapshotter", layers: Sequence[SnapshotID]) -> View:
    dirs = [snapshotter.layer_dir(layer) for layer in reversed(layers)]
    return View(dirs, snapshotter.whiteouts, snapshotter.owners_of(layers))


def merge(
    snapshotter: "Snapshotter",
    diffs: Sequence[Diff],
    policy: MergePolicy,
    parent: SnapshotID | None,
) -> Merged:
    """The diffs applied in order to the tree of `parent`."""
    rest = [diff for diff in diffs if diff.lower != diff.upper]
    while rest and rest[0].lower == parent:
        parent = rest.pop(0).upper
    if not rest and parent is not None:
        depth = len(snapshotter.layers(parent))
        return Merged(parent, MergeReport(Strategy.STACK, "already one chain", depth, 0, 0))
    if snapshotter.max_layers == 1:
        reason = f"the {snapshotter.name} snapshotter has no layers to stack"
        return by_hardlinks(snapshotter, parent, rest, policy, reason)
    if policy.strategy is Strategy.HARDLINK:
        return by_hardlinks(snapshotter, parent, rest, policy, "asked for")
    layers, obstacle = _stacked(snapshotter, parent, rest)
    if obstacle:
        return by_hardlinks(snapshotter, parent, rest, policy, obstacle)
    return _stack(snapshotter, layers)


# Stack ---------------------------------------------------------------------------------------


def _stacked(
    snapshotter: "Snapshotter", parent: SnapshotID | None, diffs: Sequence[Diff]
) -> tuple[list[SnapshotID], str]:
    """The layers of the merge, lowest first, and why stacking them would be wrong (or "")."""
    stack = list(snapshotter.layers(parent))
    for diff in diffs:
        below, layers = snapshotter.layers(diff.lower), snapshotter.layers(diff.upper)
        if layers[: len(below)] != below:
            return [], f"snapshot {diff.upper} was not made on snapshot {diff.lower}"
        added = layers[len(below) :]
        if tuple(stack) != below:
            if _brings_nothing(snapshotter, below, layers):
                continue
            # What an upper one of these layers deletes or restores is not in the diff.
            if len(added) > 1 and below:
                return [], f"snapshot {diff.upper} is {len(added)} layers of one diff"
            # In a diff on nothing a layer may repeat what those below it have.
            check = _portable if below else _hides_nothing
            for number, layer in enumerate(added):
                under = below or added[:number]
                if under and not check(snapshotter, layer, under):
                    return [], f"snapshot {layer} hides files, and would hide others on this base"
        stack += added
    if len(set(stack)) != len(stack):
        return [], "a layer comes twice"  # The kernel refuses overlapping layers (ELOOP).
    if len(stack) > MAX_STACK:
        return [], f"{len(stack)} layers are too deep"
    return stack, ""


def _portable(snapshotter: "Snapshotter", layer: SnapshotID, below: Sequence[SnapshotID]) -> bool:
    """Whether a layer means the same on any base: all it holds is news, and it hides nothing.

    Of a layer where it was made that is remembered.
    """
    layers = (*below, layer)
    made_here = snapshotter.layers(layer) == layers  # And not put here, by another stack.
    known = snapshotter.table.portable(layer) if made_here else None
    if known is None:
        known = _all_is_news(_view(snapshotter, below), _view(snapshotter, layers))
        if made_here:
            snapshotter.table.set_portable(layer, known)
    return known


def _hides_nothing(
    snapshotter: "Snapshotter", layer: SnapshotID, below: Sequence[SnapshotID]
) -> bool:
    """Whether a layer has no whiteout, no opaque directory, and no directory where a layer below
    has a file: each hides what another base has there."""
    lower, pending = _view(snapshotter, below), [""]
    own = View((snapshotter.layer_dir(layer),), snapshotter.whiteouts)
    while pending:
        path = pending.pop()
        directory, met = own.dirs[0] + path, lower.find(path)
        if own.may_hide(directory) or (met is not None and met.type != stat.S_IFDIR):
            return False
        names = own.names_in((directory,), 1)
        if any(node.type == WHITEOUT for node in names.values()):
            return False
        pending += [f"{path}/{name}" for name, node in names.items() if node.type == stat.S_IFDIR]
    return True


def _brings_nothing(
    snapshotter: "Snapshotter", below: Sequence[SnapshotID], layers: Sequence[SnapshotID]
) -> bool:
    # A layer without changes would still show its root directory in place of the base's.
    found = changes(_view(snapshotter, below), _view(snapshotter, layers))
    return next(found, None) is None


def _all_is_news(lower: View, upper: View) -> bool:
    """Whether the topmost layer holds only what differs from `lower`, and hides nothing."""
    top = upper.dirs[0]
    own, pending = {""}, [""]
    while pending:
        parent = pending.pop()
        directory = f"{top}/{parent}" if parent else top
        if upper.is_opaque(directory):
            return False
        for name, node in upper.names_in((directory,), 1).items():
            path = f"{parent}/{name}" if parent else name
            if node.type == WHITEOUT:
                return False
            own.add(path)
            if node.type == stat.S_IFDIR:
                pending.append(path)
    return own <= {change.path for change in changes(lower, upper)}


def _stack(snapshotter: "Snapshotter", layers: list[SnapshotID]) -> Merged:
    merged = snapshotter.create(None, layers)
    with snapshotter.removed_if_failed(merged):
        snapshotter.commit(merged)
    return Merged(merged, MergeReport(Strategy.STACK, "no layer hides files", len(layers), 0, 0))


# Hardlink ------------------------------------------------------------------------------------


def can_stand_on(snapshotter: "Snapshotter", parent: SnapshotID) -> bool:
    """Whether one layer more is not too many; else the parent's files have to be linked, too."""
    return len(snapshotter.layers(parent)) < snapshotter.max_layers


def flattened(snapshotter: "Snapshotter", snapshot: SnapshotID) -> SnapshotID:
    """The tree of a snapshot in one layer, its files linked from where they are."""
    whole = [Diff(None, snapshot)]
    return by_hardlinks(snapshotter, None, whole, MergePolicy(), "too many layers").snapshot


def by_hardlinks(
    snapshotter: "Snapshotter",
    parent: SnapshotID | None,
    diffs: Sequence[Diff],
    policy: MergePolicy,
    reason: str,
) -> Merged:
    """A new snapshot on `parent` with the diffs applied; a failure leaves nothing behind."""
    first = 0
    if parent is not None and not can_stand_on(snapshotter, parent):
        diffs, parent, first = [Diff(None, parent), *diffs], None, -1
    below = view_of(snapshotter, parent)
    merged = snapshotter.create(parent, merged=True)
    layer_dir = snapshotter.layer_dir(merged)
    try:
        if below.dirs:
            entry.inherit_root(below.dirs[0], layer_dir)
        owners, cancelled = snapshotter.owners(merged), snapshotter.cancelled
        applier = Applier(layer_dir, below, policy, owners=owners, cancelled=cancelled)
        for number, diff in enumerate(diffs, first):
            lower, upper = view_of(snapshotter, diff.lower), view_of(snapshotter, diff.upper)
            applier.apply(changes(lower, upper), upper.owners, number)
        snapshotter.commit(merged)
    except BaseException:
        if policy.failed is not None:
            policy.failed(layer_dir)
        snapshotter.remove(merged)
        raise
    depth = len(snapshotter.layers(merged))
    return Merged(merged, MergeReport(Strategy.HARDLINK, reason, depth, *applier.counts))
