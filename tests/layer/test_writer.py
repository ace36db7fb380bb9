"""The way of bytes into a layer: whatever pieces they come in, the layer is the same."""

import gzip
import hashlib
import io
import os
import random
import tarfile
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from minibuild.digest import digest_bytes
from minibuild.errors import Cancelled, ImageError
from minibuild.layer import compress
from minibuild.layer.chunker import BLOCK_BYTES
from minibuild.layer.gzip_writer import Deflater
from minibuild.layer.tar_format import END, TarEntry, header, small_file
from minibuild.layer.writer import LayerWriter
from minibuild.oci.content import ContentStore
from minibuild.oci.model import Compression
from minibuild.store.layout import Store
from tests.support.threads import started_since


def pattern(size: int) -> bytes:
    """Bytes of which none of a megabyte is where another could be."""
    return b"".join(b"%07d\n" % n for n in range(size // 8 + 1))[:size]


PREFIX = "application/vnd.oci.image.layer.v1.tar"
MEDIA_TYPES = {"uncompressed": PREFIX, "gzip": f"{PREFIX}+gzip", "zstd": f"{PREFIX}+zstd"}


def stored(store: Store, compression: Compression, *pieces: bytes) -> bytes:
    """What is in a layer of these pieces."""
    content = ContentStore(store)
    with LayerWriter(content, compression, None) as writer:
        for piece in pieces:
            writer.write(piece)
        layer = writer.commit()
    data = content.read(layer.digest)
    assert len(data) == layer.size and digest_bytes(data) == layer.digest
    assert layer.media_type == MEDIA_TYPES[compression]
    tar = gzip.decompress(data) if compression == "gzip" else data
    assert digest_bytes(tar) == layer.diff_id
    return tar


@pytest.mark.parametrize("compression", ["gzip", "uncompressed"])
@pytest.mark.parametrize(
    "cuts",
    [
        [],
        [1],
        [BLOCK_BYTES - 1],
        [BLOCK_BYTES],
        [BLOCK_BYTES + 1],
        [512, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES + 512],
        list(range(0, 3 * BLOCK_BYTES, 300_000)),
    ],
    ids=str,
)
def test_pieces_of_all_lengths(store: Store, compression: Compression, cuts: list[int]) -> None:
    data = pattern(3 * BLOCK_BYTES + 700)
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert stored(store, compression, *pieces) == data + END


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, BLOCK_BYTES, BLOCK_BYTES + 1, 5_000_001])
@pytest.mark.parametrize("before", [0, 512, BLOCK_BYTES - 512])
def test_files(store: Store, tmp_path: Path, size: int, before: int) -> None:
    """Their data, zeros up to the next block, and a copy and a digest of the data alone."""
    data, content = pattern(size), ContentStore(store)
    (tmp_path / "file").write_bytes(data + b"what is behind it")
    sha = hashlib.sha256()
    with (
        LayerWriter(content, "uncompressed", None) as writer,
        open(tmp_path / "file", "rb", buffering=0) as file,
        open(tmp_path / "copy", "wb", buffering=0) as copy,
    ):
        writer.write(bytes(before))
        writer.write_file(file.fileno(), size, "file", copy.fileno(), sha)
        file.seek(0)
        writer.write_file(file.fileno(), size, "file")
        assert writer.position == before + 2 * (size + -size % 512)
        layer = writer.commit()
    padded = data + bytes(-size % 512)
    assert content.read(layer.digest) == bytes(before) + padded + padded + END
    assert (tmp_path / "copy").read_bytes() == data
    assert sha.digest() == hashlib.sha256(data).digest()


