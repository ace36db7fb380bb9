"""What the store holds, what needs it, and removing what nothing needs.

Three things need something: a name of an image needs its blobs; a record of the cache needs the
diffs of its result; a diff needs its snapshots and its blob. Everything else is garbage, left by
images that lost their names, by records that became old, by crashes.
Read next: `solve.results`, `solve.cache`.
"""

import json
import os
import time
from collections.abc import Iterable
from typing import NamedTuple

from minibuild.digest import Digest
from minibuild.engine import Engine
from minibuild.oci.model import Descriptor
from minibuild.oci.transfer import blobs_of
from minibuild.snapshot.api import SnapshotID
from minibuild.store.layout import Store


class Holding(NamedTuple):
    """One thing in the store. `kind` is `record`, `image`, `cache-mount`, `blob` (one that no image
    with a name has) or `partial` (what has come of one so far); `used` is a time in seconds since
    the epoch. Images may share blobs: see `images_size`."""

    kind: str
    id: str
    description: str
    size_bytes: int
    created: float
    used: float


class Freed(NamedTuple):
    """What a prune removed, and how many bytes that freed."""

    records: int
    snapshots: int
    blobs: int
    cache_mounts: int
    size_bytes: int


def disk_usage(engine: Engine) -> list[Holding]:
    """Everything in the store, oldest use first."""
    found = [
        *_records(engine),
        *_images(engine),
        *cache_mounts_of(engine.store),
        *_other_blobs(engine),
        *_partial(engine),
    ]
    return sorted(found, key=lambda holding: holding.used)


def images_size(engine: Engine) -> int:
    """The size of all images with a name; what several of them have counts once."""
    return sum(engine.content.size(digest) for digest in _image_blobs(engine))


def prune(engine: Engine, *, unused_for_s: float, cache_mounts: bool = False) -> Freed:
    """Remove records that no build used for `unused_for_s` seconds, and then all garbage.

    Images with a name keep their blobs. The engine must have been opened with `alone=True`.
    """
    before = time.time() - unused_for_s
    db = engine.store.db
    with db.transaction() as tx:
        records = tx.execute("DELETE FROM records WHERE used <= ?", (before,)).rowcount
        tx.execute("DELETE FROM key_parts WHERE key NOT IN (SELECT canonical FROM records)")
    keep = _diffs_in_use(engine)
    keep_trees = _drop_trees(engine, keep)
    snapshots, blobs = _drop_diffs(engine, keep)
    gone, size = _drop_snapshots(engine, snapshots | keep_trees)
    dropped, blob_size = _drop_blobs(engine, blobs | _image_blobs(engine))
    mounts, mount_size = _drop_cache_mounts(engine, before) if cache_mounts else (0, 0)
    _tidy(engine, forget_files=not unused_for_s)
    return Freed(records, gone, dropped, mounts, size + blob_size + mount_size)


# --- What there is ---


def _records(engine: Engine) -> Iterable[Holding]:
    rows = engine.store.db.execute(
        "SELECT canonical, result, name, min(created), max(used) FROM records GROUP BY canonical"
    ).fetchall()
    for key, result, name, created, used in rows:
        diffs = json.loads(result)
        size = 0
        if diffs:
            found = engine.store.db.execute(
                "SELECT upper, size_bytes FROM diffs WHERE id = ?", (diffs[-1],)
            ).fetchone()
            if found and found[0] is not None:
                size = engine.snapshots.usage(SnapshotID(found[0])).size_bytes
            elif found:
                size = found[1] or 0
        yield Holding("record", key, name, size, created, used)


def _images(engine: Engine) -> Iterable[Holding]:
    for name, descriptor in engine.images.list():
        size = sum(d.size for d in _blobs(engine, descriptor))
        stamp = os.stat(engine.content.path(descriptor.digest)).st_mtime
        yield Holding("image", descriptor.digest, str(name), size, stamp, stamp)


def _other_blobs(engine: Engine) -> Iterable[Holding]:
    """Layers that the cache keeps, and what nothing needs any more."""
    rows = engine.store.db.execute("SELECT digest FROM diffs WHERE digest IS NOT NULL").fetchall()
    layers, named = {row[0] for row in rows}, _image_blobs(engine)
    for name in os.listdir(engine.store.path("blobs", "sha256")):
        digest = Digest(f"sha256:{name}")
        if digest not in named:
            found = os.stat(engine.content.path(digest))
            what = "a layer of the cache" if digest in layers else "nothing needs it"
            yield Holding("blob", digest, what, found.st_size, found.st_mtime, found.st_mtime)


def _partial(engine: Engine) -> Iterable[Holding]:
    folder = engine.store.path("partial")
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        found = os.stat(os.path.join(folder, name))
        what = "a transfer that was cut off"
        yield Holding("partial", name, what, found.st_size, found.st_ctime, found.st_mtime)


