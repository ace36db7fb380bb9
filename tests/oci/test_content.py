"""Blobs: whole or not there."""

import errno
import io
import os

import pytest

from minibuild.digest import digest_bytes
from minibuild.errors import ImageError, StoreError
from minibuild.oci import content as content_module
from minibuild.oci.content import BlobSource, ContentStore, read_chunks
from minibuild.oci.model import Descriptor
from minibuild.store.layout import Store

DATA = b"some bytes" * 1000


class Source(BlobSource):
    """A blob source that answers anything with the same bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def open(self, descriptor: Descriptor, offset: int = 0) -> io.BytesIO:
        return io.BytesIO(self.data[offset:])


def described(data: bytes) -> Descriptor:
    """What an honest manifest would say."""
    return Descriptor("x", digest_bytes(data), len(data))


def left(store: Store) -> list[str]:
    """What is in the making."""
    return os.listdir(store.path("ingest"))


def test_put_and_read(store: Store) -> None:
    """Twice is as good as once."""
    content = ContentStore(store)
    digest = content.put(DATA)
    assert content.put(DATA) == digest == digest_bytes(DATA)
    assert content.read(digest) == DATA
    assert content.size(digest) == len(DATA)
    assert content.has(digest) and not left(store)
    content.delete(digest)
    content.delete(digest)
    assert not content.has(digest)
    with pytest.raises(StoreError, match="not in the store"):
        content.read(digest)


def test_chunks_are_checked_unless_this_build_made_them(store: Store) -> None:
    """What an earlier build left may be damaged; what was just written was hashed on the way."""
    digest = ContentStore(store).put(DATA)
    mine, earlier = ContentStore(store), ContentStore(store)
    own = mine.put(DATA[::-1])
    assert mine.hashed(own) and not mine.hashed(digest) and not earlier.hashed(own)
    assert b"".join(read_chunks(mine, described(DATA[::-1]))) == DATA[::-1]
    with open(earlier.path(own), "r+b") as file:
        file.write(b"X")
    with pytest.raises(ImageError, match="has the digest"):
        list(read_chunks(earlier, described(DATA[::-1])))


def test_a_short_file_is_not_the_blob(store: Store) -> None:
    """What a power cut can leave behind."""
    content = ContentStore(store)
    digest = content.put(DATA)
    with open(content.path(digest), "wb"):
        pass
    assert not content.has(digest, len(DATA))
    with pytest.raises(StoreError, match="damaged"):
        content.read(digest)
    content.put(DATA)
    assert content.read(digest) == DATA


def test_an_error_leaves_nothing(store: Store) -> None:
    """Also one that comes from whoever writes."""
    with pytest.raises(RuntimeError), ContentStore(store).writer() as blob:
        blob.write(DATA)
        raise RuntimeError
    assert not left(store) and not os.listdir(store.path("blobs/sha256"))


def test_a_full_disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typed error with advice, and nothing left."""

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError, match="no space left") as caught:
        ContentStore(store).put(DATA)
    assert "free some space" in caught.value.hint and not left(store)


def test_fetch(store: Store) -> None:
    """The blob is there afterwards; a second fetch opens nothing."""
    content = ContentStore(store)
    content.fetch(Source(DATA), described(DATA))
    assert content.read(digest_bytes(DATA)) == DATA
    content.fetch(Source(b"never read"), described(DATA))


@pytest.mark.parametrize("data", [b"", DATA[:-1], DATA + b"x", b"X" + DATA[1:]])
def test_fetch_refuses_what_is_not_described(store: Store, data: bytes) -> None:
    """Too short, too long, or other bytes."""
    with pytest.raises(ImageError):
        ContentStore(store).fetch(Source(data), described(DATA))
    assert not left(store) and not os.listdir(store.path("blobs/sha256"))


def test_read_document_stops_at_the_limit() -> None:
    """Nothing is read that claims to be large."""
    with pytest.raises(ImageError, match="larger"):
        content_module.read_document(Source(DATA), described(DATA), 10)
    with pytest.raises(ImageError, match="has"):
        content_module.read_document(Source(DATA + b"x"), described(DATA), 1 << 20)