def test_a_copy_that_is_written_in_small_pieces(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """write(2) may take less than it is given."""
    data = pattern(10_000)
    (tmp_path / "file").write_bytes(data)
    real = os.write
    with (
        LayerWriter(ContentStore(store), "uncompressed", None) as writer,
        open(tmp_path / "file", "rb", buffering=0) as file,
        open(tmp_path / "copy", "wb", buffering=0) as copy,
        monkeypatch.context() as patch,
    ):
        patch.setattr(os, "write", lambda fd, piece: real(fd, piece[:3001]))
        writer.write_file(file.fileno(), len(data), "file", copy.fileno())
    assert (tmp_path / "copy").read_bytes() == data


def test_a_file_that_is_shorter_than_its_header_says(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    with (
        pytest.raises(ImageError, match=r"^some/file changed while it was packed$"),
        LayerWriter(ContentStore(store), "gzip", None) as writer,
        open(tmp_path / "file", "rb") as file,
    ):
        writer.write_file(file.fileno(), 6, "some/file")
    assert not os.listdir(store.path("ingest")) and not os.listdir(store.path("blobs/sha256"))


def test_a_cancelled_build_packs_no_more(store: Store) -> None:
    cancelled = threading.Event()
    with (
        pytest.raises(Cancelled),
        LayerWriter(ContentStore(store), "gzip", None, None, cancelled) as writer,
    ):
        writer.write(bytes(BLOCK_BYTES))
        cancelled.set()
        writer.write(bytes(BLOCK_BYTES))
    assert not os.listdir(store.path("blobs/sha256"))


@pytest.mark.parametrize("compression", ["gzip", "uncompressed"])
def test_an_error_amid_a_layer_leaves_nothing(store: Store, compression: Compression) -> None:
    threads = threading.enumerate()
    with pytest.raises(OSError), LayerWriter(ContentStore(store), compression) as writer:
        writer.write(bytes(3 * BLOCK_BYTES))
        raise OSError
    assert not started_since(threads) and not os.listdir(store.path("ingest"))


class Slow:
    """In place of zlib: it makes of data the same data, takes its time for that, and sees whether
    they change meanwhile. `read` are dictionaries and data."""

    DEFLATED = Z_FINISH = Z_SYNC_FLUSH = 0
    crc32 = staticmethod(zlib.crc32)

    def __init__(self, read: list[tuple[bytes, bytes]], dictionary: bytes = b"") -> None:
        self._read = read
        self._dictionary = dictionary

    def compressobj(self, *settings: Any) -> "Slow":
        return Slow(self._read, *settings[5:])

    def compress(self, data: memoryview) -> bytes:
        before = bytes(data)
        time.sleep(random.random() / 100)
        assert data == before, "written while it is read"
        self._read.append((self._dictionary, before))
        return before

    def flush(self, how: int) -> bytes:
        return b""


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_no_buffer_is_written_while_it_is_read(
    store: Store, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """Whichever thread is slow, at whichever block; and each block has the end of the one before as
    its dictionary."""
    read: list[tuple[bytes, bytes]] = []
    monkeypatch.setattr(os, "cpu_count", lambda: threads)
    monkeypatch.setattr(compress, "deflater", lambda level: Deflater(level, Slow(read), "slow"))
    content, made = ContentStore(store), random.Random(threads)
    with LayerWriter(content, "gzip", None) as writer:
        for number in range(60):
            size = made.randrange(400_000)
            data = made.randbytes(size)
            writer.write_entry(TarEntry(f"f{number}", "file", size=size), [memoryview(data)])
        layer = writer.commit()
    tar = content.read(layer.digest)[10:-8]  # Without what is around it in a member of gzip.
    assert digest_bytes(tar) == layer.diff_id and len(read) > 12
    blocks = sorted((tar.index(data), dictionary, len(data)) for dictionary, data in read)
    last = 0
    for at, dictionary, size in blocks:
        assert dictionary == tar[at - min(last, 32 << 10) : at]
        last = size


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513])
def test_an_entry_with_data_from_elsewhere(store: Store, size: int) -> None:
    """Python reads the same from the layer as from the file of a few bytes that is written at once,
    and the threads of a layer are gone with its writer."""
    data, content, threads = pattern(size), ContentStore(store), threading.enumerate()
    entry = TarEntry("f", "file", 0o640, size=size)
    with LayerWriter(content, "uncompressed", None) as writer:
        writer.write_entry(entry, [memoryview(data)[:100], memoryview(data)[100:]])
        writer.write_entry(TarEntry("d", "dir", 0o755))
        layer = writer.commit()
    assert not started_since(threads)
    written = content.read(layer.digest)
    assert written == small_file(entry, data) + header(TarEntry("d", "dir", 0o755)) + END
    with tarfile.open(fileobj=io.BytesIO(written)) as archive:
        assert archive.getnames() == ["f", "d"]
        file = archive.extractfile("f")
        assert file is not None and file.read() == data
