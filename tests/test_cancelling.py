"""Whatever may take long looks again and again whether the build was cancelled, and leaves nothing
half made.

Each case gets an event that is set after it was looked at a few times: a loop that does not look
goes on to its end, and raises nothing.
"""

import hashlib
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from minibuild.errors import Cancelled
from minibuild.exporter.local import export_local
from minibuild.exporter.tar import OutputTree, export_tar
from minibuild.fileop.api import Hooks, SourceTree
from minibuild.fileop.apply import apply
from minibuild.fileop.checksum import content_digests, tree_digests
from minibuild.fileop.copy import CopyJob, CopyTrees, copy
from minibuild.graph.op import Copy
from minibuild.layer.archive import extract
from minibuild.layer.convert import clamp_times, recompress
from minibuild.layer.layer import Layer
from minibuild.layer.pack import pack
from minibuild.layer.unpack import unpack
from minibuild.linux.contents import Copier, same_contents
from minibuild.oci.content import ContentStore
from minibuild.registry.fetch import fetch_blob
from minibuild.snapshot.api import Change, Kind
from minibuild.store.layout import Store

BIG_BYTES = 24 << 20
LOOKS = 3


class Soon(threading.Event):
    """An event that is set once it was looked at `LOOKS` times."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def is_set(self) -> bool:
        self.looks += 1
        return self.looks > LOOKS


class Place(NamedTuple):
    """A folder with a big file of data, one of the same size with holes, an archive and a layer."""

    path: Path
    data: Path
    holes: Path
    content: ContentStore
    layer: Layer


@pytest.fixture
def place(tmp_path: Path, store: Store) -> Place:
    files = tmp_path / "files"
    files.mkdir()
    data, holes = files / "data", files / "holes"
    data.write_bytes(os.urandom(1 << 20) * (BIG_BYTES >> 20))
    with open(holes, "wb") as file:
        file.truncate(BIG_BYTES)
    with tarfile.open(tmp_path / "archive.tar", "w") as tar:
        tar.add(data, "data")
    content = ContentStore(store)
    change = Change(Kind.ADD, "data", str(data))
    layer = pack([change], content, compression="uncompressed")
    return Place(tmp_path, data, holes, content, layer)


def opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY)


def made(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT)


def target(place: Place) -> int:
    folder = place.path / "target"
    folder.mkdir()
    return opened(folder)


def sources(place: Place) -> dict[int, SourceTree]:
    return {0: SourceTree(opened(place.data.parent))}


def of(name: str) -> Copy:
    return Copy(0, (name,), "/")


def copied(form: str) -> Callable[[Place, Soon], object]:
    def run(place: Place, soon: Soon) -> None:
        job = CopyJob((of("data"),), form)  # type: ignore[arg-type]
        root_fd = -1 if form == "layer" else target(place)
        copy(job, CopyTrees(root_fd, None, sources(place)), place.content, Hooks(None, soon, None))

    return run


def packed(place: Place, soon: Soon) -> None:
    change = Change(Kind.ADD, "holes", str(place.holes))
    pack([change], place.content, cancelled=soon)


def many_packed(place: Place, soon: Soon) -> None:
    small = place.path / "small"
    small.touch()
    changes = (Change(Kind.ADD, f"{number}", str(small)) for number in range(1000))
    pack(changes, place.content, cancelled=soon)


def unpacked(place: Place, soon: Soon) -> None:
    layer = place.layer
    unpack(layer, target(place), "plain", cancelled=soon)


def fetched(place: Place, soon: Soon) -> None:
    other = ContentStore(Store(str(place.path / "other")))
    try:
        fetch_blob(other, place.content, place.layer.descriptor, cancelled=soon)
    finally:
        assert os.listdir(other.blobs_path) == []


CASES: dict[str, Callable[[Place, Soon], object]] = {
    "data": lambda p, soon: Copier(soon).copy(opened(p.data), made(p.path / "x"), BIG_BYTES),
    "holes, hashed": lambda p, soon: Copier(soon).copy(
        opened(p.holes), made(p.path / "x"), BIG_BYTES, hashlib.sha256()
    ),
    "a comparison": lambda p, soon: same_contents(opened(p.data), opened(p.data), soon),
    "a copy": copied("tree"),
    "a copy as a layer": copied("layer"),
    "a copy as both": copied("both"),
    "actions": lambda p, soon: apply([of("data")], target(p), sources(p), Hooks(cancelled=soon)),
    "a key": lambda p, soon: content_digests(of("holes"), sources(p)[0], None, soon),
    "a key of a mount": lambda p, soon: tree_digests(sources(p)[0], "/", None, soon),
    "an archive": lambda p, soon: extract(
        opened(p.path / "archive.tar"), target(p), cancelled=soon
    ),
    "packing": packed,
    "packing many": many_packed,
    "unpacking": unpacked,
    "fetching": fetched,
    "compressing": lambda p, soon: recompress(p.content, p.layer, "zstd", cancelled=soon),
    "dating": lambda p, soon: clamp_times(p.content, p.layer, 1, "zstd", cancelled=soon),
    "a folder": lambda p, soon: export_local(
        OutputTree("", opened(p.data.parent)), str(p.path / "out"), cancelled=soon
    ),
    "a tar": lambda p, soon: export_tar(
        [OutputTree("", opened(p.data.parent))], str(p.path / "out.tar"), cancelled=soon
    ),
}


@pytest.fixture(autouse=True)
def little_at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The kernel copies much more at once."""
    monkeypatch.setattr("minibuild.linux.contents._CHUNK", 1 << 20)
    yield


@pytest.mark.parametrize("name", CASES)
def test_it_stops(place: Place, name: str) -> None:
    before = set(os.listdir(place.content.blobs_path))
    with pytest.raises(Cancelled):
        CASES[name](place, Soon())
    assert set(os.listdir(place.content.blobs_path)) == before
    assert os.listdir(place.content.store.path("ingest")) == []
    assert not (place.path / "out.tar").exists()
