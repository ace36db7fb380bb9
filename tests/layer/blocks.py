"""Layers of made-up files, packed into a store that may know blocks of earlier ones."""

import random
from functools import cache
from pathlib import Path

from hypothesis import strategies as st

from minibuild.layer.chunk_cache import StoredBlocks
from minibuild.layer.layer import Layer
from minibuild.layer.patch import PatchWriter, read_patch
from minibuild.layer.tar_format import TarEntry, header, padding
from minibuild.layer.writer import LayerWriter
from minibuild.oci.content import ContentStore
from minibuild.store.layout import Store

Files = list[tuple[str, int, int]]
"""Names, sizes, and what tells the data."""

WORDS = [random.Random(n).randbytes(4).hex().encode() for n in range(200)]
FILES: Files = [(f"d{n // 20:02}/f{n:03}", 20_000 + n * 531 % 9000, n) for n in range(300)]
CHANGED = [(FILES[0][0], FILES[0][1] + 700, 9999), *FILES[1:]]

Edits = list[tuple[str, int, tuple[str, int, int]]]
"""Of a list of files: what is done, at which place, and a new file."""

_SIZES = st.integers(0, 60_000) | st.sampled_from([0, 512, 1 << 19, 1 << 20, (1 << 21) + 5])
_NEW_FILES = st.tuples(st.text("abcdef/", min_size=1, max_size=150), _SIZES, st.integers(0, 99))
EDITS = st.lists(
    st.tuples(st.sampled_from(["insert", "delete", "edit"]), st.integers(0, 999), _NEW_FILES),
    min_size=1,
    max_size=4,
)


@cache
def data_of(size: int, seed: int) -> bytes:
    """Something that compresses."""
    made = random.Random(seed)
    return b" ".join(made.choices(WORDS, k=size // 9 + 1))[:size]


def entry(name: str, size: int, seed: int) -> bytes:
    data = data_of(size, seed)
    return header(TarEntry(name, "file", size=size)) + data + bytes(padding(size))


def pack(
    content: ContentStore, files: Files, level: int | None = None, *, known: bool = True
) -> Layer:
    """A layer of these files."""
    stored = StoredBlocks(content.blobs_path) if known else None
    with LayerWriter(content, "gzip", level, stored) as writer:
        for name, size, seed in files:
            writer.write(entry(name, size, seed))
        return writer.commit()


def new_store(path: Path) -> ContentStore:
    return ContentStore(Store(str(path)))


def edited(files: Files, edit: Edits) -> Files:
    """The files after some edits."""
    files = list(files)
    for what, place, new in edit:
        at = place % max(len(files), 1)
        files[at : at + (what != "insert")] = [] if what == "delete" else [new]
    return files


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
