"""Layers as files, over the content store: how diffs become blobs, and blobs trees.

A blob that is not in the store yet has a provider: the layout, archive or registry in which a
manifest named it. It is fetched from there when its bytes are needed, and not before.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, BinaryIO

from minibuild.digest import Digest
from minibuild.errors import BuildError, ImageError, RegistryError, StoreError
from minibuild.events import Report, silent
from minibuild.graph.reference import Reference
from minibuild.oci.content import BlobSource, ContentStore
from minibuild.oci.layers import PackedLayer
from minibuild.oci.model import Compression, Descriptor
from minibuild.snapshot.api import Diff, SnapshotID, Snapshotter
from minibuild.store.layout import Store

if TYPE_CHECKING:
    from minibuild.registry.fetch import Arrival

PULLS = 4
"""Layers fetched at once, from all images of a build together."""

_CLOSE_S = 1.0


class LostLayer(BuildError):
    """A cache of another machine names a layer that it has not got: the build can do without."""


class StoreLayers(BlobSource):
    """Implements `materialise.Layers`, and `BlobSource` over all that is here or can be fetched.

    Safe in threads.
    """

    def __init__(self, store: Store, content: ContentStore, snapshots: Snapshotter) -> None:
        self._store = store
        self._content = self.content = content
        self._snapshots = snapshots
        self._providers: dict[Digest, BlobSource] = {}
        self._of_caches: dict[Digest, str] = {}
        self._arrivals: dict[Digest, Arrival] = {}
        self._adding = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._slots = threading.Semaphore(PULLS)
        self._report: Report = silent
        self._cancelled: threading.Event | None = None

    def attend(self, report: Report, cancelled: threading.Event) -> None:
        """What hears of transfers from now on, and what can stop them."""
        self._report, self._cancelled = report, cancelled

    def close(self) -> None:
        """Stop transfers that nothing waits for any more."""
        for arrival in self._arrivals.values():
            arrival.stop()
        for thread in self._threads:
            thread.join(_CLOSE_S)

    def add_provider(
        self, layer: PackedLayer, provider: BlobSource, *, cache: str | None = None
    ) -> None:
        """Remember, for this process, where a blob can be fetched from.

        A provider that is the `cache` of another machine, called so, counts only if there is no
        other; and if it fails, the error is `LostLayer`.
        """
        with self._adding:
            if cache is None:
                self._providers[layer.digest] = provider
                self._of_caches.pop(layer.digest, None)
            elif layer.digest not in self._providers:
                self._providers[layer.digest] = provider
                self._of_caches[layer.digest] = cache

    def drop_caches(self) -> None:
        """Forget the caches of other machines as providers, and what came of them."""
        with self._adding:
            for digest in self._of_caches:
                self._providers.pop(digest, None)
                if (arrival := self._arrivals.pop(digest, None)) is not None:
                    arrival.stop()
            self._of_caches.clear()

    def location(self, digest: Digest) -> Reference | None:
        """A repository that has the blob, if it came or would come from one."""
        provider = self._providers.get(digest)
        return None if provider is None else provider.location(digest)

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        """The bytes of a blob, from the store or straight from its provider: what is not in the
        store does not get there by this."""
        provider = self._providers.get(descriptor.digest)
        if provider is None or self._content.has(descriptor.digest, descriptor.size):
            provider = self._content
        return provider.open(descriptor, offset)

    def pack(self, diff: Diff, compression: Compression, level: int | None) -> PackedLayer:
        """Write the diff as a layer into the content store."""
        from minibuild.layer.pack import pack

        return pack(
            self._snapshots.changes(diff),
            self._content,
            self._store.db,
            compression=compression,
            level=level,
            cancelled=self._cancelled,
        )

    def present(self, blob: PackedLayer) -> bool:
        """Whether the blob is in the content store, or can be fetched."""
        return self._content.has(blob.digest, blob.size_bytes) or blob.digest in self._providers

    def prefetch(self, blobs: Sequence[PackedLayer]) -> None:
        """Begin to fetch blobs, the first ones first, and return at once."""
        missing = [blob for blob in blobs if not self._content.has(blob.digest, blob.size_bytes)]
        if not missing:
            return
        from minibuild.registry.fetch import Arrival

        wanted: list[Arrival] = []
        with self._adding:
            for blob in missing:
                provider = self._providers.get(blob.digest)
                if provider is not None and blob.digest not in self._arrivals:
                    arrival = Arrival(self._content, provider, blob.descriptor, self._cancelled)
                    self._arrivals[blob.digest] = arrival
                    wanted.append(arrival)
        if wanted:
            # Not a thread of the scheduler: a step may wait for one layer and not for the others.
            thread = threading.Thread(target=self._receive, args=(wanted,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def fetch(self, blob: PackedLayer) -> None:
        """Have the blob in the content store afterwards."""
        if self._content.has(blob.digest, blob.size_bytes):
            return
        if blob.digest not in self._providers:
            raise StoreError(
                f"layer {blob.digest} is not in the store, and this build does not name its image",
                hint="build with --no-cache once",
            )
        self.prefetch([blob])
        with self._loss_of(blob):
            self._arrivals[blob.digest].wait()

    @contextmanager
    def _loss_of(self, blob: PackedLayer) -> Iterator[None]:
        """Say to what waits for a blob of a cache that it is the cache that failed."""
        try:
            yield
        except (RegistryError, ImageError) as error:
            name = self._of_caches.get(blob.digest)
            if name is None:
                raise
            raise LostLayer(f"a layer of the cache {name} cannot be had: {error}") from error

    def _receive(self, arrivals: "list[Arrival]") -> None:
        """Fetch several blobs; each keeps its own error for those that wait for it."""
        from minibuild.oci.meter import metered
        from minibuild.oci.parallel import in_parallel

        where = self.location(arrivals[0].descriptor.digest)
        name = f"pulling {where.familiar}" if where else "copying layers"

        def run(arrival: "Arrival") -> None:
            with self._slots:
                arrival.run(meter)

        try:
            with metered(self._report, name) as meter:
                in_parallel(run, arrivals, PULLS)
                for arrival in arrivals:
                    if arrival.error is not None:
                        raise arrival.error
        except BaseException:
            pass  # reported above; raised again where the blob is waited for

    def unpack(self, blob: PackedLayer, active: SnapshotID) -> tuple[str, ...]:
        """Apply a blob to an active snapshot; says what this host had to leave out.

        A blob that is on its way is unpacked as it arrives.
        """
        from minibuild.layer.unpack import unpack

        arrival = None
        if not self._content.has(blob.digest, blob.size_bytes):
            self.prefetch([blob])
            arrival = self._arrivals.get(blob.digest)
            if arrival is None:
                self.fetch(blob)
        parent = self._snapshots.parent(active)
        with ExitStack() as stack:
            stack.enter_context(self._loss_of(blob))
            lower = parent and stack.enter_context(self._snapshots.tree(parent))
            fd = os.open(
                self._snapshots.layer_dir(active), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            )
            stack.callback(os.close, fd)
            done = unpack(
                arrival or self._content,
                blob.descriptor,
                blob.diff_id,
                fd,
                self._snapshots.whiteouts,
                lower,
                cancelled=self._cancelled,
            )
            if arrival is not None:
                arrival.wait()
        return done.skipped
