"""All sources of blobs do the same: they open at any offset, and refuse what they have not got."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minibuild.cache.layers import LayerStore
from minibuild.digest import DiffID, Digest, digest_hex
from minibuild.errors import BuildError
from minibuild.graph.reference import Reference, parse_reference
from minibuild.image.archive import open_layout
from minibuild.image.layout_folder import LayoutFolder
from minibuild.image.reader import ReadOnlyContent
from minibuild.layer.layer import Layer
from minibuild.oci.content import BlobSource, ContentStore, read_chunks
from minibuild.oci.model import (
    OCI_CONFIG,
    OCI_LAYER,
    Descriptor,
    Index,
    Manifest,
    describe,
    index_bytes,
)
from minibuild.oci.model import manifest_bytes as bytes_of
from minibuild.oci.multi import MultiSource
from minibuild.registry.fetch import BlobFetch
from minibuild.snapshot.native import NativeSnapshotter
from minibuild.store.layout import Store

DATA = bytes(range(256)) * 9
BLOB = describe(OCI_LAYER, DATA)
NOWHERE = Descriptor(OCI_LAYER, Digest("sha256:" + "0" * 64), 5)
NAME = parse_reference("registry.example.com/team/app:1")


class Located(MultiSource):
    """A source that knows where its blobs are."""

    def location(self, digest: Digest) -> Reference | None:
        return NAME


def memory() -> Located:
    made = Located()
    made.put(DATA)
    return made


def stored(path: Path) -> ContentStore:
    content = ContentStore(Store(str(path / "store")))
    content.put(DATA)
    return content


def read_only(path: Path) -> BlobSource:
    root = stored(path).store.root
    Path(root, "index.json").write_bytes(index_bytes(Index(())))
    return ReadOnlyContent(root)


def several(path: Path) -> BlobSource:
    made = MultiSource()
    made.add(BLOB.digest, memory())
    return made


def folder(path: Path) -> BlobSource:
    made, config = LayoutFolder(str(path / "layout")), b"{}"
    manifest = bytes_of(Manifest(describe(OCI_CONFIG, config), (BLOB,)))
    with made.locked():
        made.put_blob(BLOB, memory())
        made.put(config)
        made.put(manifest)
        made.give_name("1", describe("", manifest))
    return open_layout(made.path)


def oci_archive(path: Path) -> BlobSource:
    folder(path)
    with tarfile.open(path / "a.tar", "w") as tar:
        tar.add(path / "layout", "")
    return open_layout(str(path / "a.tar"))


def docker_archive(path: Path) -> BlobSource:
    """An old one: layers have names there, and no digests. And the archive is compressed."""
    item = {"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["l/layer.tar"]}
    files = {"manifest.json": json.dumps([item]).encode(), "c.json": b"{}", "l/layer.tar": DATA}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    (path / "a.tar").write_bytes(gzip.compress(archive.getvalue()))
    return open_layout(str(path / "a.tar"))


def fetched(path: Path) -> BlobSource:
    fetch = BlobFetch(ContentStore(Store(str(path / "store"))), memory(), BLOB)
    fetch.run()
    return fetch


def layer_store(path: Path) -> LayerStore:
    store = Store(str(path / "store"))
    return LayerStore(ContentStore(store), lambda: NativeSnapshotter(store))


def of_a_provider(path: Path) -> BlobSource:
    made = layer_store(path)
    made.add(Layer(DiffID(BLOB.digest), BLOB, memory()))
    return made


BACKENDS: dict[str, Callable[[Path], BlobSource]] = {
    "memory": lambda _: memory(),
    "several": several,
    "the store": stored,
    "a store that is only read": read_only,
    "a folder": folder,
    "an archive": oci_archive,
    "an archive of docker": docker_archive,
    "a fetch": fetched,
    "a provider": of_a_provider,
}


@pytest.fixture(params=BACKENDS)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> BlobSource:
    return BACKENDS[request.param](tmp_path)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offset=st.integers(0, len(DATA)), size=st.integers(1, len(DATA)))
def test_it_opens_anywhere(source: BlobSource, offset: int, size: int) -> None:
    with source.open(BLOB, offset) as file:
        assert b"".join(iter(lambda: file.read(size), b"")) == DATA[offset:]


def test_all_of_it_is_checked(source: BlobSource) -> None:
    assert b"".join(read_chunks(source, BLOB)) == DATA
    for wrong in (BLOB._replace(size=len(DATA) - 1), BLOB._replace(size=len(DATA) + 1)):
        with pytest.raises(BuildError, match="bytes"):
            b"".join(read_chunks(source, wrong))


def test_what_is_not_there(source: BlobSource) -> None:
    if isinstance(source, BlobFetch):
        pytest.skip("it is about one blob")
    with pytest.raises(BuildError, match="0000"), source.open(NOWHERE) as file:
        file.read()


def test_who_has_it_elsewhere(tmp_path: Path) -> None:
    """Only what comes from a repository is in one; documents that were made here are not."""
    assert several(tmp_path).location(BLOB.digest) == NAME
    assert of_a_provider(tmp_path).location(BLOB.digest) == NAME
    assert MultiSource().location(BLOB.digest) is None
    assert stored(tmp_path).location(BLOB.digest) is None


def test_the_first_source_that_is_named_counts() -> None:
    made, empty = MultiSource(), MultiSource()
    made.add(BLOB.digest, memory())
    made.add(BLOB.digest, empty)
    assert b"".join(read_chunks(made, BLOB)) == DATA


def test_a_layer_that_is_on_its_way_is_read_along(tmp_path: Path) -> None:
    """The store hands out what arrives, and has it afterwards."""
    layers = of_a_provider(tmp_path)
    assert isinstance(layers, LayerStore)
    layer = Layer(DiffID(BLOB.digest), BLOB, layers)
    blob = tmp_path / "store/blobs/sha256" / digest_hex(BLOB.digest)
    with layers.open(BLOB) as file:
        assert file.read() == DATA
    assert not blob.exists()  # to look at it fetches nothing
    layers.prefetch([layer])
    with layers.open(BLOB) as file:
        assert b"".join(iter(lambda: file.read(100), b"")) == DATA
    layers.fetch(layer)
    assert blob.read_bytes() == DATA
    layers.close()
