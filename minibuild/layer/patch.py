"""A layer that is another one with changes: known in full, and not compressed yet.

Comes in: what a new tar has in common with that of a layer of the store, as places there, and the
bytes that are new. Goes out: a file with these bytes and the list of all pieces, in order; and from
it, when something asks for the layer, the tar. To hash and compress a tar takes as long as it is,
to note what changed as long as the change is. A build that only fills the cache needs no more.

A patch is never made of another patch: it takes over that one's pieces. So only the layer below has
to be kept. Read next: `stream`, `writer`.
"""

import json
import os
import threading
from binascii import crc32
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from struct import Struct
from typing import Self

from minibuild.digest import DiffID, Digest, Hash
from minibuild.errors import ImageError, StoreError
from minibuild.layer.chunk_cache import StoredBlocks
from minibuild.layer.layer import Layer, remember
from minibuild.layer.stream import LayerStream
from minibuild.layer.tar_format import TarSpan, padding
from minibuild.layer.writer import LayerWriter, changed
from minibuild.linux.contents import write_all
from minibuild.linux.descriptors import closing_fd
from minibuild.oci.content import BlobSource, ContentStore
from minibuild.oci.model import Compression, Descriptor
from minibuild.startup.tuples import NamedTuple

_TAIL = Struct("<QI12s")
"""The end of the file: the length of the table before it, its CRC-32, and `_MAGIC`."""

_MAGIC = b"patch 1\n"
_READ = os.O_RDONLY | os.O_CLOEXEC
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_CHUNK_BYTES = 1 << 20
_ANY_LENGTH = 1 << 62


class PatchPiece(NamedTuple):
    """Bytes of the tar: a place in the tar of the layer below or, if `new`, in the patch."""

    new: bool
    start: int
    end: int


class LayerPatch(NamedTuple):
    """A patch that is whole: the file, the layer it changes, and the pieces of the tar."""

    path: str
    layer: Layer
    pieces: tuple[PatchPiece, ...]

    @property
    def new_bytes(self) -> int:
        """How much of the tar is not in the layer below."""
        return sum(end - start for new, start, end in self.pieces if new)

    @property
    def tar_bytes(self) -> int:
        """How long the tar is, without its end."""
        return sum(end - start for _, start, end in self.pieces)

    def pack(
        self,
        content: ContentStore,
        compression: Compression = "gzip",
        level: int | None = None,
        cancelled: threading.Event | None = None,
    ) -> Layer:
        """Write the layer into the content store. Raises `ImageError` if the one below is damaged;
        then nothing is left."""
        known = StoredBlocks(content.blobs_path, self.layer.digest)
        with (
            open(self.path, "rb") as file,
            LayerWriter(content, compression, level, known, cancelled) as writer,
        ):
            with _TarPieces(self.layer, cancelled) as tar:
                for new, start, end in self.pieces:
                    if not new:
                        known.repeats(writer.position, start, end - start)
                        tar.copy((start, end), writer.write)
                        continue
                    for at in range(start, end, _CHUNK_BYTES):
                        writer.write(os.pread(file.fileno(), min(_CHUNK_BYTES, end - at), at))
                tar.finish()
            made = writer.commit()
        remember(content, made)
        return made


def read_patch(path: str, source: BlobSource) -> LayerPatch:
    """The patch in a file; `source` has the layer below. Raises `StoreError` if it is damaged."""
    try:
        with open(path, "rb") as file:
            file.seek(-_TAIL.size, os.SEEK_END)
            length, crc, magic = _TAIL.unpack(file.read())
            file.seek(-_TAIL.size - length, os.SEEK_END)
            table = file.read(length)
            if magic.rstrip(b"\0") != _MAGIC or crc32(table) != crc:
                raise ValueError("the sums do not agree")
            diff_id, digest, media_type, size_bytes, pieces = json.loads(table)
    except Exception as error:
        raise StoreError(
            f"the patch {path} is damaged", hint="build with --no-cache once"
        ) from error
    layer = Layer(DiffID(diff_id), Descriptor(media_type, Digest(digest), size_bytes), source)
    return LayerPatch(
        path, layer, tuple(PatchPiece(bool(n), start, end) for n, start, end in pieces)
    )


