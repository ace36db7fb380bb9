"""A cache mount in the store: held alone, and known as a layer until something changes."""

import os
import threading
import time
from pathlib import Path

import pytest

from minibuild.errors import Cancelled
from minibuild.oci.model import OCI_LAYER_GZIP, OCI_LAYER_ZSTD, describe
from minibuild.remotecache.mounts.exporter import MountBlobs, layer_of
from minibuild.remotecache.mounts.local import LocalMount
from minibuild.session.request import CacheMountPlace
from minibuild.solver.cachemounts import use_lock
from minibuild.store.layout import Store

NEVER = threading.Event()


ASKED = CacheMountPlace("local", path="unused")


@pytest.fixture
def mount(store: Store) -> LocalMount:
    made = LocalMount(store, "/root/.cache")
    os.makedirs(made.path)
    Path(made.path, "f").write_bytes(b"data")
    return made


def test_what_the_place_has_is_not_packed_again(mount: LocalMount, store: Store) -> None:
    first, second = MountBlobs(store), MountBlobs(store)
    layer = layer_of(mount, ASKED, None, first, NEVER)
    assert os.listdir(first.blobs_path) == [layer.digest.partition(":")[2]]
    assert layer_of(mount, ASKED, layer.digest, second, NEVER) == layer
    assert os.listdir(second.blobs_path) == []
    # The place lost it: packed again, to the same bytes.
    assert layer_of(mount, ASKED, None, second, NEVER) == layer
    assert second.has(layer.digest)


def test_a_change_is_packed(mount: LocalMount, store: Store) -> None:
    blobs = MountBlobs(store)
    layer = layer_of(mount, ASKED, None, blobs, NEVER)
    Path(mount.path, "f").write_bytes(b"Data")
    assert layer_of(mount, ASKED, layer.digest, blobs, NEVER) != layer


def test_one_layer_for_each_compression_is_known(mount: LocalMount) -> None:
    now = mount.fingerprint()
    gzip, zstd = describe(OCI_LAYER_GZIP, b"1"), describe(OCI_LAYER_ZSTD, b"2")
    for layer in (gzip, zstd):
        mount.remember(now, layer)
    assert sorted(mount.known_as(now)) == sorted([gzip, zstd])
    assert mount.known_as("another") == []
    mount.remember("another", zstd)
    assert mount.known_as("another") == [zstd]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"fingerprint": "now"}', '{"fingerprint": 1}'])
def test_a_damaged_note_is_no_note(mount: LocalMount, text: str) -> None:
    Path(mount.folder, "layers.json").write_text(text)
    assert mount.known_as("now") == []


def test_alone_is_after_those_who_use_it(mount: LocalMount, store: Store) -> None:
    never = threading.Event()
    with store.lock(use_lock(mount.folder), shared=True):
        with store.lock(use_lock(mount.folder), shared=True):
            pass  # any number may use it
        began = time.monotonic()
        with mount.alone(0.1, never) as alone:
            assert not alone
        assert time.monotonic() - began >= 0.1
        stop = threading.Event()
        stop.set()
        with pytest.raises(Cancelled), mount.alone(10, stop):
            pass
    with mount.alone(0, never) as alone:
        assert alone
        with pytest.raises(Cancelled), store.lock(use_lock(mount.folder), stop, shared=True):
            pass  # who wants to use it waits
