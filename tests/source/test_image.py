"""Images by their names: in the store, and in layouts."""

import json
import os
import threading
from pathlib import Path

import pytest

from minibuild.errors import DefinitionError, ImageError, RegistryError
from minibuild.events import silent
from minibuild.graph.op import ImageSource
from minibuild.graph.platform import Platform
from minibuild.graph.reference import parse_reference
from minibuild.image.layout_folder import LayoutFolder
from minibuild.image.store import ImageStore
from minibuild.oci.content import ContentStore
from minibuild.oci.model import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Index,
    Manifest,
    describe,
    index_bytes,
    manifest_bytes,
)
from minibuild.session.request import Pull, RegistryAccess
from minibuild.source.image import MAX_INDEX_DEPTH, ImageFinder, split_layout
from minibuild.store.layout import Store

AMD64 = Platform("linux", "amd64")
CONFIG = json.dumps(
    {
        "os": "linux",
        "architecture": "amd64",
        "config": {"Cmd": ["x"]},
        "rootfs": {"type": "layers", "diff_ids": []},
    }
).encode()


def finder(store: Store, pull: Pull = "missing") -> ImageFinder:
    content = ContentStore(store)
    images = ImageStore(content)
    return ImageFinder(
        content, images, RegistryAccess(), pull=pull, report=silent, cancelled=threading.Event()
    )


def layout(path: Path, indexes: int = 0) -> Descriptor:
    """A layout with an image without layers, `1`; `indexes` lead to it, one to the other."""
    folder, manifest = (
        LayoutFolder(str(path)),
        manifest_bytes(Manifest(describe(OCI_CONFIG, CONFIG), ())),
    )
    with folder.locked():
        folder.put(CONFIG)
        folder.put(manifest)
        top = describe(OCI_MANIFEST, manifest)
        for _ in range(indexes):
            document = index_bytes(Index((top,)))
            folder.put(document)
            top = describe(OCI_INDEX, document)
        folder.give_name("1", top)
    return top


def test_a_layout(store: Store, tmp_path: Path) -> None:
    """Its documents are kept, and it is asked once."""
    top = layout(tmp_path / "layout")
    images, name = finder(store), f"oci-layout://{tmp_path}/layout:1"
    found = images.found(name, AMD64)
    assert found.digest == found.resolved.source.digest == top.digest
    assert found.resolved.config.config["Cmd"] == ["x"]
    assert ContentStore(store).has(top.digest)
    (tmp_path / "layout/index.json").unlink()
    assert images.found(name, AMD64) is found is images.image(found.resolved.source)


def test_an_image_that_a_graph_names_by_its_digest(store: Store, tmp_path: Path) -> None:
    """It was not looked up here: it is found where the graph says that it comes from."""
    top, origin = layout(tmp_path / "layout"), f"oci-layout://{tmp_path}/layout"
    source = ImageSource("app:1", top.digest, AMD64, origin)
    assert finder(store).digest(source) == top.digest
    assert finder(store).image(source).resolved.source.digest == top.digest


@pytest.mark.parametrize("indexes", range(MAX_INDEX_DEPTH))
def test_through_indexes(store: Store, tmp_path: Path, indexes: int) -> None:
    top = layout(tmp_path / "layout", indexes)
    found = finder(store).found(f"oci-layout://{tmp_path}/layout:1", AMD64)
    assert found.digest == top.digest
    assert (found.resolved.source.digest == top.digest) == (indexes == 0)


def test_too_many_indexes(store: Store, tmp_path: Path) -> None:
    layout(tmp_path / "layout", MAX_INDEX_DEPTH)
    with pytest.raises(ImageError, match="indexes lead to each other"):
        finder(store).resolve(f"oci-layout://{tmp_path}/layout:1", AMD64)


def test_where_a_name_is_looked_for(store: Store) -> None:
    """In the store, if it is not to be pulled always; nowhere else if it is never to be."""
    content, name = ContentStore(store), parse_reference("127.0.0.1:1/app:1")
    with pytest.raises(RegistryError, match="not found in the store") as caught:
        finder(store, "never").resolve(str(name), AMD64)
    assert caught.value.hint == "--pull=never was given"
    manifest = manifest_bytes(Manifest(describe(OCI_CONFIG, CONFIG), ()))
    content.put(CONFIG)
    content.put(manifest)
    ImageStore(content).tag(name, describe(OCI_MANIFEST, manifest))
    for pull in ("never", "missing"):
        assert finder(store, pull).found(str(name), AMD64).digest == describe("", manifest).digest
    with pytest.raises(RegistryError, match="not found in the store, and "):
        finder(store, "always").resolve(str(name), AMD64)


DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("dir", ("dir", "")),
        ("dir:1", ("dir", "1")),
        ("/a/dir:name:1", ("/a/dir", "name:1")),
        (f"dir@{DIGEST}", ("dir", DIGEST)),
        (f"dir:1@{DIGEST}", ("dir", DIGEST)),
        ("dir@else", ("dir@else", "")),
    ],
)
def test_parts_of_an_address(text: str, found: tuple[str, str]) -> None:
    assert split_layout(f"oci-layout://{text}") == found


def test_a_colon_in_the_name_of_a_directory(tmp_path: Path) -> None:
    """Beside a digest nothing else is meant."""
    os.mkdir(tmp_path / "a:b")
    assert split_layout(f"oci-layout://{tmp_path}/a:b@{DIGEST}") == (f"{tmp_path}/a:b", DIGEST)


def test_no_directory() -> None:
    with pytest.raises(DefinitionError, match="no directory"):
        split_layout("oci-layout://:1")
