"""The layers of a store, here or elsewhere: diffs become blobs, and blobs trees.

Comes in: layers, each with the layout, archive or registry in which a manifest named it. Goes out:
their bytes. A blob that is not in the store is fetched when its bytes are needed, and not before.
Read next: `minibuild.registry.fetch`.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from minibuild.digest import Digest
from minibuild.errors import BuildError, ImageError, RegistryError, StoreError
from minibuild.events import Report, silent
from minibuild.graph.reference import Reference
from minibuild.layer.layer import Layer
from minibuild.oci.content import BlobSource, ContentStore
from minibuild.oci.model import Compression, Descriptor

if TYPE_CHECKING:
    from minibuild.layer.chunk_cache import StoredBlocks
    from minibuild.layer.patch import LayerPatch
    from minibuild.registry.fetch import BlobFetch
    from minibuild.snapshot.api import Diff, SnapshotID
    from minibuild.snapshot.snapshotter import Snapshotter

PULLS = 4
"""Layers fetched at once, from all images of a build together."""

_CLOSE_S = 1.0


class LostLayer(BuildError):
    """A cache of another machine names a layer that it has not got: the build can do without."""


class LayerStore(BlobSource):
    """The blobs that are in the store, on their way, or known to be elsewhere. Safe in threads."""

    def __init__(self, content: ContentStore, snapshots: "Callable[[], Snapshotter]") -> None:
        self._content = content
        self._snapshots = snapshots
        self._providers: dict[Digest, BlobSource] = {}
        self._of_caches: dict[Digest, str] = {}
        self._fetches: dict[Digest, BlobFetch] = {}
        self._adding = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._slots = threading.Semaphore(PULLS)
        self._report: Report = silent
        self._cancelled: threading.Event | None = None

    def attend(self, report: Report, cancelled: threading.Event) -> None:
        """From now on report transfers here, and stop them when `cancelled` is set."""
        self._report, self._cancelled = report, cancelled

    def close(self) -> None:
        """Stop transfers that nothing waits for any more."""
        for fetch in self._fetches.values():
            fetch.stop()
        for thread in self._threads:
            thread.join(_CLOSE_S)

    def add(self, layer: Layer, *, cache: str | None = None) -> None:
        """Remember, for this process, where a layer can be fetched from: its own source.

        One of the `cache` of another machine, called so, counts only if there is no other; and if
        it fails, the error is `LostLayer`.
        """
        with self._adding:
            if cache is None:
                self._providers[layer.digest] = layer.source
                self._of_caches.pop(layer.digest, None)
            elif layer.digest not in self._providers:
                self._providers[layer.digest] = layer.source
                self._of_caches[layer.digest] = cache

    def drop_caches(self) -> None:
        """Forget the caches of other machines as providers, and what came of them."""
        with self._adding:
            for digest in self._of_caches:
                self._providers.pop(digest, None)
                if (fetch := self._fetches.pop(digest, None)) is not None:
                    fetch.stop()
            self._of_caches.clear()

    def location(self, digest: Digest) -> Reference | None:
        """A repository that has the blob, if it came or would come from one."""
        provider = self._providers.get(digest)
        return None if provider is None else provider.location(digest)

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        """The bytes of a blob: from the store, as they arrive, or straight from elsewhere. What is
        not in the store does not get there by this."""
        source: BlobSource = self._content
        if not self._content.has(descriptor.digest, descriptor.size):
            source = self._providers.get(descriptor.digest, source)
            source = self._fetches.get(descriptor.digest, source)
        return source.open(descriptor, offset)

    def pack(self, key: int, diff: "Diff", compression: Compression, level: int | None) -> Layer:
        """Write a diff as a layer into the content store."""
        from minibuild.layer.pack import pack

        snapshots = self._snapshots()
        return pack(
            snapshots.changes(diff),
            self._content,
            owners=snapshots.owners(diff.upper),
            compression=compression,
            level=level,
            known=self._known_blocks(key),
            cancelled=self._cancelled,
        )

    def _known_blocks(self, key: int) -> "StoredBlocks | None":
        """For a copy of a context, which has a table of what it put: the like of it may have been
        packed before, and will be again with little changed."""
        if not os.path.exists(self._content.store.path("inventories", str(key))):
            return None
        from minibuild.layer.chunk_cache import StoredBlocks

        return StoredBlocks(self._content.blobs_path)

    def patch(self, key: int) -> "LayerPatch | None":
        """The patch that says what the layer of a diff is, if there is one. Raises `StoreError`."""
        path = self._patch_path(key)
        if not os.path.exists(path):
            return None
        from minibuild.layer.patch import read_patch

        return read_patch(path, self)

    def patches(self) -> "Iterator[tuple[int, LayerPatch]]":
        """All patches, by the keys of their diffs. Raises `StoreError`."""
        folder = os.path.dirname(self._patch_path(0))
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            if (patch := self.patch(int(name))) is not None:
                yield int(name), patch

    def keep_patch(self, key: int, making: str) -> None:
        """Keep a whole patch as the layer of a diff."""
        path = self._patch_path(key)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.rename(making, path)

    def drop_patch(self, key: int) -> None:
        """Forget the patch of a diff, if there is one."""
        with suppress(FileNotFoundError):
            os.unlink(self._patch_path(key))

    def pack_patch(self, patch: "LayerPatch", compression: Compression, level: int | None) -> Layer:
        """Write the layer that a patch describes into the content store."""
        return patch.pack(self._content, compression, level, self._cancelled)

    def _patch_path(self, key: int) -> str:
        return self._content.store.path("patches", str(key))

    def present(self, layer: Layer) -> bool:
        """Whether the blob is in the content store, or can be fetched."""
        return self._is_here(layer) or layer.digest in self._providers

    def _is_here(self, layer: Layer) -> bool:
        return self._content.has(layer.digest, layer.size)

    def prefetch(self, layers: Sequence[Layer]) -> None:
        """Begin to fetch layers that are not here, the first ones first, and return at once."""
        missing = [layer for layer in layers if not self._is_here(layer)]
        if not missing:
            return
        from minibuild.registry.fetch import BlobFetch

        begun: list[BlobFetch] = []
        with self._adding:
            for layer in missing:
                provider = self._providers.get(layer.digest)
                if provider is not None and layer.digest not in self._fetches:
                    fetch = BlobFetch(self._content, provider, layer.descriptor, self._cancelled)
                    self._fetches[layer.digest] = fetch
                    begun.append(fetch)
        if begun:
            # Not a thread of the scheduler: a step may wait for one layer and not for the others.
            thread = threading.Thread(target=self._receive, args=(begun,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def fetch(self, layer: Layer) -> None:
        """Have the blob in the content store afterwards. Raises `RegistryError`, `ImageError`."""
        if self._is_here(layer):
            return
        self._begin(layer)
        with self._loss_of(layer):
            self._fetches[layer.digest].wait()

    def _begin(self, layer: Layer) -> None:
        """Have a layer that is not here on its way. Raises `StoreError` if it cannot be had."""
        if layer.digest not in self._providers:
            raise StoreError(
                f"layer {layer.digest} is not in the store, and this build does not name its image",
                hint="build with --no-cache once",
            )
        self.prefetch([layer])

    @contextmanager
    def _loss_of(self, layer: Layer) -> Iterator[None]:
        """Say to what waits for a blob of a cache that it is the cache that failed."""
        try:
            yield
        except (RegistryError, ImageError) as error:
            name = self._of_caches.get(layer.digest)
            if name is None:
                raise
            raise LostLayer(f"a layer of the cache {name} cannot be had: {error}") from error

    def _receive(self, fetches: "list[BlobFetch]") -> None:
        """Fetch several blobs; each keeps its own error for those that wait for it."""
        from minibuild.oci.meter import metered
        from minibuild.oci.parallel import in_parallel

        where = self.location(fetches[0].descriptor.digest)
        name = f"pulling {where.familiar}" if where else "copying layers"

        def run(fetch: "BlobFetch") -> None:
            with self._slots:
                fetch.run(meter)

        try:
            with metered(self._report, name) as meter:
                in_parallel(run, fetches, PULLS)
                for fetch in fetches:
                    if fetch.error is not None:
                        raise fetch.error
        except BaseException:
            pass  # reported above; raised again where the blob is waited for

    def unpack(self, layer: Layer, active: "SnapshotID") -> tuple[str, ...]:
        """Apply a layer to an active snapshot; says what this host had to leave out.

        One that is on its way is unpacked as it arrives.
        """
        from minibuild.layer.unpack import unpack

        if not self._is_here(layer):
            self._begin(layer)
        snapshots = self._snapshots()
        parent = snapshots.table.parent(active)
        with ExitStack() as stack:
            stack.enter_context(self._loss_of(layer))
            lower = parent and stack.enter_context(snapshots.tree(parent))
            fd = os.open(snapshots.layer_dir(active), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            layer = layer._replace(source=self)
            whiteouts, owners = snapshots.whiteouts, snapshots.owners(active)
            skipped = unpack(layer, fd, whiteouts, lower, owners=owners, cancelled=self._cancelled)
            self.fetch(layer)
        return skipped
