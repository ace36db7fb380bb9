"""Artifacts of cache mounts, and the folders that hold them."""

import io
import json
import os
import threading
from pathlib import Path
from typing import BinaryIO

import pytest

from minibuild.digest import digest_bytes, digest_hex
from minibuild.errors import HostError, ImageError
from minibuild.image.layout import DirectoryLayout
from minibuild.oci.content import BlobSource
from minibuild.oci.meter import unmetered
from minibuild.oci.model import OCI_LAYER, Descriptor, describe
from minibuild.remotecache.mounts.artifact import (
    ARTIFACT_TYPE,
    artifact_bytes,
    parse_artifact,
    read_mounts,
    write_mounts,
)
from minibuild.remotecache.places import FolderPlace


class Blobs(BlobSource):
    """Layers in memory; counts what is read of them."""

    def __init__(self, **layers: bytes) -> None:
        self.data = {digest_bytes(data): data for data in layers.values()}
        self.layers = {id: describe(OCI_LAYER, data) for id, data in layers.items()}
        self.opened: list[str] = []

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        self.opened.append(descriptor.digest)
        return io.BytesIO(self.data[descriptor.digest][offset:])

    def to(self, place: FolderPlace) -> bool:
        return write_mounts(place, self.layers, self, unmetered)


def digests(place: FolderPlace) -> dict[str, str]:
    kept = read_mounts(place)
    return {} if kept is None else {id: layer.digest for id, layer in kept.layers.items()}


def test_a_manifest_there_and_back() -> None:
    layers = Blobs(b=b"1", a=b"2").layers
    data = artifact_bytes(layers)
    assert data == artifact_bytes(dict(reversed(layers.items())))
    found = parse_artifact(data, "x")
    assert {id: layer._replace(annotations={}) for id, layer in found.items()} == layers


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.pop("artifactType"),
        lambda value: value["layers"][0].pop("annotations"),
        lambda value: value["layers"].append(value["layers"][0]),
        lambda value: value["layers"][0].update(digest="sha256:../../x"),
    ],
    ids=["no type", "no id", "an id twice", "no digest"],
)
def test_what_is_not_an_artifact_is_refused(change: object) -> None:
    value = json.loads(artifact_bytes(Blobs(a=b"1").layers))
    change(value)  # type: ignore[operator]
    with pytest.raises(ImageError):
        parse_artifact(json.dumps(value).encode(), "x")


def test_others_stay(tmp_path: Path) -> None:
    place = FolderPlace(str(tmp_path / "p"), "latest")
    assert read_mounts(place) is None
    first, second = Blobs(a=b"1", b=b"2"), Blobs(b=b"3", c=b"4")
    assert first.to(place)
    assert second.to(place)
    assert digests(place) == {
        "a": first.layers["a"].digest,
        "b": second.layers["b"].digest,
        "c": second.layers["c"].digest,
    }
    names = set(os.listdir(tmp_path / "p/blobs/sha256"))
    assert digest_hex(first.layers["b"].digest) not in names  # nothing names it any more
    assert len(names) == 3 + 2  # layers, the config and the manifest


def test_the_same_again_is_no_change(tmp_path: Path) -> None:
    place = FolderPlace(str(tmp_path / "p"), "latest")
    blobs = Blobs(a=b"1", b=b"2")
    assert blobs.to(place)
    stamp = os.stat(tmp_path / "p/index.json").st_mtime_ns
    blobs.opened.clear()
    assert not blobs.to(place)
    assert not Blobs(a=b"1").to(place)
    assert not Blobs().to(place)
    assert blobs.opened == []
    assert os.stat(tmp_path / "p/index.json").st_mtime_ns == stamp


def test_tags_share_a_folder(tmp_path: Path) -> None:
    one, two = (FolderPlace(str(tmp_path / "p"), tag) for tag in ("one", "two"))
    Blobs(a=b"same").to(one)
    Blobs(a=b"same").to(two)
    Blobs(a=b"new").to(two)
    assert digests(one)["a"] == digest_bytes(b"same")
    assert digests(two)["a"] == digest_bytes(b"new")
    assert DirectoryLayout(str(tmp_path / "p")).find("one").size > 0


def test_an_image_is_not_overwritten(tmp_path: Path) -> None:
    place = FolderPlace(str(tmp_path / "p"), "latest")
    Blobs(a=b"1").to(place)
    path = next(
        p for p in (tmp_path / "p/blobs/sha256").iterdir() if ARTIFACT_TYPE in p.read_text()
    )
    data = path.read_text().replace(ARTIFACT_TYPE, "application/x").encode()
    other = tmp_path / "p/blobs/sha256" / digest_hex(digest_bytes(data))
    other.write_bytes(data)
    index = tmp_path / "p/index.json"
    text = index.read_text().replace(path.name, other.name)
    index.write_text(text.replace(f'"size": {path.stat().st_size}', f'"size": {len(data)}'))
    with pytest.raises(ImageError, match="something else than cache mounts"):
        Blobs(a=b"2").to(place)
    assert index.read_text().count(other.name) == 1


def test_many_write_at_once(tmp_path: Path) -> None:
    """Each adds its own mount; none is lost."""
    threads = [
        threading.Thread(
            target=lambda n=n: Blobs(**{f"m{n}": b"%d" % n}).to(
                FolderPlace(str(tmp_path / "p"), "latest")
            )
        )
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(digests(FolderPlace(str(tmp_path / "p"), "latest"))) == [
        f"m{n}" for n in range(8)
    ]


def test_a_folder_that_may_not_be_written() -> None:
    """Not even by root, who may write anywhere else."""
    with pytest.raises(HostError, match="cannot write to /proc/self/p"):
        Blobs(a=b"1").to(FolderPlace("/proc/self/p", "latest"))
