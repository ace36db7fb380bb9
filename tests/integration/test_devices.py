"""Devices on their way through a build on a host that makes none: archive, copy, digest, export."""

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from minibuild.exporter.local import export_local
from minibuild.exporter.tar import OutputTree, export_tar
from minibuild.fileop import apply as fileop
from minibuild.fileop.api import SourceTree
from minibuild.fileop.checksum import content_digests, tree_digests
from minibuild.graph.op import Copy
from minibuild.layer.archive import extract
from minibuild.linux import device
from minibuild.snapshot.api import Kind, MergePolicy
from minibuild.snapshot.apply import Applier
from minibuild.snapshot.diff import changes
from minibuild.snapshot.view import View

NODES = {"null": (tarfile.CHRTYPE, 0o666, 1, 3), "d/disk": (tarfile.BLKTYPE, 0o640, 259, 70000)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on a filesystem with attributes, on a host that refuses to make devices."""
    try:
        os.setxattr(tmp_path, "user.test", b"")
    except OSError:
        pytest.skip("no user attributes here")
    make = os.mknod

    def refuse(path: str, mode: int = 0o600, number: int = 0, *, dir_fd: int | None = None) -> None:
        if stat.S_IFMT(mode) in (stat.S_IFCHR, stat.S_IFBLK):
            raise PermissionError(1, "Operation not permitted", path)
        make(path, mode, number, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mknod", refuse)
    return tmp_path


@pytest.fixture
def tree(folder: Path) -> Iterator[int]:
    """A tree unpacked from an archive with devices."""
    with tarfile.open(folder / "in.tar", "w") as archive:
        for name, (kind, mode, major, minor) in {
            "d": (tarfile.DIRTYPE, 0o755, 0, 0),
            **NODES,
        }.items():
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.mtime = kind, mode, 77
            member.devmajor, member.devminor = major, minor
            member.uid, member.gid = os.geteuid(), os.getegid()
            archive.addfile(member)
    (folder / "tree").mkdir()
    fd = os.open(folder / "tree", os.O_RDONLY)
    with open(folder / "in.tar", "rb") as file:
        assert extract(file.fileno(), fd) == []
    yield fd
    os.close(fd)


def archived(tree: int, folder: Path) -> dict[str, tuple[bytes, int, int, int]]:
    """The devices in a tar of the tree."""
    export_tar([OutputTree("", tree)], str(folder / "out.tar"))
    data = io.BytesIO((folder / "out.tar").read_bytes())
    with tarfile.open(fileobj=data) as archive:
        members = [m for m in archive.getmembers() if not m.isdir()]
        assert all(m.size == 0 and m.mtime == 77 for m in members)
        return {m.name: (m.type, m.mode, m.devmajor, m.devminor) for m in members}


def test_archives(tree: int, folder: Path) -> None:
    """Into a tree and out of it, they are the same."""
    assert stat.S_ISREG(os.stat("null", dir_fd=tree).st_mode)
    assert device.is_marked(str(folder / "tree"))
    assert archived(tree, folder) == NODES


@pytest.mark.parametrize("paths", [("/",), ("/null", "/d"), ("/n*l", "/d")])
def test_copies(tree: int, folder: Path, paths: tuple[str, ...]) -> None:
    """Of single files, by patterns, and of directories."""
    (folder / "copy/d").mkdir(parents=True)
    fd = os.open(folder / "copy", os.O_RDONLY)
    try:
        for path in paths:
            dest = "/d/" if path == "/d" else "/"
            copy = Copy(0, (path,), dest, keep_owner=True)
            assert fileop.apply([copy], fd, {0: SourceTree(tree)}) == []
        assert archived(fd, folder) == NODES
    finally:
        os.close(fd)


def test_digests(tree: int, folder: Path) -> None:
    """Another device is another content, although both are empty files."""
    whole = tree_digests(SourceTree(tree), "/")
    words = [line.partition("\0")[2] for line in whole]
    assert [said.split()[0] for said in words if "dir" not in said] == ["block", "char"]
    before = content_digests(Copy(0, ("/null",), "/"), SourceTree(tree))
    assert before == ("/null\0char 0666 1:3",)
    (folder / "tree/null").unlink()
    device.make_placeholder(tree, "null", stat.S_IFCHR, os.makedev(1, 5))
    assert content_digests(Copy(0, ("/null",), "/"), SourceTree(tree)) != before


def test_a_directory_gets_placeholders_and_a_note(tree: int, folder: Path) -> None:
    done = export_local(OutputTree("", tree), str(folder / "out"))
    assert len(done) == 2 and "null" in "".join(done)
    target = folder / "out/null"
    assert device.seen(os.lstat(target), str(target)).st_rdev == os.makedev(1, 3)


def test_a_merge_keeps_the_mark(tree: int, folder: Path) -> None:
    """Also under a layer without one, whose root directory comes last."""
    (folder / "plain").mkdir(mode=0o700)
    (folder / "plain/x").touch()
    (folder / "merged").mkdir()
    nothing = View((), "plain")
    applier = Applier(str(folder / "merged"), nothing, MergePolicy())
    for name in ("tree", "plain"):
        found = list(changes(nothing, View([str(folder / name)], "plain")))
        assert all(change.kind is not Kind.DELETE for change in found)
        applier.apply(found)
    assert device.is_marked(str(folder / "merged"))
    fd = os.open(folder / "merged", os.O_RDONLY)
    try:
        (folder / "merged/x").unlink()
        assert archived(fd, folder) == NODES
    finally:
        os.close(fd)
