"""A layer on its way into the store: collected, hashed, compressed and written in one pass.

Comes in: headers and the data of files. Goes out: a blob with two digests: that of the tar (the
diff id) and that of what was stored. Everything passes through buffers of a megabyte: small files
are read straight into one, so hashing and compression see few big pieces and work outside the
interpreter lock, in threads, while the next buffer is filled. Read next: `pack`.
"""

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

from minibuild.digest import DiffID, Digest, Hash
from minibuild.errors import ImageError, raise_if_cancelled
from minibuild.layer.chunk_cache import StoredBlocks
from minibuild.layer.chunker import BLOCK_BYTES
from minibuild.layer.compress import Compressor, compressor, layer_media_type
from minibuild.layer.layer import Layer
from minibuild.layer.tar_format import END, TarEntry, header, padding
from minibuild.oci.content import BlobFolder
from minibuild.oci.model import Compression, Descriptor

_ZEROS = memoryview(bytes(64 << 10))


_AHEAD = 2
"""Buffers that are with the thread. More would be more memory and no faster."""


class BufferThread:
    """Runs `work`, which takes a buffer and a length and returns a buffer to fill, in a thread.

    To make a tar takes many short calls, and hashing and writing take long ones outside of the
    interpreter lock, so the two share two processors well. The thread starts with the first buffer:
    most layers are smaller than one.
    """

    __slots__ = ("_empty", "_error", "_full", "_spare", "_thread", "_work")

    def __init__(self, work: Callable[[bytearray, int], bytearray]) -> None:
        self._work = work
        self._thread: threading.Thread | None = None
        self._full: Any = None
        self._empty: Any = None
        self._spare = _AHEAD
        self._error: BaseException | None = None

    def feed(self, buffer: bytearray, length: int) -> bytearray:
        """Hand over a buffer; returns one to fill. Raises what the work on another one raised."""
        if self._thread is None:
            self._start()
        self._full.put((buffer, length))
        if self._spare:
            self._spare -= 1
            return bytearray(len(buffer))
        empty: bytearray = self._empty.get()
        if self._error is not None:
            raise self._error
        return empty

    def finish(self) -> None:
        """Wait for all that was handed over. Raises what the work on it raised."""
        self.close()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._full.put(None)
            self._thread.join()
            self._thread = None

    def _start(self) -> None:
        import queue

        self._full, self._empty = queue.SimpleQueue(), queue.SimpleQueue()
        thread = threading.Thread(target=self._run, name="layer", daemon=True)
        thread.start()
        self._thread = thread

    def _run(self) -> None:
        while (item := self._full.get()) is not None:
            buffer, length = item
            try:
                if self._error is None:
                    buffer = self._work(buffer, length)
            except BaseException as error:
                self._error = error
            self._empty.put(buffer)


class _Hashed:
    """A compressor, and the digest of all that it is fed."""

    __slots__ = ("_compressor", "sha")

    def __init__(self, compressor: Compressor) -> None:
        from hashlib import sha256  # Many a copy makes no layer.

        self._compressor = compressor
        self.sha = sha256()

    def feed(self, buffer: bytearray, length: int) -> bytearray:
        """See `Compressor.feed`."""
        self.sha.update(memoryview(buffer)[:length])
        return self._compressor.feed(buffer, length)

    def finish(self, buffer: bytearray, length: int) -> None:
        """See `Compressor.finish`."""
        self.sha.update(memoryview(buffer)[:length])
        self._compressor.finish(buffer, length)


class LayerWriter:
    """Use as `with LayerWriter(...) as writer`; without `commit` nothing is left.

    Blocks that are `known` are not compressed again, and those of this layer are known afterwards.
    """

    def __init__(
        self,
        content: BlobFolder,
        compression: Compression = "gzip",
        level: int | None = None,
        known: StoredBlocks | None = None,
        cancelled: threading.Event | None = None,
    ) -> None:
        self._cancelled = cancelled
        self._compression = compression
        self._content = content
        self._blob = content.writer()
        self._known = known
        try:
            self._compressor = compressor(compression, level, self._blob.write, known)
        except BaseException as error:
            self._blob.__exit__(type(error), error, None)
            raise
        self._hashed = _Hashed(self._compressor)
        # Not a method of this object: in a circle compressors would outlive it, threads and all.
        self._behind = BufferThread(self._hashed.feed)
        self._buffer = bytearray(BLOCK_BYTES)
        self._view = memoryview(self._buffer)
        self._used = 0
        self._flushed = 0

    @property
    def position(self) -> int:
        """How long the tar is so far."""
        return self._flushed + self._used

    def _flush(self) -> None:
        """Hand over what is the next block of a full buffer; the rest begins the one after it."""
        raise_if_cancelled(self._cancelled, "packing a layer")
        full, length = self._view, self._compressor.cut(self._buffer)
        self._buffer = self._behind.feed(self._buffer, length)
        self._view = memoryview(self._buffer)
        self._flushed += length
        self._used = BLOCK_BYTES - length
        self._view[: self._used] = full[length:]

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        end = self._used + len(data)
        if end < BLOCK_BYTES:
            self._view[self._used : end] = data
            self._used = end
            return
        view = memoryview(data)
        while view:
            part = view[: BLOCK_BYTES - self._used]
            self._view[self._used : self._used + len(part)] = part
            self._used += len(part)
            view = view[len(part) :]
            if self._used == BLOCK_BYTES:
                self._flush()

    def write_entry(self, entry: TarEntry, data: Iterable[memoryview] = ()) -> None:
        """Append an entry, and the data of a file that comes from elsewhere, as from a tar."""
        self.write(header(entry))
        for piece in data:
            self.write(piece)
        self.write(_ZEROS[: padding(entry.size)])

    def write_file(
        self, fd: int, size: int, name: str, copy_fd: int = -1, sha: Hash | None = None
    ) -> None:
        """Append the `size` bytes of an open file, and fill the last block of the tar. What was
        read also goes to the file `copy_fd` and to `sha`, if there are such."""
        left = size
        while left:
            room = self._view[self._used : min(self._used + left, BLOCK_BYTES)]
            count = os.readv(fd, [room])
            if not count:
                raise changed(name)
            if sha is not None:
                sha.update(room[:count])
            written = 0 if copy_fd >= 0 else count
            while written < count:
                written += os.write(copy_fd, room[written:count])
            self._used += count
            left -= count
            if self._used == BLOCK_BYTES:
                self._flush()
        self.write(_ZEROS[: padding(size)])

    def commit(self, end: bytes = END) -> Layer:
        """End the tar and keep the blob. Which diff it holds is not noted yet."""
        self.write(end)
        self._behind.finish()
        self._hashed.finish(self._buffer, self._used)
        digest = self._blob.commit()
        if self._known is not None:
            self._known.keep(digest, self._blob.path)
        diff_id = DiffID(Digest("sha256:" + self._hashed.sha.hexdigest()))
        media_type = layer_media_type(self._compression)
        return Layer(diff_id, Descriptor(media_type, digest, self._blob.size), self._content)

    def __enter__(self) -> "LayerWriter":
        return self

    def __exit__(self, *raised: object) -> None:
        self._behind.close()
        self._compressor.close()
        if self._known is not None:
            self._known.close()
        self._blob.__exit__(*raised)


def changed(name: str) -> ImageError:
    """The error for a file that is not what it was when its header was written."""
    return ImageError(
        f"{name} changed while it was packed",
        hint="let nothing write to the context or the store during a build",
    )
