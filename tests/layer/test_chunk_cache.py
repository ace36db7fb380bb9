"""Blocks taken from earlier layers: the bytes are those of a store that has no earlier layers,
whatever happened to these; and a small change compresses little."""

import gzip
import itertools
import os
import random
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minibuild.digest import digest_bytes
from minibuild.layer import chunk_cache as blocks
from minibuild.layer.chunk_cache import StoredBlocks, forget_lost
from minibuild.layer.gzip_writer import Deflater
from minibuild.layer.layer import Layer
from minibuild.layer.tar_format import TarEntry, header
from minibuild.layer.writer import LayerWriter
from minibuild.oci.content import ContentStore
from minibuild.store.layout import Store
from tests.layer.blocks import (
    CHANGED,
    EDITS,
    FILES,
    Edits,
    data_of,
    edited,
    entry,
    new_store,
    pack,
    patched,
)
from tests.support.descriptors import open_descriptors, opened_since


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


@settings(max_examples=15, deadline=None)
@given(history=st.lists(EDITS, min_size=1, max_size=3))
def test_bytes_are_those_of_an_empty_store(
    tmp_path_factory: pytest.TempPathFactory,
    history: list[Edits],
) -> None:
    content = new_store(tmp_path_factory.mktemp("history"))
    files = FILES[:120]
    pack(content, files)
    for edit in history:
        files = edited(files, edit)
        again = pack(content, files)
        assert again == pack(new_store(tmp_path_factory.mktemp("empty")), files, known=False)
        assert digest_bytes(gzip.decompress(content.read(again.digest))) == again.diff_id


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
            writer.write(entry(name, size, seed))
        raise RuntimeError
    assert not opened_since(before)
    assert os.listdir(store.path("ingest")) == []
