"""Blobs that an earlier attempt began: who reads along gets the right bytes, and no others."""

import io
import os
import threading
from typing import BinaryIO

import pytest

from minibuild.digest import digest_bytes
from minibuild.oci.content import BlobSource, ContentStore
from minibuild.oci.model import OCI_LAYER, Descriptor
from minibuild.registry.fetch import BlobFetch, fetch_blob
from minibuild.store.layout import Store
from tests.support.waiting import PATIENCE_S

BLOB = bytes(range(256)) * 5000
DESCRIPTOR = Descriptor(OCI_LAYER, digest_bytes(BLOB), len(BLOB))
LEFT = {
    "nothing": b"",
    "a byte": BLOB[:1],
    "some": BLOB[:700_001],
    "all but a byte": BLOB[:-1],
    "all": BLOB,
    "other bytes": b"x" * 700_000,
    "zeros after a power cut": BLOB[:1000] + bytes(9000),
    "as many, but others": b"x" * len(BLOB),
    "too many": BLOB + b"x",
}


class Source(BlobSource):
    """A source of the blob."""

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        return io.BytesIO(BLOB[offset:])


@pytest.fixture
def content(store: Store) -> ContentStore:
    return ContentStore(store)


@pytest.fixture(params=LEFT)
def begun(request: pytest.FixtureRequest, content: ContentStore) -> str:
    """What is left of an earlier attempt, put where it would be; returns the folder."""
    folder = content.store.path("partial")
    os.makedirs(folder)
    with open(os.path.join(folder, DESCRIPTOR.digest[7:]), "wb") as file:
        file.write(LEFT[request.param])
    return folder


def test_it_goes_on_or_starts_over(content: ContentStore, begun: str) -> None:
    fetch_blob(content, Source(), DESCRIPTOR)
    assert content.read(DESCRIPTOR.digest) == BLOB
    assert os.listdir(begun) == []


def test_who_reads_along_never_sees_wrong_bytes(content: ContentStore, begun: str) -> None:
    fetch = BlobFetch(content, Source(), DESCRIPTOR)
    offsets = (0, 0, 12_345, len(BLOB))
    read: dict[int, bytes] = {}

    def follow(offset: int) -> None:
        with fetch.open(DESCRIPTOR, offset) as file:
            read[offset] = b"".join(iter(lambda: file.read(10_000), b""))

    readers = [threading.Thread(target=follow, args=(offset,)) for offset in offsets]
    for reader in readers:
        reader.start()
    fetch.run()
    for reader in readers:
        reader.join(PATIENCE_S)
    assert fetch.error is None
    assert read == {offset: BLOB[offset:] for offset in offsets}
