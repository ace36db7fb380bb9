"""Removing from the store what nothing needs, and what is old or too much.

Three things need something: a name of an image needs its blobs; a record of the cache needs the
diffs of its result; a diff needs its snapshots and its blob. Everything else is garbage, left by
images that lost their names, by records that are gone, by crashes. Which records go is decided
first, by `beyond`: those that were not used for long, and the longest unused ones of too many.
Read next: `cache.results`, `cache.records`.
"""

import json
import os
import time
from collections.abc import Collection, Sequence

from minibuild.digest import Digest
from minibuild.layer.chunk_cache import forget_lost
from minibuild.snapshot.api import SnapshotID
from minibuild.startup.tuples import NamedTuple
from minibuild.store.database import Database
from minibuild.worker.gc import UsageRecord, cache_mounts_of, image_blobs, records_of
from minibuild.worker.usage_filter import Matches, everything
from minibuild.worker.worker import Worker

FOREVER_S = float("inf")
_ROWS, _LOG_PAGES = 32, 64
"""How many rows are deleted in one transaction, and after how many pages of its log SQLite writes
them into its file and starts the log again. Both have to fit into the store's reserve."""


class Limits(NamedTuple):
    """What may stay of the cache: what was used within `unused_for_s` seconds, while all of it is
    no more than `max_used_bytes` (None: any amount) and leaves `min_free_bytes` of the disk. As
    much as `reserved_bytes` stays whatever the other limits say. The names are BuildKit's."""

    unused_for_s: float = 7 * 86400.0
    max_used_bytes: int | None = None
    min_free_bytes: int = 0
    reserved_bytes: int = 0


class Room(NamedTuple):
    """What limits are measured with: the time, and what is free on the disk of the store."""

    now: float
    free_bytes: int


class Freed(NamedTuple):
    """What a prune removed, and how many bytes that freed."""

    records: int
    snapshots: int
    blobs: int
    cache_mounts: int
    size_bytes: int


def beyond(
    records: Sequence[UsageRecord], limits: Limits, room: Room, meant: Matches = everything
) -> list[str]:
    """The ids of the records that have to go, of those that are `meant`; `records` come in the
    order in which they would.

    The sizes are those of the records' own files, so the sum is what they take together; what
    another record stands on stays on the disk until that one goes, too.
    """
    used, free = sum(record.size_bytes for record in records), room.free_bytes
    most = FOREVER_S if limits.max_used_bytes is None else limits.max_used_bytes
    gone = []
    for record in records:
        if limits.reserved_bytes and used <= limits.reserved_bytes:
            break
        if not meant(record):
            continue
        old = record.used <= room.now - limits.unused_for_s
        if old or used > most or free < limits.min_free_bytes:
            gone.append(record.id)
            used, free = used - record.size_bytes, free + record.size_bytes
    return gone


def _turn(record: UsageRecord) -> tuple[float, float]:
    """The longest unused first; of those that one build used, what stands on top of the others."""
    return record.used, -record.created


def prune(
    worker: Worker,
    limits: Limits,
    *,
    meant: Matches = everything,
    cache_mounts: bool = False,
    explained: Collection[Digest] = (),
) -> Freed:
    """Remove the records of the cache that are `meant` and beyond the limits, and then all garbage.

    Images with a name keep their blobs, and of the keys in `explained` stays what they were made
    of. The worker must have been opened with `alone=True`.
    """
    now = time.time()
    usage = os.statvfs(worker.store.root)
    room = Room(now, usage.f_bavail * usage.f_frsize)
    gone = beyond(sorted(records_of(worker), key=_turn), limits, room, meant)
    db = worker.store.db
    db.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    records = _delete(db, "DELETE FROM records WHERE canonical = ?", gone)
    keep = _diffs_in_use(worker)
    keep_trees = _drop_trees(worker, keep)
    snapshots, blobs = _drop_diffs(worker, keep)
    trees, size = _drop_snapshots(worker, snapshots | keep_trees)
    dropped, blob_size = _drop_blobs(worker, blobs | image_blobs(worker))
    old = now - limits.unused_for_s
    mounts, mount_size = _drop_cache_mounts(worker, old, meant) if cache_mounts else (0, 0)
    _drop_parts(db, explained)
    _tidy(worker, forget_files=meant is everything and not limits.unused_for_s)
    return Freed(records, trees, dropped, mounts, size + blob_size + mount_size)


def _delete(db: Database, statement: str, keys: Sequence[str | int]) -> int:
    """Delete the rows of these keys, a few at a time: on a full disk there is room for a short log
    only. What a crash leaves of them is garbage for the next prune."""
    removed = 0
    for at in range(0, len(keys), _ROWS):
        with db.transaction() as tx:
            removed += sum(tx.execute(statement, (key,)).rowcount for key in keys[at : at + _ROWS])
    return removed


def _drop_parts(db: Database, explained: Collection[Digest]) -> None:
    """Forget what keys were made of that neither have a record nor are to be explained."""
    rows = db.execute(
        "SELECT key FROM key_parts WHERE key NOT IN (SELECT canonical FROM records)"
    ).fetchall()
    gone = [key for (key,) in rows if key not in explained]
    _delete(db, "DELETE FROM key_parts WHERE key = ?", gone)


