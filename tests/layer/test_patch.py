"""Patches: the tar is that of the pieces, also of a patch of a patch; damage is an error."""

import hashlib
import os
import stat
import threading
from pathlib import Path

import pytest

from minibuild.errors import Cancelled, ImageError, StoreError
from minibuild.layer.layer import Layer, layers_of
from minibuild.layer.patch import LayerPatch, PatchPiece, PatchWriter, read_patch
from minibuild.layer.tar_format import END
from minibuild.layer.writer import LayerWriter
from minibuild.oci.content import ContentStore
from minibuild.store.layout import Store
from tests.support.descriptors import open_descriptors, opened_since
from tests.support.threads import started_since

OLD = bytes(range(256)) * 40
LARGE = bytes(range(251)) * 17_000
"""More than a stream reads ahead, and at no two chunks the same."""


@pytest.fixture
def content(store: Store) -> ContentStore:
    return ContentStore(store)


@pytest.fixture
def old(content: ContentStore) -> Layer:
    with LayerWriter(content) as writer:
        writer.write(OLD)
        return writer.commit()


@pytest.fixture
def large(content: ContentStore) -> Layer:
    with LayerWriter(content) as writer:
        writer.write(LARGE)
        return writer.commit()


@pytest.fixture
def plain(content: ContentStore) -> Layer:
    with LayerWriter(content, "uncompressed") as writer:
        writer.write(OLD)
        return writer.commit()


def _write(path: Path, last: Layer | LayerPatch, *pieces: bytes | tuple[int, int]) -> LayerPatch:
    with PatchWriter(str(path), last) as writer:
        for piece in pieces:
            if isinstance(piece, bytes):
                writer.write(piece)
            else:
                writer.repeat(piece)
        assert writer.position == sum(
            len(p) if isinstance(p, bytes) else p[1] - p[0] for p in pieces
        )
        writer.commit()
    layer = last if isinstance(last, Layer) else last.layer
    return read_patch(str(path), layer.source)


def _tar(patch: LayerPatch, content: ContentStore) -> bytes:
    made = patch.pack(content, "uncompressed")
    data = Path(content.path(made.digest)).read_bytes()
    assert data.endswith(END)
    assert made in layers_of(content, made.diff_id)  # So no build packs it again.
    return data.removesuffix(END)


def test_a_patch_is_its_pieces(tmp_path: Path, content: ContentStore, old: Layer) -> None:
    patch = _write(tmp_path / "p", old, b"new", (10, 300), (300, 1000), b"", b"more", b"!")
    assert [piece.new for piece in patch.pieces] == [True, False, True]
    assert (patch.new_bytes, patch.tar_bytes) == (8, 998)
    tar = _tar(patch, content)
    assert tar == b"new" + OLD[10:1000] + b"more!"


def test_only_neighbours_are_one_piece(tmp_path: Path, content: ContentStore, old: Layer) -> None:
    """Not what has a gap between, nor what is new and what is not."""
    patch = _write(tmp_path / "p", old, b"abc", (3, 5), (6, 8), (8, 9), b"d")
    assert patch.pieces == (
        *(PatchPiece(True, 0, 3), PatchPiece(False, 3, 5), PatchPiece(False, 6, 9)),
        PatchPiece(True, 3, 4),
    )
    assert _tar(patch, content) == b"abc" + OLD[3:5] + OLD[6:9] + b"d"


def test_pieces_of_a_large_layer(tmp_path: Path, content: ContentStore, large: Layer) -> None:
    """It is read in chunks, some of which nothing is taken from."""
    spans = [(5, 10), (20, 300_000), (300_010, 300_020), (900_000, len(LARGE))]
    before = open_descriptors()
    tar = _tar(_write(tmp_path / "p", large, *spans), content)
    assert tar == b"".join(LARGE[start:end] for start, end in spans)
    assert not opened_since(before)


def test_a_patch_that_is_not_packed_to_its_end(
    tmp_path: Path, content: ContentStore, large: Layer
) -> None:
    """Nothing of the layer below stays open."""
    patch = _write(tmp_path / "p", large, (0, 10), b"new")
    cancelled, before, threads = threading.Event(), open_descriptors(), threading.enumerate()
    cancelled.set()
    with pytest.raises(Cancelled):
        patch.pack(content, cancelled=cancelled)
    assert not opened_since(before) and not started_since(threads)


