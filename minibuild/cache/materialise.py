"""From a list of diffs to something one can stand in, or send: made on demand, and once.

Comes in: a result. Goes out: a snapshot that shows all of it (`snapshot`), or a layer for each of
its diffs (`layer`). An image that is only exported is never put on disk; a base image that no step
runs on is never unpacked; a layer packed or pulled once is never packed again.

How a list becomes a snapshot: if the last diff was made on exactly the list before it, its own
tree is the answer (unpacked from its layer, if need be). Otherwise this is a merge: the longest
prefix that exists as a tree, or can without a merge, is the parent, and the rest is applied to it
by the merge snapshotter. What was merged is remembered by its list.
Read next: `solver.keys`.
"""

import json
import threading
from collections.abc import Callable

from minibuild.cache.layers import LayerStore
from minibuild.cache.results import DiffKey, DiffRow, Diffs, Result, list_key
from minibuild.errors import ImageError, StoreError
from minibuild.layer.layer import Layer
from minibuild.oci.model import Compression
from minibuild.snapshot.api import Diff, MergePolicy, MergeReport, SnapshotID, Strategy
from minibuild.snapshot.snapshotter import Snapshotter
from minibuild.store.layout import Store

_HINT = "build with --no-cache once"
Tell = Callable[[str], None]
"""Called with a sentence about work that takes time, for progress."""


