"""A layer on its way into the store: collected, hashed, compressed and written in one pass.

Comes in: headers and the data of files. Goes out: a blob with two digests: that of the tar (the
diff id) and that of what was stored. Everything passes through one buffer of a megabyte: small
files are read straight into it, so hashing and compression see few big pieces and can work
outside the interpreter lock. Read next: `pack`.
"""

import hashlib
import os
from types import TracebackType

from minibuild.digest import DiffID, Digest, Hash
from minibuild.errors import ImageError
from minibuild.oci.compress import BLOCK_BYTES, compressor
from minibuild.oci.content import BlobMaker
from minibuild.oci.model import Compression
from minibuild.oci.tarformat import END, padding

_ZEROS = memoryview(bytes(64 << 10))


class LayerSink:
    """Use as `with LayerSink(...) as sink`; without `commit` nothing is left."""

    __slots__ = ("_blob", "_buffer", "_compressor", "_sha", "_used", "_view")

    def __init__(self, content: BlobMaker, compression: Compression, level: int | None) -> None:
        self._blob = content.writer()
        try:
            self._compressor = compressor(compression, level, self._blob.write)
        except BaseException as error:
            self._blob.__exit__(type(error), error, None)
            raise
        self._sha = hashlib.sha256()
        self._renew(bytearray(BLOCK_BYTES))

    def _renew(self, buffer: bytearray) -> None:
        self._buffer = buffer
        self._view = memoryview(buffer)
        self._used = 0

    def _flush(self) -> None:
        self._sha.update(self._buffer)
        self._renew(self._compressor.feed(self._buffer))

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

    def commit(self, end: bytes = END) -> tuple[DiffID, Digest, int]:
        """End the tar and keep the blob: its diff id, its digest and its size."""
        self.write(end)
        self._sha.update(self._view[: self._used])
        self._compressor.finish(self._buffer, self._used)
        digest = self._blob.commit()
        return DiffID(Digest("sha256:" + self._sha.hexdigest())), digest, self._blob.size

    def __enter__(self) -> "LayerSink":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._compressor.close()
        self._blob.__exit__(kind, error, trace)


def changed(name: str) -> ImageError:
    """The error for a file that is not what it was when its header was written."""
    return ImageError(
        f"{name} changed while it was packed",
        hint="let nothing write to the context or the store during a build",
    )
