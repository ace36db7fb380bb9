"""The rows of snapshots: which there are, on what they stand, and who is making one.

Comes in: the store's database. Goes out: numbers and chains. A row comes before its directory and
goes after it, and while either is in the making the row names its owner; so whatever a crash
leaves is found by the owner being dead (see `sweep`). Read next: `overlay`, `native`.

A snapshot shows a list of layers: those of its parent and its own. A stacked merge has none of
its own but a list, kept in `stack`. Lists of committed snapshots never change, so they are
remembered here.
"""

import json
import time
from collections.abc import Sequence
from typing import Any

from minibuild.errors import StoreError
from minibuild.snapshot.api import SnapshotID
from minibuild.store.layout import Store


class Table:
    """The snapshots of one backend in one store. Safe in many threads and processes."""

    __slots__ = ("_layers", "_parents", "backend", "store")

    def __init__(self, store: Store, backend: str) -> None:
        self.store = store
        self.backend = backend
        self._layers: dict[int, tuple[SnapshotID, ...]] = {}
        self._parents: dict[int, SnapshotID | None] = {}

    def insert(
        self,
        parent: SnapshotID | None,
        stack: Sequence[SnapshotID] = (),
        *,
        merged: bool = False,
        early: bool = False,
    ) -> SnapshotID:
        """A new active snapshot of this process. All it stands on must be committed, or, if it is
        made `early`, an active one of this process."""
        needed = set(stack) if parent is None else {parent, *stack}
        with self.store.db.transaction() as tx:
            for snapshot in needed:
                self._require_base(snapshot, early=early)
            cursor = tx.execute(
                "INSERT INTO snapshots (parent, backend, owner, stack, created, merged)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (
                    parent,
                    self.backend,
                    self.store.claim.name,
                    json.dumps(list(stack)) if stack else None,
                    time.time(),
                    int(merged),
                ),
            )
        assert cursor.lastrowid is not None
        return SnapshotID(cursor.lastrowid)

    def _require_base(self, snapshot: SnapshotID, *, early: bool) -> None:
        owner, backend = self._row(snapshot, "owner, backend")
        if owner is not None and not (early and owner == self.store.claim.name):
            raise StoreError(f"snapshot {snapshot} is not committed, so nothing can stand on it")
        self._require_backend(snapshot, backend)

    def commit(self, active: SnapshotID) -> None:
        """Make an active snapshot of this process a committed one."""
        changed = self.store.db.execute(
            "UPDATE snapshots SET owner = NULL WHERE id = ? AND owner = ?",
            (active, self.store.claim.name),
        ).rowcount
        if changed != 1:
            raise StoreError(f"snapshot {active} is not an active snapshot of this process")

    def claim_for_removal(self, snapshot: SnapshotID) -> bool:
        """Mark a snapshot as going; False if there is none. An error if another stands on it."""
        with self.store.db.transaction() as tx:
            user = tx.execute(
                "SELECT id FROM snapshots WHERE parent = ? OR (stack IS NOT NULL AND EXISTS"
                " (SELECT 1 FROM json_each(stack) WHERE value = ?)) LIMIT 1",
                (snapshot, snapshot),
            ).fetchone()
            if user is not None:
                raise StoreError(f"snapshot {snapshot} is in use by snapshot {user[0]}")
            return (
                tx.execute(
                    "UPDATE snapshots SET owner = ? WHERE id = ?",
                    (self.store.claim.name, snapshot),
                ).rowcount
                == 1
            )

    def delete(self, snapshot: SnapshotID) -> None:
        """Forget a snapshot whose directory is gone."""
        self.store.db.execute("DELETE FROM snapshots WHERE id = ?", (snapshot,))
        for known in (self._layers, self._parents):
            known.pop(snapshot, None)

    def is_active(self, snapshot: SnapshotID) -> bool:
        """Whether a snapshot can still be written."""
        (owner,) = self._row(snapshot, "owner")
        return owner is not None

    def require_active(self, snapshot: SnapshotID) -> None:
        """Raise `StoreError` for a committed snapshot."""
        if not self.is_active(snapshot):
            raise StoreError(f"snapshot {snapshot} is committed and cannot be written")

    def parent(self, snapshot: SnapshotID) -> SnapshotID | None:
        """The snapshot on which this one was prepared."""
        if snapshot not in self._parents:
            self._load(snapshot)
        return self._parents[snapshot]

    def layers(self, snapshot: SnapshotID) -> tuple[SnapshotID, ...]:
        """The snapshots whose layer directories add up to this tree, lowest first."""
        chain: list[SnapshotID] = []
        current: SnapshotID | None = snapshot
        while current is not None:
            parent = self.parent(current)
            if current in self._layers:  # Known, or a stacked merge, whose list was just read.
                break
            chain.append(current)
            current = parent
        below = self._layers[current] if current is not None else ()
        for number in reversed(chain):
            below = self._layers[number] = (*below, number)
        return below

    def _load(self, snapshot: SnapshotID) -> None:
        parent, stack, backend = self._row(snapshot, "parent, stack, backend")
        self._require_backend(snapshot, backend)
        if stack is not None:
            self._layers[snapshot] = tuple(SnapshotID(n) for n in json.loads(stack))
        self._parents[snapshot] = None if parent is None else SnapshotID(parent)

    def _row(self, snapshot: SnapshotID, columns: str) -> tuple[Any, ...]:
        """What the table has in these columns. In a transaction it is a part of that."""
        row: tuple[Any, ...] | None = self.store.db.execute(
            f"SELECT {columns} FROM snapshots WHERE id = ?", (snapshot,)
        ).fetchone()
        if row is None:
            raise StoreError(
                f"snapshot {snapshot} is not in the store",
                hint="the store may be damaged, or another process pruned it: build again",
            )
        return row

    def _require_backend(self, snapshot: SnapshotID, backend: str) -> None:
        if backend != self.backend:
            raise StoreError(
                f"snapshot {snapshot} was made by the {backend} snapshotter, not by {self.backend}",
                hint="use one snapshotter for one store",
            )

    def requires(self, snapshot: SnapshotID) -> set[SnapshotID]:
        """The snapshots that have to stay while this one does: its parent and its layers."""
        needed = set(self.layers(snapshot))
        parent = self.parent(snapshot)
        if parent is not None:
            needed.add(parent)
        return needed - {snapshot}

    def committed(self) -> list[SnapshotID]:
        """Every committed snapshot of this backend, oldest first."""
        rows = self.store.db.execute(
            "SELECT id FROM snapshots WHERE owner IS NULL AND backend = ? ORDER BY id",
            (self.backend,),
        )
        return [SnapshotID(number) for (number,) in rows]

    # Facts that are found once -----------------------------------------------------------------

    def portable(self, snapshot: SnapshotID) -> bool | None:
        """Whether the layer means the same on any base; None if that was not looked at yet."""
        (portable,) = self._row(snapshot, "portable")
        return None if portable is None else bool(portable)

    def set_portable(self, snapshot: SnapshotID, portable: bool) -> None:
        """Remember what was found."""
        self.store.db.execute(
            "UPDATE snapshots SET portable = ? WHERE id = ?", (int(portable), snapshot)
        )

    def usage(self, snapshot: SnapshotID) -> tuple[int | None, int | None, bool]:
        """The remembered size and inodes, and whether the snapshot shares inodes with others."""
        size_bytes, inodes, merged = self._row(snapshot, "size_bytes, inodes, merged")
        return size_bytes, inodes, bool(merged)

    def set_usage(self, snapshot: SnapshotID, size_bytes: int, inodes: int) -> None:
        """Remember the usage of a committed snapshot."""
        self.store.db.execute(
            "UPDATE snapshots SET size_bytes = ?, inodes = ? WHERE id = ? AND owner IS NULL",
            (size_bytes, inodes, snapshot),
        )
