"""The images of a store that is only looked into, for questions that build nothing.

Comes in: the folder of a store, which may belong to another account, be on a disk that cannot be
written, or not be there. Goes out: documents of images. Nothing is made, claimed or locked; what
is learnt is kept in memory. Read next: `source.image`, which looks images up.
"""

import io
import os
from typing import BinaryIO

from minibuild.digest import Digest, digest_bytes
from minibuild.oci.content import ContentStore
from minibuild.oci.model import Descriptor
from minibuild.store.layout import Store

_NOWHERE = "/nonexistent"


class _Folder(Store):
    """The paths of a store."""

    def __init__(self, root: str) -> None:
        readable = os.access(os.path.join(root, "index.json"), os.R_OK)
        self.root = os.path.abspath(root) if readable else _NOWHERE


class ReadOnlyContent(ContentStore):
    """The blobs of such a store, and documents in memory: what is put, here alone."""

    __slots__ = ("_documents",)

    def __init__(self, root: str) -> None:
        super().__init__(_Folder(root))
        self._documents: dict[Digest, bytes] = {}

    def has(self, digest: Digest, size: int | None = None) -> bool:
        """See `ContentStore.has`."""
        known = self._documents.get(digest)
        if known is not None:
            return size is None or len(known) == size
        return os.access(self.path(digest), os.R_OK) and super().has(digest, size)

    def size(self, digest: Digest) -> int:
        """See `ContentStore.size`."""
        known = self._documents.get(digest)
        return super().size(digest) if known is None else len(known)

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        """See `ContentStore.open`."""
        known = self._documents.get(descriptor.digest)
        return super().open(descriptor, offset) if known is None else io.BytesIO(known[offset:])

    def put(self, data: bytes) -> Digest:
        """Keep a document in memory."""
        digest = digest_bytes(data)
        self._documents[digest] = data
        return digest
