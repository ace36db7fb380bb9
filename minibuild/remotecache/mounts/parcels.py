"""Layers on their way to a place: packed here, or lying at another place already.

Comes in: what is packed, and the places that the build may import from. Goes out: a source of
blobs. A mount that has not changed since it was imported is a layer of the place where it came
from; it goes from there, or is mounted there by the registry, and is not packed again.
"""

import os
from collections.abc import Iterable
from typing import BinaryIO

from minibuild.digest import Digest, digest_hex
from minibuild.errors import BuildError, Cancelled
from minibuild.graph.reference import Reference
from minibuild.oci.content import BlobSource, ContentStore
from minibuild.oci.model import Descriptor
from minibuild.remotecache.mounts.artifact import read_mounts
from minibuild.remotecache.places import Place
from minibuild.store.layout import Store


class Parcels(ContentStore):
    """A store for what is packed, outside of the store's blobs and gone when the build ends, which
    can read what is at the places `others` too. These are asked when there is a use for it."""

    __slots__ = ("_others", "_places", "folder")

    def __init__(self, store: Store, others: Iterable[Place] = ()) -> None:
        super().__init__(store)
        self.folder = store.ingest_path()
        os.mkdir(self.folder, 0o700)
        self._places = iter(others)
        self._others: dict[str, BlobSource] = {}

    def path(self, digest: Digest) -> str:
        """See `ContentStore.path`."""
        return os.path.join(self.folder, digest_hex(digest))

    def offers(self, digest: Digest) -> bool:
        """Whether a layer need not be packed."""
        return self.has(digest) or self._other(digest) is not None

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        """See `BlobSource.open`."""
        other = None if self.has(descriptor.digest) else self._other(descriptor.digest)
        return super().open(descriptor, offset) if other is None else other.open(descriptor, offset)

    def location(self, digest: Digest) -> Reference | None:
        """See `BlobSource.location`."""
        other = self._other(digest)
        return None if other is None else other.location(digest)

    def _other(self, digest: Digest) -> BlobSource | None:
        while digest not in self._others:
            try:
                place = next(self._places, None)
                if place is None:
                    break
                kept = read_mounts(place)
            except Cancelled:
                raise
            except (BuildError, OSError):
                continue  # The import has complained of it, if it was asked.
            if kept is not None:
                for layer in kept.layers.values():
                    self._others.setdefault(layer.digest, kept.source)
        return self._others.get(digest)
