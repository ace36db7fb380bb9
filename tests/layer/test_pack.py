"""A diff becomes a layer: what is in it, in which order, and that it is the same every time."""

import gc
import gzip
import io
import os
import shutil
import stat
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from minibuild.digest import digest_bytes
from minibuild.errors import Cancelled, ImageError
from minibuild.layer.layer import Layer, layers_of
from minibuild.layer.pack import LayerPacker, pack
from minibuild.layer.tar_format import END
from minibuild.layer.writer import LayerWriter
from minibuild.oci.content import ContentStore
from minibuild.oci.model import Compression
from minibuild.snapshot.api import Change, Kind
from minibuild.store.layout import Store
from tests.conftest import CHECKOUT, Golden
from tests.layer import trees
from tests.support.descriptors import open_descriptors, opened_since
from tests.support.waiting import comes

TREE = {
    "a": (None, 0o750),
    "a/file": (b"hello\n", 0o640),
    "a/link": "= a/file",
    "a/run": (b"#!/bin/sh\n", 0o4755),
    "a/sym": "-> ../z",
    "empty": b"",
    "pipe": "fifo",
    "ünï": b"x",
    "z" * 120: b"long",
}


def members(store: Store, layer: Layer) -> list[tarfile.TarInfo]:
    """As the standard library sees the layer."""
    data = gzip.decompress(ContentStore(store).read(layer.digest))
    assert digest_bytes(data) == layer.diff_id
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        return archive.getmembers()


def listing(store: Store, layer: Layer) -> str:
    """One line for each entry."""
    lines = []
    for m in members(store, layer):
        name = m.name + ("/" if m.isdir() else "")
        link = f" -> {m.linkname}" if m.linkname else ""
        mtime = m.pax_headers.get("mtime", m.mtime)
        kind = m.type.decode()
        lines.append(f"{kind} {m.mode:04o} {m.size:>3} {m.uname}{m.gname}{mtime} {name}{link}\n")
    return "".join(lines)


def test_listing(store: Store, tmp_path: Path, golden: Golden) -> None:
    """A tree with a bit of everything, and deletions."""
    root = trees.make(str(tmp_path / "tree"), TREE)
    changes = trees.additions(root)
    gone = [Change(Kind.DELETE, "a/gone"), Change(Kind.DELETE, "zz")]
    changes = sorted([*changes, *gone], key=lambda c: os.fsencode(c.path))
    layer = pack(changes, ContentStore(store))
    golden(CHECKOUT / "tests/layer/golden/layer.txt", listing(store, layer))


def test_the_same_tree_gives_the_same_bytes(store: Store, tmp_path: Path) -> None:
    """Inode numbers, link order on disk and access times play no part."""
    first = trees.pack_tree(store, trees.make(str(tmp_path / "one"), TREE))
    shuffled = dict(sorted(TREE.items(), key=lambda item: (item[1] == "= a/file", item[0][::-1])))
    second = trees.pack_tree(store, trees.make(str(tmp_path / "two"), shuffled))
    assert first == second


def test_remembered(store: Store, tmp_path: Path) -> None:
    """By diff id and by digest; a blob that is gone is forgotten."""
    root = trees.make(str(tmp_path / "tree"), TREE)
    content = ContentStore(store)
    made = [trees.pack_tree(store, root, compression=c) for c in ("gzip", "zstd", "uncompressed")]
    assert len({layer.diff_id for layer in made}) == 1
    known = [layer.digest for layer in layers_of(content, made[0].diff_id)]
    assert sorted(layer.digest for layer in made) == known
    assert made[2].digest == made[2].diff_id
    content.delete(made[0].digest)
    known.remove(made[0].digest)
    assert [layer.digest for layer in layers_of(content, made[0].diff_id)] == known


def test_the_root_and_sockets_are_left_out(store: Store, tmp_path: Path) -> None:
    """Neither has a place in a layer."""
    import socket

    root = trees.make(str(tmp_path / "tree"), {"f": b""})
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{root}/s")
        changes = [Change(Kind.MODIFY, "", root), *trees.additions(root)]
        layer = pack(changes, ContentStore(store))
    assert [m.name for m in members(store, layer)] == ["f"]


def test_links_within_one_diff_only(store: Store, tmp_path: Path) -> None:
    """A new name of a file that is not in the diff is a file of its own."""
    root = trees.make(str(tmp_path / "tree"), {"old": b"x", "new1": "= old", "new2": "= old"})
    changes = [c for c in trees.additions(root) if c.path != "old"]
    found = members(store, pack(changes, ContentStore(store)))
    assert [(m.name, m.type, m.linkname) for m in found] == [
        ("new1", tarfile.REGTYPE, ""),
        ("new2", tarfile.LNKTYPE, "new1"),
    ]


@pytest.mark.needs("root")
def test_only_file_capabilities_survive(store: Store, tmp_path: Path) -> None:
    """user.* does not, as in BuildKit."""
    root = trees.make(str(tmp_path / "tree"), {"f": b"x", "d": None})
    value = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(f"{root}/f", "security.capability", value)
    os.setxattr(f"{root}/f", "user.note", b"gone")
    os.setxattr(f"{root}/d", "user.note", b"gone")
    d, f = members(store, trees.pack_tree(store, root))
    assert [k for k in f.pax_headers if "xattr" in k] == ["SCHILY.xattr.security.capability"]
    assert not [k for k in d.pax_headers if "xattr" in k]
    out = str(tmp_path / "out")
    trees.unpack_into(trees.pack_tree(store, root), out)
    assert os.getxattr(f"{out}/f", "security.capability") == value


