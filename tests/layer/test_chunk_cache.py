"""Blocks taken from earlier layers: the bytes are those of a store that has no earlier layers,
whatever happened to these; and a small change compresses little."""

import gzip
import itertools
import os
import random
import struct
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minibuild.digest import digest_bytes
from minibuild.layer import chunk_cache as blocks
from minibuild.layer.chunk_cache import StoredBlocks, forget_lost
from minibuild.layer.gzip_writer import Deflater, GzipWriter
from minibuild.layer.layer import Layer
from minibuild.layer.patch import PatchWriter, pack_pieces, read_patch
from minibuild.layer.pieces import PatchPiece
from minibuild.layer.tar_format import TarEntry, header, padding
from minibuild.layer.writer import LayerWriter
from minibuild.oci.content import ContentStore
from minibuild.store.layout import Store
from tests.support.descriptors import open_descriptors, opened_since

Files = list[tuple[str, int, int]]
"""Names, sizes, and what tells the data."""

WORDS = [random.Random(n).randbytes(4).hex().encode() for n in range(200)]
FILES: Files = [(f"d{n // 20:02}/f{n:03}", 20_000 + n * 531 % 9000, n) for n in range(300)]
CHANGED = [(FILES[0][0], FILES[0][1] + 700, 9999), *FILES[1:]]


