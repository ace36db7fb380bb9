"""What the store holds, and how much room each thing takes.

Comes in: a worker. Goes out: holdings. Read next: `prune`, which removes some.
"""

import json
import os
from collections.abc import Iterable

from minibuild.digest import Digest
from minibuild.errors import BuildError
from minibuild.oci.document import parse_document
from minibuild.oci.model import Descriptor
from minibuild.oci.transfer import blobs_of
from minibuild.snapshot.api import SnapshotID
from minibuild.snapshot.usage import usage_of
from minibuild.startup.tuples import NamedTuple
from minibuild.store.layout import Store
from minibuild.worker.worker import Worker


class UsageRecord(NamedTuple):
    """One thing in the store. `kind` is `record`, `image`, `cache-mount`, `blob` (one that no image
    with a name has) or `partial` (what has come of one so far); `used` is a time in seconds since
    the epoch. Images may share blobs: see `images_size`."""

    kind: str
    id: str
    description: str
    size_bytes: int
    created: float
    used: float


def disk_usage(worker: Worker) -> list[UsageRecord]:
    """Everything in the store, oldest use first."""
    found = [
        *records_of(worker),
        *_images(worker),
        *cache_mounts_of(worker.store),
        *_other_blobs(worker),
        *_partial(worker),
    ]
    return sorted(found, key=lambda holding: holding.used)


def images_size(worker: Worker) -> int:
    """The size of all images with a name; what several of them have counts once."""
    return sum(worker.content.size(digest) for digest in image_blobs(worker))


# --- What there is ---


def records_of(worker: Worker) -> Iterable[UsageRecord]:
    """The records of the cache, each with the size of what its own step made."""
    rows = worker.store.db.execute(
        "SELECT canonical, result, name, min(created), max(used) FROM records GROUP BY canonical"
    ).fetchall()
    for key, result, name, created, used in rows:
        diffs = json.loads(result)
        size = 0
        if diffs:
            found = worker.store.db.execute(
                "SELECT upper, size_bytes FROM diffs WHERE id = ?", (diffs[-1],)
            ).fetchone()
            if found and found[0] is not None:
                size = worker.snapshots.usage(SnapshotID(found[0])).size_bytes
            elif found:
                size = found[1] or _patch_size(worker, diffs[-1])
        yield UsageRecord("record", key, name, size, created, used)


def _patch_size(worker: Worker, diff: int) -> int:
    patch = worker.layers.patch(diff)
    return 0 if patch is None else patch.new_bytes


def _images(worker: Worker) -> Iterable[UsageRecord]:
    for name, descriptor in worker.images.list():
        size = sum(d.size for d in blobs_in(worker, descriptor))
        stamp = os.stat(worker.content.path(descriptor.digest)).st_mtime
        yield UsageRecord("image", descriptor.digest, str(name), size, stamp, stamp)


def _other_blobs(worker: Worker) -> Iterable[UsageRecord]:
    """Layers that the cache keeps, and what nothing needs any more."""
    rows = worker.store.db.execute("SELECT digest FROM diffs WHERE digest IS NOT NULL").fetchall()
    layers, named = {row[0] for row in rows}, image_blobs(worker)
    layers |= {patch.layer.digest for _, patch in worker.layers.patches()}
    for name in os.listdir(worker.store.path("blobs", "sha256")):
        digest = Digest(f"sha256:{name}")
        if digest not in named:
            found = os.stat(worker.content.path(digest))
            what = "a layer of the cache" if digest in layers else "nothing needs it"
            yield UsageRecord("blob", digest, what, found.st_size, found.st_mtime, found.st_mtime)


def _partial(worker: Worker) -> Iterable[UsageRecord]:
    folder = worker.store.path("partial")
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        found = os.stat(os.path.join(folder, name))
        what = "a transfer that was cut off"
        yield UsageRecord("partial", name, what, found.st_size, found.st_ctime, found.st_mtime)


def cache_mounts_of(store: Store) -> Iterable[UsageRecord]:
    """The cache mounts of a store: `id` is the name of the folder, the description their id."""
    top = store.path("cache-mounts")
    for folder in sorted(os.listdir(top)):
        path = os.path.join(top, folder)
        id, created = "", 0.0
        try:
            with open(os.path.join(path, "about.json"), "rb") as file:
                about = parse_document(file.read(), "about.json")
                id, created = about["id"].text(), os.fstat(file.fileno()).st_mtime
        except (OSError, BuildError):
            pass
        used = os.stat(path).st_mtime
        size = usage_of(path, shares=False).size_bytes
        yield UsageRecord("cache-mount", folder, id, size, created or used, used)


# --- What is needed ---


def image_blobs(worker: Worker) -> set[Digest]:
    """The blobs of all images with a name."""
    tops = [descriptor for _, descriptor in worker.images.list()]
    return {blob.digest for top in tops for blob in blobs_in(worker, top)}


def blobs_in(worker: Worker, top: Descriptor) -> Iterable[Descriptor]:
    """All blobs of a stored image, of all its platforms; those not there say nothing."""
    return (d for d in blobs_of(worker.content, top) if worker.content.has(d.digest))
