"""A layout that is written to: names change, what nothing needs goes, what is wrong never comes."""

import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pytest

from minibuild.errors import HostError, ImageError
from minibuild.image.layout import DirectoryLayout
from minibuild.image.layout_folder import LayoutFolder
from minibuild.oci.content import BlobSource
from minibuild.oci.model import OCI_CONFIG, OCI_LAYER, Descriptor, Manifest, describe
from minibuild.oci.model import manifest_bytes as bytes_of


class Said(BlobSource):
    """A source that says these bytes, whatever it is asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
        return BytesIO(self.data[offset:])


def write(folder: LayoutFolder, tag: str, *layers: bytes, drop: bool = True) -> Descriptor:
    """Have an image of these layers under a name."""
    blobs = tuple(describe(OCI_LAYER, data) for data in layers)
    manifest = bytes_of(Manifest(describe(OCI_CONFIG, b"{}"), blobs))
    with folder.locked():
        for blob, data in zip(blobs, layers, strict=True):
            folder.put_blob(blob, Said(data))
        folder.put(b"{}")
        folder.put(manifest)
        top = describe("application/vnd.oci.image.manifest.v1+json", manifest)
        folder.give_name(tag, top, drop=drop)
    return top


def blobs(path: Path) -> int:
    return len(os.listdir(path / "blobs/sha256"))


def test_a_name_is_replaced(tmp_path: Path) -> None:
    folder = LayoutFolder(str(tmp_path))
    write(folder, "a", b"one", b"both")
    other = write(folder, "b", b"both")
    assert blobs(tmp_path) == 5  # two layers, two manifests, a config
    last = write(folder, "a", b"two")
    assert blobs(tmp_path) == 5  # one layer and a manifest went, as many came
    layout = DirectoryLayout(str(tmp_path))
    assert (layout.find("a").digest, layout.find("b").digest) == (last.digest, other.digest)


def test_what_is_replaced_may_stay(tmp_path: Path) -> None:
    folder = LayoutFolder(str(tmp_path))
    first = write(folder, "a", b"one")
    write(folder, "a", b"two", drop=False)
    assert blobs(tmp_path) == 5
    assert DirectoryLayout(str(tmp_path)).open(first).read()


def test_wrong_bytes_leave_nothing(tmp_path: Path) -> None:
    folder = LayoutFolder(str(tmp_path))
    with pytest.raises(ImageError, match="has the digest"), folder.locked():
        folder.put_blob(describe(OCI_LAYER, b"right"), Said(b"wrong"))
    assert blobs(tmp_path) == 0


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match="cannot write to"):
        write(LayoutFolder(str(tmp_path / "file")), "a", b"one")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
@pytest.mark.parametrize("name", ["oci-layout", "index.json", "blob"])
def test_what_stands_in_the_place_of_a_file(
    tmp_path: Path, name: str, make: Callable[[str], None]
) -> None:
    """A directory or a pipe is an error, and no descriptor of it stays open."""
    top = write(LayoutFolder(str(tmp_path)), "a", b"one")
    path = tmp_path / (f"blobs/sha256/{top.digest[7:]}" if name == "blob" else name)
    path.unlink()
    make(str(path))
    with pytest.raises(ImageError, match="is no file"):
        DirectoryLayout(str(tmp_path)).open(top)
    opened = [os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.exists()]
    assert str(path) not in opened
