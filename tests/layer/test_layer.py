"""A layer as a value: what makes two equal, what is read of it, and which ones a store knows."""

import gzip
import random
import re
import threading
from contextlib import ExitStack
from typing import BinaryIO

import pytest
import zstandard

from minibuild.digest import DiffID, Digest, digest_bytes
from minibuild.errors import ImageError
from minibuild.graph.reference import Reference, parse_reference
from minibuild.layer.layer import Layer, layers_of, remember
from minibuild.layer.stream import LayerStream
from minibuild.oci.content import ContentStore
from minibuild.oci.model import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, Descriptor, describe
from minibuild.oci.multi import MultiSource
from minibuild.store.layout import Store
from tests.layer.tars import entry, tar
from tests.support.threads import started_since

DATA = tar(entry("a", b"1"), entry("b", b"22"))
BLOB = describe(OCI_LAYER, DATA)
OTHER = Digest("sha256:" + "0" * 64)


def layer(data: bytes = DATA) -> Layer:
    """An uncompressed layer with this tar, in memory."""
    source = MultiSource()
    source.put(data)
    blob = describe(OCI_LAYER, data)
    return Layer(DiffID(blob.digest), blob, source)


def test_equal_by_their_names() -> None:
    """And not by where their bytes are, or what is said of them beside."""
    one = layer()
    same = one._replace(source=MultiSource(), descriptor=BLOB._replace(annotations={"a": "b"}))
    assert (one == same, one != same) == (True, False) and len({one, same}) == 1
    for other in (
        one._replace(diff_id=DiffID(OTHER)),
        one._replace(descriptor=BLOB._replace(digest=OTHER)),
        DATA,
    ):
        assert (one == other, one != other) == (False, True)
    assert (one.digest, one.size, one.media_type) == (BLOB.digest, len(DATA), OCI_LAYER)


def test_both_forms() -> None:
    with layer().uncompressed() as stream:
        assert b"".join(stream.chunks()) == DATA
    with layer().tar() as entries:
        assert [one.name for one in entries] == ["a", "b"]


def test_how_much_was_read_is_told() -> None:
    data, source = random.Random(1).randbytes(1 << 20), MultiSource()
    told: list[tuple[int, bool]] = []

    def meter(descriptor: Descriptor, current: int, *, done: bool = False, how: str = "") -> None:
        told.append((current, done))

    source.put(packed := gzip.compress(data, 0))
    blob = describe(OCI_LAYER_GZIP, packed)
    with LayerStream(source, blob, DiffID(digest_bytes(data)), meter=meter) as stream:
        assert b"".join(stream.chunks()) == data
    assert told == sorted(told) and told[-1] == (len(packed), True)
    assert len({current for current, done in told if not done}) > 3


class Saying(MultiSource):
    """Says the same, whatever it is asked for."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.blob = describe("", data)
        self.put(data)

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        return super().open(self.blob, offset)


@pytest.mark.parametrize(
    ("compressed", "by_crc", "is_met"),
    [(True, False, True), (True, True, False), (False, True, True)],
)
def test_a_blob_that_is_sound_and_another(compressed: bool, by_crc: bool, is_met: bool) -> None:
    """Its digest tells, and alone; of gzip who reads it may trust the sums in it instead."""
    one, other = (gzip.compress(data, 0) if compressed else data for data in (b"one", b"two"))
    blob = describe(OCI_LAYER_GZIP if compressed else OCI_LAYER, one)
    with LayerStream(Saying(other), blob, None, by_crc=by_crc) as stream, ExitStack() as stack:
        if is_met:
            stack.enter_context(pytest.raises(ImageError, match="has the digest"))
        assert b"".join(stream.chunks()) == b"two"


@pytest.mark.parametrize("wrong", ["size", "digest", "diff id"])
def test_what_follows_the_end_of_the_tar_is_checked(wrong: str) -> None:
    """It is part of the blob, and no entry tells of it."""
    data = DATA + bytes(1 << 20)
    found, blob = layer(data)._replace(source=Saying(data)), describe(OCI_LAYER, data)
    if wrong == "diff id":
        found = found._replace(diff_id=DiffID(OTHER))
    elif wrong == "digest":
        found = found._replace(descriptor=blob._replace(digest=OTHER))
    else:
        found = found._replace(descriptor=blob._replace(size=len(data) - 1))
    seen = []
    with pytest.raises(ImageError, match=r"diff id|larger|has the digest"), found.tar() as entries:
        for one in entries:
            seen.append(one.name)
    assert seen == ["a", "b"]


def test_what_is_gone_is_forgotten(store: Store) -> None:
    content = ContentStore(store)
    content.put(DATA)
    remember(content, layer())
    remember(content, layer())
    (known,) = layers_of(content, DiffID(BLOB.digest))
    assert known == layer() and known.source is content
    content.delete(BLOB.digest)
    assert layers_of(content, DiffID(BLOB.digest)) == []
    content.put(DATA)  # Whatever it holds now, it was not remembered.
    assert layers_of(content, DiffID(BLOB.digest)) == []


PACKED = {
    "uncompressed": lambda data: data,
    "gzip": lambda data: gzip.compress(data, 1),
    "zstd": zstandard.ZstdCompressor().compress,
}
TYPES = {"uncompressed": OCI_LAYER, "gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD}


@pytest.mark.parametrize("said", TYPES)
@pytest.mark.parametrize("compression", PACKED)
def test_the_bytes_say_how_they_are_compressed(said: str, compression: str) -> None:
    """Some writers get the media type wrong. What is large comes in many pieces."""
    data = tar(entry("large", random.Random(1).randbytes(4 << 20)))
    packed = PACKED[compression](data)
    source = MultiSource()
    source.put(packed)
    found = Layer(DiffID(digest_bytes(data)), describe(TYPES[said], packed), source)
    with found.uncompressed() as stream:
        assert b"".join(stream.chunks()) == data


class Opened(MultiSource):
    """Keeps the files that it opens."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[BinaryIO] = []

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        self.files.append(super().open(descriptor, offset))
        return self.files[-1]


def test_what_is_left_early_ends() -> None:
    """The thread that reads, which must not keep a program alive, and its file."""
    data, source = bytes(16 << 20), Opened()
    source.put(data)
    found = Layer(DiffID(digest_bytes(data)), describe(OCI_LAYER, data), source)
    before = threading.enumerate()
    with found.uncompressed() as stream:
        assert next(stream.chunks())
        (thread,) = started_since(before)
        assert thread.daemon
        (file,) = source.files
        open_before = not file.closed
    assert open_before and file.closed and not thread.is_alive()


class Elsewhere(MultiSource):
    """A repository that has the blobs."""

    def location(self, digest: Digest) -> Reference:
        return parse_reference("example.com/app:1")


@pytest.mark.parametrize("data", [bytes(511) + b"x", gzip.compress(DATA)[:-9], DATA[:600]])
def test_a_damaged_layer_says_of_which_image_it_is(data: bytes) -> None:
    source, blob = Elsewhere(), describe(OCI_LAYER, data)
    source.put(data)
    with (
        pytest.raises(ImageError) as caught,
        Layer(DiffID(blob.digest), blob, source).tar() as reader,
    ):
        list(reader)
    said = f"layer {blob.digest} of example.com/app:1 is not a? ?sound "
    assert re.match(said, caught.value.message) and "it is damaged" in caught.value.hint