def cache_mounts_of(store: Store) -> Iterable[Holding]:
    """The cache mounts of a store: `id` is the name of the folder, the description their id."""
    top = store.path("cache-mounts")
    for folder in sorted(os.listdir(top)):
        path = os.path.join(top, folder)
        about, created = {}, 0.0
        try:
            with open(os.path.join(path, "about.json"), encoding="utf-8") as file:
                about, created = json.load(file), os.fstat(file.fileno()).st_mtime
        except (OSError, ValueError):
            pass
        used = os.stat(path).st_mtime
        yield Holding(
            "cache-mount", folder, str(about.get("id", "")), _tree_size(path), created or used, used
        )


def _tree_size(path: str) -> int:
    """The room that files take; one with several names takes it once."""
    total, seen = 0, set()
    for folder, _, files in os.walk(path):
        for name in files:
            found = os.lstat(os.path.join(folder, name))
            if found.st_ino not in seen:
                total += found.st_blocks * 512
            if found.st_nlink > 1:
                seen.add(found.st_ino)
    return total


# --- What is needed ---


def _diffs_in_use(engine: Engine) -> set[int]:
    """The diffs of all records, and those they were made on."""
    db = engine.store.db
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


def _image_blobs(engine: Engine) -> set[Digest]:
    return {
        blob.digest for _, descriptor in engine.images.list() for blob in _blobs(engine, descriptor)
    }


def _blobs(engine: Engine, top: Descriptor) -> Iterable[Descriptor]:
    """All blobs of a stored image, of all its platforms; those not there say nothing."""
    return (d for d in blobs_of(engine.content, top) if engine.content.has(d.digest))


# --- What goes ---


def _drop_trees(engine: Engine, keep: set[int]) -> set[int]:
    """Forget merges of diffs that go; the snapshots of the others."""
    rows = engine.store.db.execute("SELECT list, snapshot, diffs FROM trees").fetchall()
    gone = [row for row in rows if not keep.issuperset(json.loads(row[2]))]
    with engine.store.db.transaction() as tx:
        tx.executemany("DELETE FROM trees WHERE list = ?", [(row[0],) for row in gone])
    return {row[1] for row in rows} - {row[1] for row in gone}


def _drop_diffs(engine: Engine, keep: set[int]) -> tuple[set[int], set[Digest]]:
    """Forget diffs that nothing needs; the snapshots and blobs of the others."""
    db = engine.store.db
    rows = db.execute("SELECT id, lower, upper, digest FROM diffs").fetchall()
    with db.transaction() as tx:
        tx.executemany(
            "DELETE FROM diffs WHERE id = ?", [(row[0],) for row in rows if row[0] not in keep]
        )
    kept = [row for row in rows if row[0] in keep]
    snapshots = {number for row in kept for number in row[1:3] if number is not None}
    return snapshots, {Digest(row[3]) for row in kept if row[3]}


def _drop_snapshots(engine: Engine, keep: set[int]) -> tuple[int, int]:
    """Remove snapshots that neither are needed nor have others standing on them."""
    needed: set[int] = set()
    pending = list(keep)
    while pending:
        number = pending.pop()
        if number not in needed:
            needed.add(number)
            pending.extend(engine.snapshots.requires(SnapshotID(number)))
    removed = size = 0
    # Newest first: what stands on another was made after it.
    for snapshot in sorted(engine.snapshots.all(), reverse=True):
        if snapshot not in needed:
            size += engine.snapshots.usage(snapshot).size_bytes
            engine.snapshots.remove(snapshot)
            removed += 1
    return removed, size


def _drop_blobs(engine: Engine, keep: set[Digest]) -> tuple[int, int]:
    removed = size = 0
    for name in os.listdir(engine.store.path("blobs", "sha256")):
        digest = Digest(f"sha256:{name}")
        if digest not in keep:
            size += engine.content.size(digest)
            engine.content.delete(digest)
            removed += 1
    return removed, size + _drop_partial(engine)


def _drop_partial(engine: Engine) -> int:
    """Remove what pulls that never ended have left; nobody pulls while the engine is alone."""
    folder = engine.store.path("partial")
    size = 0
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        path = os.path.join(folder, name)
        size += os.stat(path).st_size
        os.unlink(path)
    return size


def _tidy(engine: Engine, *, forget_files: bool) -> None:
    """Remove what has no size of its own and adds up all the same: locks that nobody holds while
    the engine is alone, and rows about what is gone."""
    locks = engine.store.path("locks")
    for name in os.listdir(locks):
        if name != "prune":
            os.unlink(os.path.join(locks, name))
    db, content = engine.store.db, engine.content
    rows = db.execute("SELECT DISTINCT digest FROM layers").fetchall()
    gone = [row for row in rows if not content.has(Digest(row[0]))]
    with db.transaction() as tx:
        tx.executemany("DELETE FROM layers WHERE digest = ?", gone)
        if forget_files:
            tx.execute("DELETE FROM file_digests")
    db.shrink()


def _drop_cache_mounts(engine: Engine, before: float) -> tuple[int, int]:
    from shutil import rmtree

    removed = size = 0
    for holding in list(cache_mounts_of(engine.store)):
        if holding.used <= before:
            rmtree(engine.store.path("cache-mounts", holding.id))
            removed += 1
            size += holding.size_bytes
    return removed, size
