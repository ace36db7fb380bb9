"""The tar in a layer blob, while both of its digests are checked.

Comes in: a blob. Goes out: chunks of the tar. Reading, decompressing and hashing
happen in a thread beside the one that makes files from it; zlib and sha256 work outside the
interpreter lock.
Read next: `unpack`.
"""

import threading
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from minibuild.digest import DiffID, Digest
from minibuild.errors import ImageError, raise_if_cancelled
from minibuild.layer.compress import (
    compression_of,
    decompressed,
    detect_compression,
    stream_errors,
    unsound,
)
from minibuild.oci.content import BlobSource, Verifier
from minibuild.oci.meter import Meter, unmetered
from minibuild.oci.model import Descriptor

_CHUNK_BYTES = 256 << 10
_CHUNKS_AHEAD = 8
_START_BYTES = 16


class _VerifiedBlob:
    """The blob as a file, whose bytes are checked and counted."""

    def __init__(self, file: BinaryIO, descriptor: Descriptor, meter: Meter) -> None:
        self._file = file
        self._descriptor = descriptor
        self._meter = meter
        self._verifier = Verifier(descriptor)
        self._start = b""

    def start(self) -> bytes:
        """The first bytes, which stay to be read."""
        self._start = self._file.read(_START_BYTES)
        return self._start

    def count_only(self) -> None:
        """Check no more than the number of bytes. None was read yet."""
        self._verifier = Verifier(self._descriptor, hashed=True)

    def read(self, size: int) -> bytes:
        data, self._start = self._start or self._file.read(size), b""
        self._verifier.update(data)
        self._meter(self._descriptor, self._verifier.size)
        return data

    def readinto(self, buffer: memoryview) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def finish(self) -> None:
        """Read what a decompressor left over, and check all of it."""
        while self.read(_CHUNK_BYTES):
            pass
        self._verifier.verify()
        self._meter(self._descriptor, self._verifier.size, done=True)


class LayerStream:
    """The tar of one blob, read once. Use as `with LayerStream(...) as stream`. Without a `diff_id`
    the digest of the tar may be any, and is not made. With `by_crc` the digest of a blob of gzip
    is not made either: its own CRC-32 and length tell whether it is damaged. Errors call it
    `what`."""

    def __init__(
        self,
        source: BlobSource,
        layer: Descriptor,
        diff_id: DiffID | None,
        cancelled: threading.Event | None = None,
        meter: Meter = unmetered,
        *,
        by_crc: bool = False,
    ) -> None:
        import queue

        self._cancelled = cancelled
        self._layer = layer
        image = source.location(layer.digest)
        self.what = f"layer {layer.digest}" + (f" of {image.familiar}" if image else "")
        self._meter = meter
        self._wanted = diff_id
        self._by_crc = by_crc
        self._file = source.open(layer)
        self._queue: Any = queue.SimpleQueue()
        self._room = threading.Semaphore(_CHUNKS_AHEAD)
        self._stop = False
        self._thread = threading.Thread(target=self._read, name="layer", daemon=True)
        self._thread.start()

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the tar. Raises `ImageError` for a damaged blob, at the latest at its
        end."""
        while True:
            item = self._queue.get()
            self._room.release()
            raise_if_cancelled(self._cancelled, "unpacking a layer")
            if isinstance(item, BaseException):
                raise item
            if not item:
                return
            yield item

    def close(self) -> None:
        """Stop reading."""
        self._stop = True
        self._room.release()
        self._thread.join()
        self._file.close()

    def __enter__(self) -> "LayerStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> None:
        try:
            self._read_all()
        except BaseException as error:
            self._queue.put(error)

    def _read_all(self) -> None:
        from hashlib import sha256

        blob = _VerifiedBlob(self._file, self._layer, self._meter)
        compression: str = compression_of(self._layer.media_type)
        sha = sha256()
        detected = detect_compression(blob.start())
        # Some writers get the media type wrong: what the bytes say wins, as everywhere.
        if compression != "uncompressed" or detected in ("gzip", "zstd"):
            compression = detected
        if self._by_crc and compression == "gzip":
            blob.count_only()
        stream = decompressed(cast(BinaryIO, blob), compression)
        errors = stream_errors(compression)
        while not self._stop:
            try:
                chunk = stream.read(_CHUNK_BYTES)
            except errors as error:
                raise unsound(self.what, f"sound {compression} data", error) from None
            if self._wanted is not None:
                sha.update(chunk)
            if not chunk:
                blob.finish()
                self._verify(DiffID(Digest("sha256:" + sha.hexdigest())))
            self._room.acquire()
            self._queue.put(chunk)
            if not chunk:
                return

    def _verify(self, found: DiffID) -> None:
        if self._wanted is not None and found != self._wanted:
            raise ImageError(
                f"layer {self._layer.digest} has the diff id {found}, and its image says "
                f"{self._wanted}",
                hint="the image is damaged or was tampered with",
            )