def test_sparse_files_are_written_out(store: Store, tmp_path: Path) -> None:
    """Their holes are zeros."""
    root = trees.make(str(tmp_path / "tree"), {})
    with open(f"{root}/hole", "wb") as file:
        file.truncate(3 << 20)
    (found,) = members(store, trees.pack_tree(store, root))
    assert (found.size, found.type) == (3 << 20, tarfile.REGTYPE)


@pytest.mark.parametrize("compression", ["gzip", "zstd", "uncompressed"])
def test_a_failure_leaves_nothing(store: Store, tmp_path: Path, compression: Compression) -> None:
    """A file that goes, and one that shrinks, while they are packed."""
    root = trees.make(str(tmp_path / "tree"), {"a": b"x" * (3 << 20), "b": b""})
    changes = trees.additions(root)
    os.unlink(f"{root}/b")
    with pytest.raises(ImageError, match="b changed"):
        pack(changes, ContentStore(store), compression=compression)
    with (
        pytest.raises(ImageError, match="f changed"),
        LayerWriter(ContentStore(store), compression, None) as sink,
        open(os.devnull, "rb") as file,
    ):
        sink.write_file(file.fileno(), 10, "f")
    assert not os.listdir(store.path("ingest")) and not os.listdir(store.path("blobs/sha256"))


@pytest.mark.parametrize("kind", ["symlink", "fifo", "socket"])
def test_a_file_that_becomes_something_else(
    store: Store, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at it and its opening. A symlink is not followed: it may lead out of the
    tree. And a FIFO is not waited for."""
    root = trees.make(str(tmp_path / "tree"), {"f": b"12345"})
    (tmp_path / "outside").write_bytes(b"54321")
    real = os.open

    def swapped(path: str, flags: int, *rest: int, **words: int) -> int:
        if path == f"{root}/f":
            os.unlink(path)
            if kind == "symlink":
                os.symlink(tmp_path / "outside", path)
            elif kind == "fifo":
                os.mkfifo(path)
            else:
                os.mknod(path, 0o600 | stat.S_IFSOCK)
        return real(path, flags, *rest, **words)

    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(ImageError, match="f changed while it was packed"):
        trees.pack_tree(store, root)


def test_a_cancelled_build_looks_at_no_more_files(store: Store, tmp_path: Path) -> None:
    root = trees.make(str(tmp_path / "tree"), {"a": b"", "b": b"", "c": b""})
    cancelled, seen = threading.Event(), []

    def changes() -> Iterator[Change]:
        for change in trees.additions(root):
            seen.append(change.path)
            if change.path == "b":
                cancelled.set()
            yield change

    with pytest.raises(Cancelled):
        pack(changes(), ContentStore(store), cancelled=cancelled)
    assert seen == ["a", "b"]


def test_files_are_closed(store: Store, tmp_path: Path) -> None:
    """A layer has more of them than a process may have open."""
    root = trees.make(str(tmp_path / "tree"), {f"f{n}": b"x" for n in range(20)})
    trees.pack_tree(store, root)
    before = open_descriptors()
    trees.pack_tree(store, root)
    assert len(opened_since(before)) < 20


def test_attributes_are_those_of_files_and_directories(tmp_path: Path) -> None:
    """An output that is a tar has more of them than a layer. FIFOs and links have none."""
    root = trees.make(
        str(tmp_path / "tree"), {"d": None, "f": b"", "l": "-> f", "p": "fifo", "z": "= f"}
    )
    output = io.BytesIO()
    packer = LayerPacker(cast(Any, output), xattrs=lambda target: {"user.a": b"1"})
    for change in trees.additions(root):
        packer.add(change.path, change.source)
    with tarfile.open(fileobj=io.BytesIO(output.getvalue() + END)) as archive:
        kept = {m.name: m.pax_headers.get("SCHILY.xattr.user.a") for m in archive.getmembers()}
    assert kept == {"d": "1", "f": "1", "l": None, "p": None, "z": None}


def test_names_like_whiteouts_are_written_as_they_are(store: Store, tmp_path: Path) -> None:
    """As BuildKit does, though who unpacks the layer takes them for deletions."""
    root = trees.make(str(tmp_path / "tree"), {".wh.x": b"1"})
    assert [m.name for m in members(store, trees.pack_tree(store, root))] == [".wh.x"]


@pytest.mark.parametrize("compression", ["gzip", "zstd", "uncompressed"])
def test_round_trip(store: Store, tmp_path: Path, compression: Compression) -> None:
    """Pack, unpack: the same tree, to the second and to the inode."""
    root = trees.make(str(tmp_path / "tree"), TREE | {"big": bytes(range(256)) * 10_000})
    layer = trees.pack_tree(store, root, compression=compression)
    out = str(tmp_path / "out")
    assert trees.unpack_into(layer, out) == ()
    assert trees.read(out) == trees.read(root)
    shutil.rmtree(root)
    assert trees.pack_tree(store, out, compression=compression) == layer


@pytest.mark.parametrize("compression", ["gzip", "zstd", "uncompressed"])
def test_no_thread_outlives_the_layer(store: Store, compression: Compression) -> None:
    """Not until garbage is collected, either: a process that has threads does not fork.

    Ids are compared and not counted: a thread of an earlier test may end at any moment.
    """
    before = set(os.listdir("/proc/self/task"))
    gc.disable()
    try:
        with LayerWriter(ContentStore(store), compression, None) as sink:
            sink.write(bytes(5 << 20))
            started = set(os.listdir("/proc/self/task")) - before
            assert started
            sink.commit()
        del sink
        # A thread that was joined is done with its work, and may not be gone from the kernel yet.
        assert comes(lambda: not started & set(os.listdir("/proc/self/task")))
    finally:
        gc.enable()
