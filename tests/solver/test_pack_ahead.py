"""A patch that is packed while it is written: the same layer, or nothing."""

import os
import random
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from minibuild.errors import Cancelled, ImageError
from minibuild.layer.layer import Layer, layers_of
from minibuild.layer.patch import PatchWriter, read_patch
from minibuild.layer.writer import LayerWriter
from minibuild.oci.content import ContentStore
from minibuild.solver.copiers import Copiers
from minibuild.solver.copy_server import CopyServer
from minibuild.solver.layers import Packing
from minibuild.solver.pack_ahead import PackingAhead
from minibuild.store.layout import Store
from tests.support.descriptors import open_descriptors, opened_since

OLD = random.Random(1).randbytes(9 << 20)
END = len(OLD)
PACKING = Packing("gzip")


@pytest.fixture
def content(store: Store) -> ContentStore:
    return ContentStore(store)


@pytest.fixture
def old(content: ContentStore) -> Layer:
    with LayerWriter(content) as writer:
        writer.write(OLD)
        return writer.commit()


@pytest.fixture
def copiers() -> Iterator[Copiers]:
    """With one server; it has nothing to do afterwards, unless it was killed."""
    made = Copiers()
    made._servers = [CopyServer.start()]
    made._idle = list(made._servers)
    yield made
    assert all(server in made._idle for server in made._servers if server.alive)
    made.close()


def _ahead(copiers: Copiers, old: Layer, content: ContentStore) -> PackingAhead:
    ahead = copiers.pack_ahead(old, PACKING, content)
    assert isinstance(ahead, PackingAhead)
    with copiers.pack_ahead(old, PACKING, content) as another:
        assert another is None, "there is one server"
    return ahead


def _left(content: ContentStore, *layers: Layer | None) -> None:
    """Nothing is left but these layers."""
    names = {layer.digest.partition(":")[2] for layer in layers if layer}
    assert set(os.listdir(content.blobs_path)) == names
    assert os.listdir(content.store.path("ingest")) == []


def _write(path: Path, old: Layer, ahead: PackingAhead) -> None:
    """Write a patch, of which the server can have most before it is whole."""
    with ahead, PatchWriter(str(path), old, ahead) as writer:
        writer.write(b"new" * 1000)
        for at in range(10, END - 600, 512):
            writer.repeat((at, at + 512))
        writer.write(os.urandom(3 << 20))
        writer.repeat((END - 500, END))
        writer.commit()
        path.rename(f"{path}-kept")


def test_it_is_the_layer_of_the_patch(
    tmp_path: Path, copiers: Copiers, content: ContentStore, old: Layer
) -> None:
    """One after the other, and not hashed again."""
    before = open_descriptors()
    for name in ("p1", "p2"):
        ahead = _ahead(copiers, old, content)
        _write(tmp_path / name, old, ahead)
        layer = ahead.layer()
        assert layer is not None and layer.source is content and content.hashed(layer.digest)
        assert layers_of(content, layer.diff_id) == [layer]
        assert layer == read_patch(f"{tmp_path}/{name}-kept", content).pack(content)
        assert not opened_since(before)


def test_a_patch_that_is_given_up(
    tmp_path: Path, copiers: Copiers, content: ContentStore, old: Layer
) -> None:
    ahead, before = _ahead(copiers, old, content), open_descriptors()
    with (
        pytest.raises(ImageError, match="changed"),
        ahead,
        PatchWriter(str(tmp_path / "p"), old, ahead) as writer,
    ):
        writer.repeat((0, 3 << 20))
        writer.repeat((3 << 20, 5 << 20))
        raise ImageError("a file changed")
    assert ahead.layer() is None and not opened_since(before)
    _left(content, old)
    assert copiers._idle, "the server has time again"


def test_one_that_was_not_begun(copiers: Copiers, content: ContentStore, old: Layer) -> None:
    with _ahead(copiers, old, content):
        pass
    _left(content, old)
    assert copiers._idle


def _damage(content: ContentStore, old: Layer, copiers: Copiers) -> None:
    path = Path(content.path(old.digest))
    data = bytearray(path.read_bytes())
    data[-6] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def _kill(content: ContentStore, old: Layer, copiers: Copiers) -> None:
    os.kill(copiers._servers[0]._pid, signal.SIGKILL)


def _no_room(content: ContentStore, old: Layer, copiers: Copiers) -> None:
    resource.prlimit(copiers._servers[0]._pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))


@pytest.mark.parametrize("what", [_damage, _kill, _no_room])
@pytest.mark.parametrize("begun", [False, True])
def test_what_goes_wrong_there_is_left_to_who_packs_it_then(
    tmp_path: Path, copiers: Copiers, content: ContentStore, old: Layer, what: object, begun: bool
) -> None:
    ahead = _ahead(copiers, old, content)
    assert callable(what)
    if not begun:
        what(content, old, copiers)
    with ahead, PatchWriter(str(tmp_path / "p"), old, ahead) as writer:
        writer.repeat((0, 2 << 20))
        writer.repeat((2 << 20, 3 << 20))
        if begun:
            what(content, old, copiers)
        writer.repeat((4 << 20, END))
        writer.commit()
    assert ahead.layer() is None
    _left(content, old)
    assert read_patch(str(tmp_path / "p"), content).tar_bytes == END - (1 << 20)


@pytest.mark.parametrize("whole", [False, True])
def test_it_is_killed_when_the_build_is_cancelled(
    tmp_path: Path, copiers: Copiers, content: ContentStore, old: Layer, whole: bool
) -> None:
    ahead, cancelled = _ahead(copiers, old, content), threading.Event()
    cancelled.set()
    server = copiers._servers[0]
    with ahead, PatchWriter(str(tmp_path / "p"), old, ahead) as writer:
        writer.repeat((0, END))
        os.kill(server._pid, signal.SIGSTOP)
        writer.commit()
    if whole:
        with pytest.raises(Cancelled):
            ahead.layer(cancelled)
    else:
        copiers.close()  # As at the end of a build in which something else failed.
    assert not server.alive and not os.path.exists(f"/proc/{server._pid}")
    _left(content, old)


def test_an_error_after_the_patch(
    tmp_path: Path, copiers: Copiers, content: ContentStore, old: Layer
) -> None:
    """The layer is not waited for."""
    ahead, server = _ahead(copiers, old, content), copiers._servers[0]
    with pytest.raises(KeyboardInterrupt), ahead:
        with PatchWriter(str(tmp_path / "p"), old, ahead) as writer:
            writer.repeat((0, END))
            os.kill(server._pid, signal.SIGSTOP)
            writer.commit()
        raise KeyboardInterrupt
    assert ahead.layer() is None and not server.alive
    _left(content, old)