class _TarPieces:
    """Pieces of the tar of a layer, in order. It is read from the front, once, in a thread
    (`stream`), which decompresses it while new pieces are made: that takes a fifth of the time of
    opening and reading the files that the tar was made of.

    Use it in a `with`. All methods raise `ImageError` for a damaged layer. That what was copied is
    right is known after `finish`. The blob is only looked at by CRC-32, if it is of gzip: another
    build of this store wrote it, so it can be damaged, and damage that keeps a CRC-32 is one of
    4,000,000,000."""

    def __init__(self, layer: Layer, cancelled: threading.Event | None = None) -> None:
        self._layer = layer
        self._cancelled = cancelled
        self._stream: LayerStream | None = None
        self._chunks: Iterator[bytes] = iter(())
        self._chunk = memoryview(b"")
        self._at = 0
        """Where in the tar the chunk begins."""

    def copy(self, span: TarSpan, write: Callable[[memoryview], None]) -> None:
        """Write a piece, which does not begin before the end of the last one."""
        start, end = span
        while start < end:
            while start - self._at >= len(self._chunk):
                self._advance()
            piece = self._chunk[start - self._at : end - self._at]
            write(piece)
            start += len(piece)

    def finish(self) -> None:
        """Read what is left, and with it the checksums."""
        for _ in self._chunks:
            pass

    def _advance(self) -> None:
        if self._stream is None:  # Not before something is needed.
            source, descriptor = self._layer.source, self._layer.descriptor
            self._stream = LayerStream(source, descriptor, None, self._cancelled, by_crc=True)
            self._chunks = self._stream.chunks()
        self._at += len(self._chunk)
        self._chunk = memoryview(next(self._chunks, b""))
        if not self._chunk:
            raise ImageError(f"the tar of layer {self._layer.digest} ends early")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()


class PatchWriter:
    """Writes a patch of `last`, a layer or a patch of one, to `path`. Takes what a `LayerWriter`
    does, and pieces of the last tar. Use it in a `with`; without `commit` nothing is left."""

    def __init__(self, path: str, last: Layer | LayerPatch) -> None:
        self._path = path
        self._whole = False
        if isinstance(last, Layer):
            last = LayerPatch("", last, (PatchPiece(False, 0, _ANY_LENGTH),))
        self._last = last
        self._at = self._begin = 0
        """The piece of the last tar that is next, and where in that tar it begins."""
        self._run_start = self._run_end = 0
        """Of the last tar, what was repeated last and is not in a piece yet."""
        self._pieces: list[PatchPiece] = []
        self._buffer = bytearray()
        self._flushed = 0
        self.position = 0
        """How long the tar is so far."""

    def repeat(self, span: TarSpan) -> None:
        """Append a piece of the last tar, which does not begin before the end of the one before it.
        If the last tar is shorter, this or a later call raises `ImageError`."""
        start, end = span
        if start != self._run_end:
            self._end_run()
            self._run_start = start
        self._run_end = end
        self.position += end - start

    def _end_run(self) -> None:
        start, end = self._run_start, self._run_end
        self._run_start = end
        while start < end:
            if self._at == len(self._last.pieces):
                raise ImageError(f"the patch {self._last.path} ends early")
            new, first, last = self._last.pieces[self._at]
            at = first + start - self._begin
            if at >= last:
                self._begin += last - first
                self._at += 1
                continue
            count = min(end - start, last - at)
            if new:
                self._copy(at, count)
            else:
                self._note(new, at, count)
            start += count

    def _copy(self, at: int, count: int) -> None:
        for start in range(at, at + count, _CHUNK_BYTES):
            self._append(os.pread(self._last_fd, min(_CHUNK_BYTES, at + count - start), start))

    def _note(self, new: bool, start: int, count: int) -> None:
        if self._pieces:
            before = self._pieces[-1]
            if before.new == new and before.end == start:
                self._pieces[-1] = PatchPiece(new, before.start, start + count)
                return
        self._pieces.append(PatchPiece(new, start, start + count))

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes that are new."""
        if not data:
            return
        self._end_run()
        self._append(data)
        self.position += len(data)

    def _append(self, data: bytes | memoryview) -> None:
        self._note(True, self._flushed + len(self._buffer), len(data))
        self._buffer += data
        if len(self._buffer) >= _CHUNK_BYTES:
            self._flush()

    def write_file(
        self, fd: int, size: int, name: str, copy_fd: int = -1, sha: Hash | None = None
    ) -> None:
        """See `LayerWriter.write_file`."""
        left = size
        while left:
            data = os.read(fd, min(left, _CHUNK_BYTES))
            if not data:
                raise changed(name)
            if sha is not None:
                sha.update(data)
            if copy_fd >= 0:
                write_all(copy_fd, data)
            self.write(data)
            left -= len(data)
        self.write(bytes(padding(size)))

    def _flush(self) -> None:
        write_all(self._fd, self._buffer)
        self._flushed += len(self._buffer)
        self._buffer.clear()

    def commit(self) -> None:
        """End the patch and keep its file."""
        self._end_run()
        layer = self._last.layer
        names = (layer.diff_id, layer.digest, layer.media_type, layer.size)
        table = json.dumps((*names, self._pieces)).encode()
        self._buffer += table + _TAIL.pack(len(table), crc32(table), _MAGIC)
        self._flush()
        self._whole = True

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            if self._last.path:
                self._last_fd = opened.enter_context(closing_fd(os.open(self._last.path, _READ)))
            self._fd = opened.enter_context(closing_fd(os.open(self._path, _NEW, 0o600)))
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()
        if not self._whole:
            os.unlink(self._path)
