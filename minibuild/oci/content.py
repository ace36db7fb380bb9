"""Blobs by their digests, in `blobs/sha256/` of the store.

Comes in: bytes, streams, blobs of other sources. Goes out: the same bytes, under their digest.
A blob is written to `ingest/`, hashed on the way, and renamed when whole, so that readers see all
of it or nothing, and two writers of one blob do no harm. Nothing waits for the disk (fsync): what
a power cut can leave is a short file, and `has` with a size does not count that as the blob.
Read next: `layer.tar_format`.
"""

import os
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol, cast

from minibuild.digest import Digest, digest_bytes, digest_hex
from minibuild.errors import FULL_DISK, MAKE_ROOM, ImageError, StoreError, lack
from minibuild.graph.reference import Reference
from minibuild.linux.contents import write_all
from minibuild.oci.document import MAX_DOCUMENT_BYTES
from minibuild.oci.model import Descriptor
from minibuild.store.layout import Store

CHUNK_BYTES = 1 << 20
_DAMAGED = "it is damaged where it comes from, or on the way here; nothing of it was kept"


class BlobSource(Protocol):
    """Where blobs can be read: the store, another OCI layout, an archive, a registry."""

    __slots__ = ()

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        """The bytes of a blob from `offset` on. They need not be right: they are checked where they
        are kept.

        Raises `ImageError` if the blob is not there.
        """

    def location(self, digest: Digest) -> Reference | None:
        """A repository that has the blob, if one is known: its registry can mount it elsewhere."""
        return None

    def hashed(self, digest: Digest) -> bool:
        """Whether this build wrote the blob there, and hashed it on the way: it is what its name
        says, without another look."""
        return False


def full_disk(error: OSError, what: str) -> StoreError:
    """The error to raise when the store could not be written."""
    if error.errno in FULL_DISK:
        return StoreError(f"no space left in the store for {what}", hint=MAKE_ROOM)
    lacking = lack(error)
    return StoreError(
        f"cannot write {what} to the store: {os.strerror(error.errno or 0)}",
        hint=lacking.hint if lacking else "",
    )


def append(fd: int, data: bytes | bytearray | memoryview) -> None:
    """Append to a blob in the making. Raises `StoreError` if the disk is full."""
    try:
        write_all(fd, data)
    except OSError as error:
        raise full_disk(error, "a blob") from error


