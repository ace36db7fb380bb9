"""Diffs and records as the database has them: there and back, and what is gone is no result."""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from minibuild.cache import records
from minibuild.cache.records import Cache, Record
from minibuild.cache.results import DiffKey, Diffs, list_key
from minibuild.digest import DiffID, digest_bytes
from minibuild.layer.layer import Layer
from minibuild.oci.model import OCI_LAYER, OCI_LAYER_GZIP, Descriptor
from minibuild.oci.multi import MultiSource
from minibuild.snapshot.api import SnapshotID
from minibuild.store.database import Database

BLOBS = MultiSource()


def layer(name: str, media_type: str = OCI_LAYER_GZIP) -> Layer:
    digest = digest_bytes(f"{name} {media_type}".encode())
    return Layer(DiffID(digest_bytes(name.encode())), Descriptor(media_type, digest, 7), BLOBS)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    """An empty one."""
    db = Database(str(tmp_path / "meta.db"))
    yield Cache(db, Diffs(db, BLOBS))
    db.close()


@pytest.fixture
def diffs(cache: Cache) -> Diffs:
    return cache._diffs


def test_a_diff_there_and_back(diffs: Diffs) -> None:
    first = diffs.add((), layer=layer("a"), created=5.0)
    second = diffs.add((first,), lower=SnapshotID(3), upper=SnapshotID(4), created=6.0)
    assert diffs.get(first) == (first, (), None, None, layer("a"), 5.0)
    assert diffs.get(second) == (second, (first,), 3, 4, None, 6.0)
    diffs.set_upper(first, SnapshotID(8), SnapshotID(9))
    diffs.set_layer(second, layer("b"))
    assert diffs.get(first) == (first, (), 8, 9, layer("a"), 5.0)
    assert diffs.get(second) == (second, (first,), 3, 4, layer("b"), 6.0)
    with pytest.raises(KeyError):
        diffs.get(DiffKey(99))


def test_diffs_that_are_alike(diffs: Diffs) -> None:
    """On the same base, however they are compressed."""
    base = (diffs.add((), layer=layer("base")),)
    plain = diffs.add(base, layer=layer("a", OCI_LAYER))
    diffs.add(base, layer=layer("b"))
    diffs.add((), layer=layer("a"))
    zipped = diffs.add(base, layer=layer("a"))
    found = diffs.alike(base, layer("a").diff_id)
    assert [row.key for row in found] == [plain, zipped]


@pytest.mark.parametrize(
    ("result", "expected"),
    [((), True), ((1,), True), ((1, 2, 1), True), ((1, 3), False), ((3,), False)],
)
def test_a_result_is_there_if_each_of_its_diffs_is(
    cache: Cache, diffs: Diffs, result: tuple[int, ...], expected: bool
) -> None:
    for _ in range(2):
        diffs.add(())
    keys = tuple(map(DiffKey, result))
    assert diffs.all_present(keys) is expected
    key = digest_bytes(b"key")
    cache.save({key}, Record(key, keys), "RUN")
    assert cache.lookup(key) == (Record(key, keys) if expected else None)
    assert cache.lookup(digest_bytes(b"other")) is None


def test_a_name_for_a_list() -> None:
    """Hexadecimal digits, which may be the name of a file."""
    names = [list_key(map(DiffKey, keys)) for keys in ((1, 23), (12, 3), (1, 2, 3), ())]
    assert len(set(names)) == 4
    assert all(len(name) == 32 and int(name, 16) >= 0 for name in names)
    # Another one would lose what stores know.
    assert list_key((DiffKey(1), DiffKey(23))) == "b195508a746e34457910108a31f086ff"


def test_layers_of_images_are_the_same_on_the_same(cache: Cache, diffs: Diffs) -> None:
    first = cache.layer((), layer("a"), "FROM x", 5.0)
    assert cache.layer((), layer("a"), "FROM y") == first
    assert diffs.get(first) == (first, (), None, None, layer("a"), 5.0)
    on_it = cache.layer((first,), layer("a"), "FROM x")
    other = cache.layer((), layer("a", OCI_LAYER), "FROM x")
    assert len({first, on_it, other}) == 3
    assert diffs.get(on_it).base == (first,)
    again = cache.layer((first, on_it), layer("b"), "FROM x")
    assert diffs.get(again).base == (first, on_it)


@pytest.mark.parametrize("size", [0, 1, records._SMALL_BYTES, records._SMALL_BYTES + 1, 100_000])
def test_parts_there_and_back(cache: Cache, size: int) -> None:
    """Short ones and long ones, in pieces of any size."""
    key, parts = digest_bytes(b"key"), {"words": "x" * size, "é": [1]}
    assert cache.parts(key) is None
    cache.save_parts(key, "RUN", parts)
    assert cache.parts(key) == parts
    text = json.dumps(parts)
    for step in (1, 7, 1 << 20):
        pieces = [text[at : at + step] for at in range(0, len(text), step)]
        cache.save_parts_json(key, "RUN", pieces)
        assert cache.parts(key) == parts
        assert zlib.decompress(b"".join(records._deflated(pieces))).decode() == text
