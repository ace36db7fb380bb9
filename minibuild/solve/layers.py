"""Layers as files, over the content store: how diffs become blobs, and blobs trees.

A blob that is not in the store yet has an origin: the layout, archive or registry in which a
manifest named it. It is fetched from there when somebody needs its bytes, and not before.
"""

import os
import threading
from contextlib import ExitStack

from minibuild.digest import Digest
from minibuild.errors import StoreError
from minibuild.oci.compress import Compression
from minibuild.oci.content import BlobSource, ContentStore
from minibuild.oci.layers import PackedLayer
from minibuild.oci.pack import pack
from minibuild.oci.unpack import unpack
from minibuild.snapshot.api import Diff, SnapshotID, Snapshotter
from minibuild.store.layout import Store


class StoreLayers:
    """Implements `materialise.Layers`. Safe in threads."""

    def __init__(self, store: Store, content: ContentStore, snapshots: Snapshotter) -> None:
        self._store = store
        self._content = content
        self._snapshots = snapshots
        self._origins: dict[Digest, BlobSource] = {}
        self._learning = threading.Lock()

    def learn(self, layer: PackedLayer, origin: BlobSource) -> None:
        """Remember, for this process, where a blob can be fetched from."""
        with self._learning:
            self._origins[layer.digest] = origin

    def pack(self, diff: Diff, compression: Compression, level: int | None) -> PackedLayer:
        """Write the diff as a layer into the content store."""
        changes = self._snapshots.changes(diff)
        return pack(changes, self._content, self._store.db, compression=compression, level=level)

    def present(self, blob: PackedLayer) -> bool:
        """Whether the blob is in the content store, or can be fetched."""
        return self._content.has(blob.digest, blob.size_bytes) or blob.digest in self._origins

    def fetch(self, blob: PackedLayer) -> None:
        """Have the blob in the content store afterwards."""
        if self._content.has(blob.digest, blob.size_bytes):
            return
        origin = self._origins.get(blob.digest)
        if origin is None:
            raise StoreError(
                f"layer {blob.digest} is not in the store, and this build does not name its image",
                hint="build with --no-cache once",
            )
        # One fetch at a time for a blob: the second finds it there.
        with self._store.lock(f"fetch-{blob.digest[7:39]}"):
            self._content.fetch(origin, blob.descriptor)

    def unpack(self, blob: PackedLayer, active: SnapshotID) -> tuple[str, ...]:
        """Apply a fetched blob to an active snapshot; says what this host had to leave out."""
        parent = self._snapshots.parent(active)
        with ExitStack() as stack:
            lower = parent and stack.enter_context(self._snapshots.tree(parent))
            fd = os.open(
                self._snapshots.layer_dir(active), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            )
            stack.callback(os.close, fd)
            done = unpack(
                self._content, blob.descriptor, blob.diff_id, fd, self._snapshots.whiteouts, lower
            )
        return done.skipped