def _diffs_in_use(worker: Worker) -> set[int]:
    """The diffs of all records, and those they were made on."""
    db = worker.store.db
    rows = db.execute("SELECT DISTINCT result FROM records").fetchall()
    keep = {key for (result,) in rows for key in json.loads(result)}
    bases = {key: json.loads(base) for key, base in db.execute("SELECT id, base FROM diffs")}
    pending = list(keep)
    while pending:
        for below in bases.get(pending.pop(), ()):
            if below not in keep:
                keep.add(below)
                pending.append(below)
    return keep


def _drop_trees(worker: Worker, keep: set[int]) -> set[int]:
    """Forget merges of diffs that go; the snapshots of the others."""
    rows = worker.store.db.execute("SELECT list, snapshot, diffs FROM trees").fetchall()
    gone = [row for row in rows if not keep.issuperset(json.loads(row[2]))]
    _delete(worker.store.db, "DELETE FROM trees WHERE list = ?", [row[0] for row in gone])
    return {row[1] for row in rows} - {row[1] for row in gone}


def _drop_diffs(worker: Worker, keep: set[int]) -> tuple[set[int], set[Digest]]:
    """Forget diffs that nothing needs; the snapshots and blobs of the others."""
    db = worker.store.db
    rows = db.execute("SELECT id, lower, upper, digest FROM diffs").fetchall()
    _delete(db, "DELETE FROM diffs WHERE id = ?", [row[0] for row in rows if row[0] not in keep])
    kept = [row for row in rows if row[0] in keep]
    below = _drop_patches(worker, {row[0] for row in kept if not row[3]})
    snapshots = {number for row in kept for number in row[1:3] if number is not None}
    return snapshots, below | {Digest(row[3]) for row in kept if row[3]}


def _drop_patches(worker: Worker, keep: set[int]) -> set[Digest]:
    """Forget patches whose diffs are gone, or have become layers; the layers that the others
    change."""
    patches = list(worker.layers.patches())
    for key, _ in patches:
        if key not in keep:
            worker.layers.drop_patch(key)
    return {patch.layer.digest for key, patch in patches if key in keep}


def _drop_snapshots(worker: Worker, keep: set[int]) -> tuple[int, int]:
    """Remove snapshots that neither are needed nor have others standing on them."""
    needed: set[int] = set()
    pending = list(keep)
    while pending:
        number = pending.pop()
        if number not in needed:
            needed.add(number)
            pending.extend(worker.snapshots.table.requires(SnapshotID(number)))
    removed = size = 0
    # Newest first: what stands on another was made after it.
    for snapshot in sorted(worker.snapshots.table.committed(), reverse=True):
        if snapshot not in needed:
            size += worker.snapshots.usage(snapshot).size_bytes
            worker.snapshots.remove(snapshot)
            removed += 1
    return removed, size


def _drop_blobs(worker: Worker, keep: set[Digest]) -> tuple[int, int]:
    removed = size = 0
    for name in os.listdir(worker.store.path("blobs", "sha256")):
        digest = Digest(f"sha256:{name}")
        if digest not in keep:
            size += worker.content.size(digest)
            worker.content.delete(digest)
            removed += 1
    return removed, size + _drop_partial(worker)


def _drop_partial(worker: Worker) -> int:
    """Remove what pulls that never ended have left; there are no pulls while the worker is
    alone."""
    folder = worker.store.path("partial")
    size = 0
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        path = os.path.join(folder, name)
        size += os.stat(path).st_size
        os.unlink(path)
    return size


def _tidy(worker: Worker, *, forget_files: bool) -> None:
    """Remove what has no size of its own and adds up all the same: locks that no process holds
    while the worker is alone, and rows about what is gone."""
    locks = worker.store.path("locks")
    for name in os.listdir(locks):
        if name != "prune":
            os.unlink(os.path.join(locks, name))
    db, content = worker.store.db, worker.content
    forget_lost(content.blobs_path)
    _forget_inventories(worker)
    rows = db.execute("SELECT DISTINCT digest FROM layers").fetchall()
    gone = [row for row in rows if not content.has(Digest(row[0]))]
    _delete(db, "DELETE FROM layers WHERE digest = ?", [row[0] for row in gone])
    if forget_files:
        db.execute("DELETE FROM digests_of_files")
    db.shrink()


def _forget_inventories(worker: Worker) -> None:
    """Remove what is known of copies whose diffs are gone (see `solver.last_copy`)."""
    folder = worker.store.path("inventories")
    there = {str(row[0]) for row in worker.store.db.execute("SELECT id FROM diffs")}
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if name.partition("-")[0] not in there:
            os.unlink(os.path.join(folder, name))


def _drop_cache_mounts(worker: Worker, before: float, meant: Matches) -> tuple[int, int]:
    from shutil import rmtree

    removed = size = 0
    for holding in list(cache_mounts_of(worker.store)):
        if holding.used <= before and meant(holding):
            rmtree(worker.store.path("cache-mounts", holding.id))
            removed += 1
            size += holding.size_bytes
    return removed, size