class Materialiser:
    """Trees and blobs of results. Safe in threads; equal work is done once, also by processes."""

    def __init__(
        self,
        store: Store,
        snapshots: Snapshotter,
        diffs: Diffs,
        layers: LayerStore,
        *,
        policy: MergePolicy | None = None,
        cancelled: threading.Event | None = None,
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._diffs = diffs
        self._layers = layers
        self._policy = policy or MergePolicy()
        self._cancelled = cancelled

    def snapshot(self, result: Result, tell: Tell) -> SnapshotID | None:
        """The committed snapshot that shows a result; None for scratch."""
        missing = self._missing(result)
        # All transfers run side by side, and the first layer is unpacked while others arrive.
        rows = missing.values()
        self._layers.prefetch([r.layer for r in rows if r.layer and self._own_tree(r) is None])
        for below in list(missing)[:-1]:
            self._show(below, tell)
        return self._show(result, tell)

    def _missing(self, result: Result) -> dict[Result, DiffRow]:
        """The results that have to be put on disk for one to be, itself last, with their last
        diffs. No recursion: any number of layers may stand on each other."""
        found: dict[Result, DiffRow] = {}
        pending = [] if self.is_here(result) else [result]
        while pending:
            wanted = pending.pop()
            last = found[wanted] = self._diffs.get(wanted[-1])
            needed = [last.base]
            if last.base != wanted[:-1]:
                start = self._prefix(wanted)
                rest = [(*self._diffs.get(key).base, key) for key in wanted[start:]]
                needed = [wanted[:start], *rest]
            pending += [one for one in needed if one not in found and not self.is_here(one)]
        # A diff is newer than all it was made on, and a merge is made of what it ends with.
        order = sorted(found, key=lambda r: (max(r), found[r].base != r[:-1], len(r)))
        return {wanted: found[wanted] for wanted in order}

    def _show(self, result: Result, tell: Tell) -> SnapshotID | None:
        """The same, where what it stands on is there."""
        if not result:
            return None
        last = self._diffs.get(result[-1])
        if last.base == result[:-1]:
            return self._tree(last, tell)
        return self._known(result) or self._merge(result, tell)

    def is_here(self, result: Result) -> bool:
        """Whether the files of a result are there: `snapshot` has nothing to do."""
        if not result:
            return True
        last = self._diffs.get(result[-1])
        if last.base == result[:-1]:
            return self._own_tree(last) is not None
        return self._known(result) is not None

    def diff(self, key: DiffKey, tell: Tell) -> Diff:
        """A diff as two snapshots."""
        row = self._diffs.get(key)
        if self._own_tree(row) is None:
            self._tree(row, tell)
            row = self._diffs.get(key)
        assert row.upper is not None
        return Diff(row.lower, row.upper)

    def layer(
        self, key: DiffKey, compression: Compression = "gzip", level: int | None = None
    ) -> Layer:
        """A diff as a layer: one that is known stays as and where it is, and its bytes are fetched
        by whatever needs them; else the diff is packed and compressed so."""
        row = self._diffs.get(key)
        if row.layer is not None and self._layers.present(row.layer):
            return row.layer
        with self._store.lock(f"blob-{key}", self._cancelled) as waited:
            row = self._diffs.get(key) if waited else row
            if row.layer is not None and self._layers.present(row.layer):
                return row.layer
            made = self._pack(row, compression, level)
            self._diffs.set_layer(key, made)
        return made._replace(source=self._layers)

    def _pack(self, row: DiffRow, compression: Compression, level: int | None) -> Layer:
        """A diff as a new layer: from its patch, if it has one, or from its tree."""
        patch = self._layers.patch(row.key)
        if patch is not None:
            try:
                return self._layers.pack_patch(patch, compression, level)
            except ImageError as error:
                if row.upper is None:
                    raise StoreError(f"a layer is damaged: {error}", hint=_HINT) from error
        if row.upper is None:
            raise StoreError("a layer is in the cache neither as files nor as a blob", hint=_HINT)
        return self._layers.pack(row.key, Diff(row.lower, row.upper), compression, level)

    def _known(self, result: Result) -> SnapshotID | None:
        if not self._policy.is_normal:
            return None
        found = self._store.db.execute(
            "SELECT snapshot FROM trees WHERE list = ?", (list_key(result),)
        ).fetchone()
        return None if found is None or not self._snapshots.intact(found[0]) else found[0]

    def _own_tree(self, row: DiffRow) -> SnapshotID | None:
        """The tree of a diff, if it has one. One that was removed by hand is none."""
        upper = row.upper
        return upper if upper is not None and self._snapshots.intact(upper) else None

    def _tree(self, row: DiffRow, tell: Tell) -> SnapshotID:
        """The tree of a diff on its own base, unpacked from its layer if it is gone."""
        if (tree := self._own_tree(row)) is not None:
            return tree
        if row.layer is None and self._layers.patch(row.key) is None:
            raise StoreError(
                f"the files of snapshot {row.upper} are gone, and were in no layer yet",
                hint="run `minibuild prune --all`, then build again",
            )
        layer = row.layer or self.layer(row.key)
        # The base first and outside the lock: one lock at a time cannot dead-lock.
        parent = self.snapshot(row.base, tell)
        with self._store.lock(f"tree-{row.key}", self._cancelled) as waited:
            now = self._diffs.get(row.key) if waited else row
            if (tree := self._own_tree(now)) is not None:
                return tree
            active = self._snapshots.prepare(parent)
            with self._snapshots.removed_if_failed(active):
                for left_out in self._layers.unpack(layer, active):
                    tell(left_out)
                self._snapshots.commit(active)
            self._diffs.set_upper(row.key, parent, active)
        return active

    def _merge(self, result: Result, tell: Tell) -> SnapshotID:
        start = self._prefix(result)
        parent = self.snapshot(result[:start], tell)
        rest = [self.diff(key, tell) for key in result[start:]]
        with self._store.lock(f"merge-{list_key(result)}", self._cancelled) as waited:
            if waited and (known := self._known(result)) is not None:
                return known
            merged = self._snapshots.merge(rest, self._policy, parent=parent)
            tell(f"merging {len(result)} layers: {_how(merged.report)}")
            if self._policy.is_normal:
                self._store.db.execute(
                    "INSERT OR REPLACE INTO trees (list, snapshot, diffs) VALUES (?, ?, ?)",
                    (list_key(result), merged.snapshot, json.dumps(result)),
                )
        return merged.snapshot

    def _prefix(self, result: Result) -> int:
        """How many diffs at the start of the list need no merge.

        BuildKit takes the longest plain chain from nothing. Any prefix that exists as a tree
        serves as well: what a RUN left behind *is* the tree of the list that ends with it.
        """
        if not self._policy.is_normal:
            length = 0
            while length < len(result) and self._diffs.get(result[length]).base == result[:length]:
                length += 1
            return length
        for length in range(len(result) - 1, 0, -1):
            base = self._diffs.get(result[length - 1]).base
            if base == result[: length - 1] or self._known(result[:length]) is not None:
                return length
        return 0


def _how(report: MergeReport) -> str:
    """What a merge did, for progress; why it did the work, where it did any."""
    if report.strategy is Strategy.STACK:
        return "stacked"
    files = f"linked {report.linked:,} file{'' if report.linked == 1 else 's'}"
    copied = f", copied {report.copied:,}" if report.copied else ""
    return f"{files}{copied} ({report.reason})"