@cache
def data_of(size: int, seed: int) -> bytes:
    """Something that compresses."""
    made = random.Random(seed)
    return b" ".join(made.choices(WORDS, k=size // 9 + 1))[:size]


def pack(
    content: ContentStore, files: Files, level: int | None = None, *, known: bool = True
) -> Layer:
    """A layer of these files."""
    stored = StoredBlocks(content.blobs_path) if known else None
    with LayerWriter(content, "gzip", level, stored) as writer:
        for name, size, seed in files:
            writer.write(header(TarEntry(name, "file", size=size)))
            writer.write(data_of(size, seed) + bytes(padding(size)))
        return writer.commit()


def new_store(path: Path) -> ContentStore:
    return ContentStore(Store(str(path)))


@pytest.fixture
def compressed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all blocks that are compressed, but for the last ones of layers."""
    sizes: list[int] = []
    real = Deflater.compress

    def counted(self: Deflater, data: memoryview, dictionary: bytes, *, last: bool) -> bytes:
        if not last:
            sizes.append(len(data))
        return real(self, data, dictionary, last=last)

    monkeypatch.setattr(Deflater, "compress", counted)
    return sizes


def test_a_small_change_compresses_little(store: Store, compressed: list[int]) -> None:
    content = ContentStore(store)
    pack(content, FILES)
    whole = len(compressed)
    assert whole > 5
    compressed.clear()
    made = pack(content, CHANGED)
    assert 1 <= len(compressed) <= 3
    assert digest_bytes(gzip.decompress(content.read(made.digest))) == made.diff_id
    compressed.clear()
    pack(content, CHANGED)
    assert not compressed


def test_what_is_known_depends_on_the_level(store: Store, compressed: list[int]) -> None:
    content = ContentStore(store)
    pack(content, FILES, 1)
    for level in (2, 6):
        compressed.clear()
        pack(content, FILES, level)
        assert len(compressed) > 5


def test_who_does_not_ask_leaves_nothing(store: Store, compressed: list[int]) -> None:
    content = ContentStore(store)
    one = pack(content, FILES, known=False)
    assert not os.path.exists(store.path("blocks"))
    assert pack(content, FILES) == one
    compressed.clear()
    pack(content, FILES, known=False)
    assert len(compressed) > 5


def test_small_layers_leave_nothing(store: Store) -> None:
    pack(ContentStore(store), FILES[:10])
    assert not os.path.exists(store.path("blocks"))


def test_data_that_does_not_compress_is_not_looked_up(store: Store) -> None:
    content = ContentStore(store)
    with LayerWriter(content, "gzip", None, StoredBlocks(content.blobs_path)) as writer:
        for number in range(8):
            writer.write(random.Random(number).randbytes(1 << 20))
        writer.commit()
    (name,) = os.listdir(store.path("blocks"))
    # Each thread learns it with the first block it takes.
    assert os.path.getsize(store.path("blocks", name)) < 8 * 60


sizes = st.integers(0, 60_000) | st.sampled_from([0, 512, 1 << 19, 1 << 20, (1 << 21) + 5])
new_files = st.tuples(st.text("abcdef/", min_size=1, max_size=150), sizes, st.integers(0, 99))
edits = st.lists(
    st.tuples(st.sampled_from(["insert", "delete", "edit"]), st.integers(0, 999), new_files),
    min_size=1,
    max_size=4,
)


@settings(max_examples=15, deadline=None)
@given(history=st.lists(edits, min_size=1, max_size=3))
def test_bytes_are_those_of_an_empty_store(
    tmp_path_factory: pytest.TempPathFactory,
    history: list[list[tuple[str, int, tuple[str, int, int]]]],
) -> None:
    content = new_store(tmp_path_factory.mktemp("history"))
    files = list(FILES[:120])
    pack(content, files)
    for edit in history:
        for what, place, new in edit:
            at = place % max(len(files), 1)
            files[at : at + (what != "insert")] = [] if what == "delete" else [new]
        again = pack(content, files)
        assert again == pack(new_store(tmp_path_factory.mktemp("empty")), files, known=False)
        assert digest_bytes(gzip.decompress(content.read(again.digest))) == again.diff_id


def entry(name: str, size: int, seed: int) -> bytes:
    data = data_of(size, seed)
    return header(TarEntry(name, "file", size=size)) + data + bytes(padding(size))


def patched(content: ContentStore, path: Path, old: Layer, before: Files, after: Files) -> Layer:
    """The layer of some files, as a patch of another one that was packed before."""
    places: dict[tuple[str, int, int], tuple[int, int]] = {}
    at = done = 0
    for file in before:
        size = len(entry(*file))
        places[file] = (at, at + size)
        at += size
    with PatchWriter(str(path), old) as writer:
        for file in after:
            place = places.get(file, (-1, -1))
            if place[0] >= done:
                writer.repeat(place)
                done = place[1]
            else:
                writer.write(entry(*file))
        writer.commit()
    return read_patch(str(path), content).pack(content)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all blocks of which keys are made."""
    sizes: list[int] = []
    real = GzipWriter._key

    def counted(self: GzipWriter, data: memoryview, dictionary: bytes) -> bytes:
        sizes.append(len(data))
        return real(self, data, dictionary)

    monkeypatch.setattr(GzipWriter, "_key", counted)
    return sizes


def test_keys_of_what_is_repeated_are_known(
    store: Store, tmp_path: Path, keys: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is made to see where blocks begin, if they are taken one by one."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    content = ContentStore(store)
    files = [*FILES, *((f"e/{name}", size, seed) for name, size, seed in FILES)]
    changed = [*CHANGED, *files[len(FILES) :]]
    old = pack(content, files)
    many = len(keys)
    assert many > 15
    keys.clear()
    made = patched(content, tmp_path / "p", old, files, changed)
    assert made == pack(new_store(tmp_path / "empty"), changed, known=False)
    assert 1 <= len(keys) <= 5
    Path(store.path("blocks", old.digest.partition(":")[2])).unlink()
    keys.clear()
    assert patched(content, tmp_path / "p2", old, files, changed) == made
    assert len(keys) >= many - 1, "nothing says where blocks begin"


def test_what_is_repeated_in_parts_is_one_run(
    store: Store, tmp_path: Path, keys: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the packer hears of it while the patch is written."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    content = ContentStore(store)
    old = pack(content, FILES)
    made = patched(content, tmp_path / "p", old, FILES, CHANGED)
    patch = read_patch(str(tmp_path / "p"), content)
    parts = [
        PatchPiece(new, at, min(at + 300_000, end))
        for new, start, end in patch.pieces
        for at in range(start, end, 300_000)
    ]
    for name in os.listdir(store.path("blocks")):  # Nothing is known but for the last layer.
        if name != old.digest.partition(":")[2]:
            os.unlink(store.path("blocks", name))
    keys.clear()
    with open(tmp_path / "p", "rb") as file:
        assert pack_pieces(parts, file.fileno(), old, content, "gzip", None) == made
    assert len(parts) > 20 and len(keys) <= 3


@settings(max_examples=15, deadline=None)
@given(edit=edits, level=st.sampled_from([None, None, 2]))
def test_bytes_of_a_patch_are_those_of_an_empty_store(
    tmp_path_factory: pytest.TempPathFactory,
    edit: list[tuple[str, int, tuple[str, int, int]]],
    level: int | None,
) -> None:
    top = tmp_path_factory.mktemp("patched")
    content, before = new_store(top / "store"), FILES[:150]
    old, files = pack(content, before, level), list(before)
    for what, place, new in edit:
        at = place % max(len(files), 1)
        files[at : at + (what != "insert")] = [] if what == "delete" else [new]
    with mock.patch.object(os, "cpu_count", lambda: 1):
        made = patched(content, top / "p", old, before, files)
    assert made == pack(new_store(top / "empty"), files, known=False)


def flip(path: str) -> None:
    """Change a byte in each KiB."""
    data = bytearray(Path(path).read_bytes())
    for at in range(11, len(data), 1024):
        data[at] ^= 1
    Path(path).write_bytes(data)


def zero(path: str) -> None:
    """As after a power cut: the size is there, and the data is not."""
    Path(path).write_bytes(bytes(os.path.getsize(path)))


def nonsense(path: str) -> None:
    """Records that have the keys, and places that are none, with the checksum of nothing."""
    data = Path(path).read_bytes()
    keys = [data[at : at + 44] for at in range(0, len(data), 60)]
    places = [(-1, 100), (1 << 62, 100), (0, 0), (0, (1 << 32) - 1)]
    made = [
        key + struct.pack("<qII", *place, 0)
        for key, place in zip(keys, itertools.cycle(places), strict=False)
    ]
    Path(path).write_bytes(b"".join(made) + b"half a record")


DAMAGES: dict[str, Callable[[str], None]] = {
    "flipped": flip,
    "zeroed": zero,
    "half": lambda path: os.truncate(path, os.path.getsize(path) // 2),
    "empty": lambda path: os.truncate(path, 0),
    "gone": os.unlink,
}


@pytest.mark.parametrize("damage", [*DAMAGES.values(), nonsense], ids=[*DAMAGES, "nonsense"])
@pytest.mark.parametrize("where", ["blobs/sha256", "blocks"])
def test_damage_does_not_spread(
    store: Store,
    tmp_path: Path,
    where: str,
    damage: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def modest(fd: int, count: int, at: int, real: Any = os.pread) -> bytes:
        assert count <= 2 << 20, "room for nonsense"
        return real(fd, count, at)

    monkeypatch.setattr(os, "pread", modest)
    content = ContentStore(store)
    old = pack(content, FILES)
    damage(os.path.join(store.root, where, old.digest.partition(":")[2]))
    made = pack(content, CHANGED)
    assert made == pack(new_store(tmp_path / "empty"), CHANGED)
    assert digest_bytes(gzip.decompress(content.read(made.digest))) == made.diff_id
    if where == "blocks":
        assert patched(content, tmp_path / "p", old, FILES, CHANGED) == made


def test_blocks_outlive_the_layer_they_were_taken_from(store: Store, compressed: list[int]) -> None:
    content = ContentStore(store)
    old = pack(content, FILES).digest
    pack(content, CHANGED)
    content.delete(old)
    forget_lost(content.blobs_path)
    assert old.partition(":")[2] not in os.listdir(store.path("blocks"))
    compressed.clear()
    pack(content, CHANGED)
    assert not compressed


def test_the_newest_layers_are_looked_at(
    store: Store, compressed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_MOST_LAYERS", 2)
    content = ContentStore(store)
    others = [(name, size, seed + 500) for name, size, seed in FILES]
    old = pack(content, FILES).digest
    pack(content, others)
    pack(content, CHANGED)
    content.delete(old)  # What is noted of it is still there, and older.
    compressed.clear()
    pack(content, CHANGED)
    pack(content, others)
    assert not compressed
    pack(content, FILES)
    assert 1 <= len(compressed) <= 3
    pack(content, [*FILES[:-1], ("z", 1, 1)])
    compressed.clear()
    pack(content, others)
    assert len(compressed) > 5


def test_what_is_before_a_block_counts(store: Store, tmp_path: Path) -> None:
    """Equal blocks, of which only the dictionary is another."""
    content = ContentStore(store)
    made = []
    for at in (0, (1 << 20) - 2000):
        data = bytearray(data_of(3 << 20, 1))
        data[at] ^= 1
        for where in (content, new_store(tmp_path / f"empty{at}")):
            with LayerWriter(where, "gzip", None, StoredBlocks(where.blobs_path)) as writer:
                writer.write(header(TarEntry("large", "file", size=len(data))))
                writer.write(bytes(data))
                made.append(writer.commit())
    assert made[0] == made[1] and made[2] == made[3] and made[0] != made[2]


def test_nothing_is_noted_where_that_cannot_be_written(store: Store) -> None:
    """A full disk, say: the layer is there, and its build does not fail."""
    content = ContentStore(store)
    Path(store.path("blocks")).write_text("a file in its place")
    made = pack(content, FILES)
    assert content.has(made.digest)
    assert os.listdir(store.path("ingest")) == []


def test_many_at_once(store: Store, tmp_path: Path) -> None:
    """Each reads what others are writing."""
    content = ContentStore(store)
    variants = [[(FILES[0][0], 20_000 + n * 600, n), *FILES[1:]] for n in range(4)]
    made: dict[tuple[int, int], Layer] = {}

    def work(number: int) -> None:
        for turn in range(3):
            made[number, turn] = pack(content, variants[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(variants))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = new_store(tmp_path / "alone")
    for number, files in enumerate(variants):
        expected = pack(alone, files, known=False)
        assert [made[number, turn] for turn in range(3)] == [expected] * 3


def test_descriptors_are_closed(store: Store) -> None:
    content = ContentStore(store)
    before = open_descriptors()
    pack(content, FILES)
    pack(content, CHANGED)
    writer = LayerWriter(content, "gzip", None, StoredBlocks(content.blobs_path))
    with pytest.raises(RuntimeError), writer:
        for name, size, seed in FILES:
            writer.write(header(TarEntry(name, "file", size=size)))
            writer.write(data_of(size, seed) + bytes(padding(size)))
        raise RuntimeError
    assert not opened_since(before)
    assert os.listdir(store.path("ingest")) == []