class BlobWriter:
    """A blob in the making, at `path`, a name that is free again after `commit`; `place` says where
    it goes by its digest. Leave its `with` block without `commit`, and nothing is left."""

    __slots__ = ("_committed", "_fd", "_place", "_sha", "path", "size")

    def __init__(self, making: str, place: Callable[[Digest], str]) -> None:
        self._place = place
        self.path = making
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise full_disk(error, "a blob") from error
        import hashlib

        self._sha = hashlib.sha256()
        self._committed = False
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append `data`. Raises `StoreError` if the disk is full."""
        self._sha.update(data)
        append(self._fd, data)
        self.size += len(data)

    def digest(self) -> Digest:
        """The digest of what was written so far."""
        return Digest("sha256:" + self._sha.hexdigest())

    def commit(self) -> Digest:
        """Keep the blob under its digest."""
        digest = self.digest()
        try:
            os.rename(self.path, self._place(digest))
        except OSError as error:
            raise full_disk(error, f"blob {digest}") from error
        self._committed = True
        return digest

    def __enter__(self) -> "BlobWriter":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
        if not self._committed:
            os.unlink(self.path)


class BlobFolder(BlobSource):
    """A folder of blobs, each called by its digest. `making` is the path of a new one until it is
    whole: as much of a store as a process needs that makes one layer."""

    __slots__ = ("_making", "blobs_path")

    def __init__(self, blobs_path: str, making: str = "") -> None:
        self.blobs_path = blobs_path
        self._making = making

    def path(self, digest: Digest) -> str:
        """Where a blob is, or would be."""
        return os.path.join(self.blobs_path, digest_hex(digest))

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        """The bytes of a blob. Raises `StoreError` if it is not there."""
        try:
            file = open(self.path(descriptor.digest), "rb", buffering=0)  # noqa: SIM115
        except FileNotFoundError:
            raise _missing(descriptor.digest) from None
        file.seek(offset)
        return cast(BinaryIO, file)

    def writer(self) -> BlobWriter:
        """A new blob, to be used as `with content.writer() as blob`."""
        return BlobWriter(self._making, self.path)


class ContentStore(BlobFolder):
    """The blobs of a store. Safe to use from many threads and processes."""

    __slots__ = ("_written", "store")

    def __init__(self, store: Store) -> None:
        super().__init__(store.path("blobs", "sha256"))
        self.store = store
        self._written: set[Digest] = set()

    def writer(self) -> BlobWriter:
        return BlobWriter(self.store.ingest_path(), self._place)

    def _place(self, digest: Digest) -> str:
        self._written.add(digest)
        return self.path(digest)

    def hashed(self, digest: Digest) -> bool:
        """See `BlobSource.hashed`."""
        return digest in self._written

    def trust(self, digest: Digest) -> None:
        """Another process of this build has written the blob, and hashed it."""
        self._written.add(digest)

    def has(self, digest: Digest, size: int | None = None) -> bool:
        """Whether the blob is there, and has the size it should have."""
        try:
            found = os.stat(self.path(digest)).st_size
        except FileNotFoundError:
            return False
        return size is None or found == size

    def size(self, digest: Digest) -> int:
        """The size of a blob. Raises `StoreError` if it is not there."""
        try:
            return os.stat(self.path(digest)).st_size
        except FileNotFoundError:
            raise _missing(digest) from None

    def read(self, digest: Digest) -> bytes:
        """The bytes of a small blob, such as a manifest, checked against the digest."""
        try:
            with open(self.path(digest), "rb", buffering=0) as file:
                data = file.read()
        except FileNotFoundError:
            raise _missing(digest) from None
        if digest_bytes(data) != digest:
            raise StoreError(
                f"blob {digest} in the store is damaged",
                hint="remove the file below blobs/sha256 in the store, and build again",
            )
        return data

    def put(self, data: bytes) -> Digest:
        """Store some bytes."""
        digest = digest_bytes(data)
        if not self.has(digest, len(data)):
            with self.writer() as blob:
                blob.write(data)
                blob.commit()
        return digest

    def fetch(self, source: BlobSource, descriptor: Descriptor) -> None:
        """Copy a blob here, unless it is here; a blob that is not what it claims is not kept.

        Raises `ImageError` for a wrong size or digest; reading stops at the first byte too many.
        """
        if self.has(descriptor.digest, descriptor.size):
            return
        with source.open(descriptor) as stream, self.writer() as blob:
            while chunk := stream.read(CHUNK_BYTES):
                if blob.size + len(chunk) > descriptor.size:
                    raise _too_large(descriptor)
                blob.write(chunk)
            check(blob.digest(), blob.size, descriptor)
            blob.commit()

    def delete(self, digest: Digest) -> None:
        """Remove a blob; it is fine if it is not there."""
        try:
            os.unlink(self.path(digest))
        except FileNotFoundError:
            pass


class Verifier:
    """What is read of a blob, against what its descriptor says; bytes that were `hashed` when they
    were written are only counted."""

    __slots__ = ("_descriptor", "_sha", "size")

    def __init__(self, descriptor: Descriptor, *, hashed: bool = False) -> None:
        import hashlib

        self._descriptor = descriptor
        self._sha = None if hashed else hashlib.sha256()
        self.size = 0

    def update(self, chunk: bytes) -> None:
        """Take the next bytes. Raises `ImageError` at the first one too many."""
        if self._sha is not None:
            self._sha.update(chunk)
        self.size += len(chunk)
        if self.size > self._descriptor.size:
            raise _too_large(self._descriptor)

    def digest(self) -> Digest:
        """The digest of what was read so far."""
        if self._sha is None:
            return self._descriptor.digest
        return Digest("sha256:" + self._sha.hexdigest())

    def verify(self) -> None:
        """Raise `ImageError` unless that was the blob."""
        check(self.digest(), self.size, self._descriptor)


def read_chunks(source: BlobSource, descriptor: Descriptor) -> Iterator[bytes]:
    """The bytes of a blob of any source. Their number is checked, and their digest unless this
    build made them: raises `ImageError` at the latest at their end."""
    verifier = Verifier(descriptor, hashed=source.hashed(descriptor.digest))
    with source.open(descriptor) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            verifier.update(chunk)
            yield chunk
    verifier.verify()


def check(digest: Digest, size: int, descriptor: Descriptor) -> None:
    """Raise `ImageError` unless a blob that was read is the one described."""
    if size != descriptor.size:
        raise ImageError(
            f"blob {descriptor.digest} has {size} bytes, and its descriptor says {descriptor.size}",
            hint=_DAMAGED,
        )
    if digest != descriptor.digest:
        raise ImageError(f"blob {descriptor.digest} has the digest {digest}", hint=_DAMAGED)


def read_document(
    source: BlobSource, descriptor: Descriptor, limit: int = MAX_DOCUMENT_BYTES
) -> bytes:
    """The bytes of a small blob of any source, checked against size and digest."""
    if descriptor.size > limit:
        raise ImageError(f"document {descriptor.digest} is larger than {limit} bytes")
    with source.open(descriptor) as stream:
        parts: list[bytes] = []
        left = descriptor.size + 1
        while left > 0 and (part := stream.read(left)):
            parts.append(part)
            left -= len(part)
    data = b"".join(parts)
    check(digest_bytes(data), len(data), descriptor)
    return data


def _too_large(descriptor: Descriptor) -> ImageError:
    return ImageError(
        f"blob {descriptor.digest} is larger than the {descriptor.size} bytes "
        "that its descriptor says"
    )


def _missing(digest: Digest) -> StoreError:
    return StoreError(
        f"blob {digest} is not in the store",
        hint="it may have been removed by hand: build again with --no-cache",
    )