def test_a_patch_of_a_patch_is_one_of_the_layer(
    tmp_path: Path, content: ContentStore, old: Layer
) -> None:
    first = _write(tmp_path / "p1", old, b"new", (10, 300), b"more", (5000, 6000))
    tar = _tar(first, content)
    second = _write(tmp_path / "p2", first, (1, 100), b"x", (290, 400))
    os.unlink(tmp_path / "p1")
    assert second.layer == old
    assert second.pieces[1] == PatchPiece(False, 10, 107)
    assert _tar(second, content) == tar[1:100] + b"x" + tar[290:400]
    third = _write(tmp_path / "p3", second, (0, 1), (150, 205))  # Two pieces are left out.
    assert _tar(third, content) == tar[1:2] + tar[340:395]


def test_a_patch_of_large_pieces(tmp_path: Path, content: ContentStore, old: Layer) -> None:
    large = os.urandom(3 << 20)
    first = _write(tmp_path / "p1", old, large, (0, 9), b"x")
    assert _tar(first, content) == large + OLD[:9] + b"x"
    second = _write(tmp_path / "p2", first, (5, len(large) + 10))
    assert _tar(second, content) == large[5:] + OLD[:9] + b"x"


@pytest.mark.parametrize("size", [0, 1, 512, 513, 3 << 20])
def test_a_file_in_a_patch(tmp_path: Path, content: ContentStore, old: Layer, size: int) -> None:
    """As in a layer: its data and zeros up to the next block; a copy and a digest of the data."""
    data, sha, before = os.urandom(size), hashlib.sha256(), open_descriptors()
    (tmp_path / "file").write_bytes(data + b"what is behind it")
    with (
        PatchWriter(str(tmp_path / "p"), old) as writer,
        open(tmp_path / "file", "rb", buffering=0) as file,
        open(tmp_path / "copy", "wb", buffering=0) as copy,
    ):
        writer.write_file(file.fileno(), size, "file", copy.fileno(), sha)
        file.seek(0)
        writer.write_file(file.fileno(), size, "file")
        writer.commit()
    padded = data + bytes(-size % 512)
    assert _tar(read_patch(str(tmp_path / "p"), content), content) == padded + padded
    assert (tmp_path / "copy").read_bytes() == data
    assert sha.digest() == hashlib.sha256(data).digest()
    assert stat.S_IMODE(os.lstat(tmp_path / "p").st_mode) == 0o600
    assert not opened_since(before)


def test_a_file_in_a_patch_that_is_shorter_than_its_header_says(tmp_path: Path, old: Layer) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    with (
        pytest.raises(ImageError, match="file changed"),
        PatchWriter(str(tmp_path / "p"), old) as writer,
        open(tmp_path / "file", "rb") as file,
    ):
        writer.write_file(file.fileno(), 6, "file")
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("of", ["old", "large", "plain"])
def test_a_patch_of_a_damaged_layer(
    tmp_path: Path, content: ContentStore, of: str, request: pytest.FixtureRequest
) -> None:
    """Also if the damage is behind all that is taken from it, and where the format has no sum."""
    layer = request.getfixturevalue(of)
    patch = _write(tmp_path / "p", layer, (0, 10))
    path = Path(content.path(layer.digest))
    damaged = bytearray(path.read_bytes())
    damaged[-6] ^= 1  # in the sum at the end of gzip, or in the end of the tar
    path.chmod(0o600)
    path.write_bytes(damaged)
    with pytest.raises(ImageError):
        patch.pack(content)
    assert not os.listdir(content.store.path("ingest"))


def test_a_patch_of_one_that_is_gone(tmp_path: Path, old: Layer) -> None:
    first = _write(tmp_path / "p1", old, b"new")
    os.unlink(tmp_path / "p1")
    before = open_descriptors()
    with pytest.raises(FileNotFoundError), PatchWriter(str(tmp_path / "p2"), first):
        pass
    assert os.listdir(tmp_path) == ["store"] and not opened_since(before)


def test_a_patch_that_is_too_short_or_damaged(
    tmp_path: Path, content: ContentStore, old: Layer
) -> None:
    first = _write(tmp_path / "p1", old, b"new", (10, 300))
    with pytest.raises(ImageError, match="ends early"):
        _write(tmp_path / "p2", first, (0, 300))
    assert not (tmp_path / "p2").exists()
    past_its_end = _write(tmp_path / "p3", old, (0, len(OLD) + len(END) + 1))
    with pytest.raises(ImageError, match="ends early"):
        past_its_end.pack(content)
    whole = (tmp_path / "p1").read_bytes()
    other_piece, other_format = whole.replace(b"300]", b"301]"), whole.replace(b"h 1", b"h 2")
    assert len({whole, other_piece, other_format}) == 3
    for damaged in (b"", whole[:-1], whole[:-40] + b"?" + whole[-39:], other_piece, other_format):
        (tmp_path / "p1").write_bytes(damaged)
        with pytest.raises(StoreError, match="is damaged"):
            read_patch(str(tmp_path / "p1"), content)
    assert not os.listdir(content.store.path("ingest"))
