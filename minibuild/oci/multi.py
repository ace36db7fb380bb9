"""Blobs of several sources as one: new documents in memory, and all else where it is.

Comes in: documents, and which source has which blob. Goes out: a source for a store or a push. What
BuildKit calls a `MultiProvider`.
"""

import io
from typing import BinaryIO

from minibuild.digest import Digest, digest_bytes
from minibuild.errors import ImageError
from minibuild.graph.reference import Reference
from minibuild.oci.content import BlobSource, ContentStore
from minibuild.oci.model import Descriptor


class MultiSource(BlobSource):
    """The documents that were put into it, and blobs that others have."""

    def __init__(self) -> None:
        self._documents: dict[Digest, bytes] = {}
        self._sources: dict[Digest, BlobSource] = {}

    def put(self, data: bytes) -> Digest:
        """Have a document."""
        digest = digest_bytes(data)
        self._documents[digest] = data
        return digest

    def add(self, digest: Digest, source: BlobSource) -> None:
        """Have a blob read from `source`, unless another was named for it first."""
        self._sources.setdefault(digest, source)

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        """See `BlobSource.open`."""
        if (data := self._documents.get(descriptor.digest)) is not None:
            return io.BytesIO(data[offset:])
        source = self._sources.get(descriptor.digest)
        if source is None:
            raise ImageError(f"there is no blob {descriptor.digest}")
        return source.open(descriptor, offset)

    def location(self, digest: Digest) -> Reference | None:
        """See `BlobSource.location`."""
        source = self._sources.get(digest)
        return None if source is None else source.location(digest)

    def keep(self, content: ContentStore) -> None:
        """Have the documents in a store."""
        for data in self._documents.values():
            content.put(data)
