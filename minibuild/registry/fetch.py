"""Blobs on their way into the store, taken up where an earlier attempt ended.

Comes in: a source and a descriptor. Goes out: the blob under its digest, checked; or an error, and
then what has come so far waits in `partial/` of the store for the next attempt, in this process
or another. What turns out to be wrong is not kept. A reader of a blob need not wait for
its end: `BlobFetch.open` reads along. Read next: `minibuild.cache.layers`, which needs that.
"""

import io
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO, cast

from minibuild.digest import digest_hex
from minibuild.errors import Cancelled, ImageError, raise_if_cancelled
from minibuild.oci.content import CHUNK_BYTES, BlobSource, ContentStore, Verifier, append
from minibuild.oci.meter import Meter, unmetered
from minibuild.oci.model import Descriptor
from minibuild.oci.parallel import in_parallel
from minibuild.oci.transfer import blobs_of

FETCHES = 4
"""Blobs fetched at once, as other clients do."""

_READ_BYTES = 256 << 10
_POLL_S = 0.1


def fetch_blob(
    content: ContentStore,
    source: BlobSource,
    descriptor: Descriptor,
    *,
    meter: Meter = unmetered,
    cancelled: threading.Event | None = None,
) -> None:
    """Have a blob in the store. Raises `ImageError` if it is not what the descriptor says."""
    fetch = BlobFetch(content, source, descriptor, cancelled)
    fetch.run(meter)
    fetch.wait()


def fetch_image(
    content: ContentStore,
    source: BlobSource,
    top: Descriptor,
    *,
    meter: Meter = unmetered,
    cancelled: threading.Event | None = None,
) -> None:
    """Have an image or index, whole and checked, in the store: blobs in parallel, documents after
    them, so that no document is there without what it names."""
    parts = list(blobs_of(source, top))
    documents = [part for part in parts if part.is_document]
    blobs = [part for part in parts if not part.is_document and part != top]

    def fetch(descriptor: Descriptor) -> None:
        fetch_blob(content, source, descriptor, meter=meter, cancelled=cancelled)

    in_parallel(fetch, blobs, FETCHES)
    for document in [*(d for d in documents if d != top), top]:
        content.fetch(source, document)


class BlobFetch(BlobSource):
    """A blob that is being fetched. One thread calls `run`; any other may `open` or `wait`."""

    def __init__(
        self,
        content: ContentStore,
        source: BlobSource,
        descriptor: Descriptor,
        cancelled: threading.Event | None = None,
    ) -> None:
        self.descriptor = descriptor
        self.error: BaseException | None = None
        self._content = content
        self._source = source
        self._cancelled = cancelled
        self._received = Verifier(descriptor)
        self._path = ""
        self._size = 0
        self._done = False
        self._stopped = False
        self._news = threading.Condition()

    def run(self, meter: Meter = unmetered) -> None:
        """Fetch the blob. An error is kept for those who wait for it."""
        try:
            self._run(meter)
        except BaseException as error:
            self.error = error
        with self._news:
            self._done = True
            self._news.notify_all()

    def wait(self) -> None:
        """Wait until the blob is in the store. Raises the error that prevented it."""
        self.wait_for(self.descriptor.size + 1)
        if self.error is not None:
            raise self.error

    def wait_for(self, size: int) -> int:
        """Wait until more than `size` bytes are there, or the end; returns how many are there."""
        with self._news:
            while self._size <= size and not self._done:
                self._news.wait(_POLL_S)
                self._check_stop()
            return self._size

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        """The blob as far as it has come, and then as it comes."""
        self.wait_for(offset)
        with self._news:
            path = self._path
        if self.error is not None:
            raise self.error
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # renamed this very moment, or given up
            self.wait()
            fd = os.open(self._content.path(descriptor.digest), os.O_RDONLY | os.O_CLOEXEC)
        return cast(BinaryIO, _Follower(self, fd, offset))

    def _run(self, meter: Meter) -> None:
        content, descriptor = self._content, self.descriptor
        name = digest_hex(descriptor.digest)
        with content.store.lock(f"fetch-{name[:32]}", self._cancelled):
            if not content.has(descriptor.digest, descriptor.size):
                folder = content.store.path("partial")
                os.makedirs(folder, exist_ok=True)
                self._fill(os.path.join(folder, name), meter)
        self._told(content.path(descriptor.digest), descriptor.size)
        meter(descriptor, descriptor.size, done=True)

    def _fill(self, path: str, meter: Meter) -> None:
        """Bring the file at `path` to its end, check it and give it its place."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._resume(fd, meter)
            if self._received.digest() != self.descriptor.digest:
                # From the beginning. What an earlier attempt left may be damaged (a power cut),
                # so those who read along have seen nothing of it.
                self._received = Verifier(self.descriptor)
                os.ftruncate(fd, 0)
                self._told(path, 0)
                self._receive(fd, lambda: self._told(path, self._received.size), meter)
            try:
                self._received.verify()
            except ImageError:
                os.unlink(path)
                raise
            os.rename(path, self._content.path(self.descriptor.digest))
        except BaseException:
            if not os.fstat(fd).st_size:
                # Nothing has come that another attempt could go on from.
                with suppress(FileNotFoundError):
                    os.unlink(path)
            raise
        finally:
            os.close(fd)

    def _resume(self, fd: int, meter: Meter) -> None:
        """Go on from what an earlier attempt left in the file, if it left anything."""
        if not 0 < os.fstat(fd).st_size <= self.descriptor.size:
            return
        while chunk := os.read(fd, CHUNK_BYTES):
            self._check_stop()
            self._received.update(chunk)
        if self._received.size < self.descriptor.size:
            self._receive(fd, lambda: None, meter)

    def _receive(self, fd: int, progress: Callable[[], None], meter: Meter) -> None:
        """Append what is missing at the end of the file."""
        received = self._received
        os.lseek(fd, received.size, os.SEEK_SET)
        with self._source.open(self.descriptor, received.size) as stream:
            while chunk := stream.read(_READ_BYTES):
                self._check_stop()
                try:
                    received.update(chunk)
                except ImageError:
                    os.ftruncate(fd, 0)
                    raise
                append(fd, chunk)
                progress()
                meter(self.descriptor, received.size)

    def stop(self) -> None:
        """Fetch no more; what has come is kept for another time."""
        self._stopped = True

    def _check_stop(self) -> None:
        if self._stopped:
            raise Cancelled("the layer is not wanted any more")
        raise_if_cancelled(self._cancelled, "fetching a layer")

    def _told(self, path: str, size: int) -> None:
        with self._news:
            self._path, self._size = path, size
            self._news.notify_all()


class _Follower(io.FileIO):
    """A file that ends when the fetch does, not where the bytes end for the moment."""

    def __init__(self, fetch: BlobFetch, fd: int, offset: int) -> None:
        super().__init__(fd)
        self._fetch = fetch
        self._at = self.seek(offset)

    def read(self, size: int | None = -1, /) -> bytes:
        if self._fetch.wait_for(self._at) <= self._at and self._fetch.error is not None:
            raise self._fetch.error
        data = super().read(_READ_BYTES if size is None or size < 0 else size)
        self._at += len(data)
        return data
