"""A tree copied to a directory that may hold something already."""

import errno
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from minibuild.errors import HostError, UsageError
from minibuild.exporter.local import export_local
from minibuild.exporter.tar import OutputTree, export_tar
from minibuild.linux import xattr
from minibuild.linux.contents import Copier
from minibuild.linux.xattr import MODE, OWNER


def export(
    source: Path, dest: Path, *, delete: bool = False, epoch: int | None = None
) -> list[str]:
    fd = os.open(source, os.O_RDONLY)
    try:
        return export_local(OutputTree("", fd), str(dest), delete=delete, epoch=epoch)
    finally:
        os.close(fd)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    tree = tmp_path / "source"
    (tree / "dir").mkdir(parents=True)
    (tree / "dir" / "file").write_text("new")
    (tree / "dir" / "file").chmod(0o640)
    os.link(tree / "dir" / "file", tree / "name")
    os.symlink("dir/file", tree / "link")
    os.utime(tree / "dir" / "file", ns=(5, 7))
    os.utime(tree / "dir", ns=(5, 9))
    (tree / "dir").chmod(0o550)
    return tree


def nothing(dest: Path) -> None:
    pass


def link_for_directory(dest: Path) -> None:
    outside = dest.parent / "outside"
    outside.mkdir()
    os.symlink(outside, dest / "dir")


def directory_for_file(dest: Path) -> None:
    (dest / "name" / "deep").mkdir(parents=True)


def links_for_files(dest: Path) -> None:
    outside = dest.parent / "outside-file"
    outside.write_text("precious")
    (dest / "dir").mkdir()
    os.symlink(outside, dest / "dir" / "file")
    os.symlink(outside, dest / "link")


def closed_directory(dest: Path) -> None:
    (dest / "dir").mkdir()
    (dest / "dir" / "file").write_text("old")
    (dest / "dir").chmod(0o500)


@pytest.mark.parametrize(
    "before", [nothing, link_for_directory, directory_for_file, links_for_files, closed_directory]
)
def test_what_is_in_the_way_is_replaced(
    tmp_path: Path, source: Path, before: Callable[[Path], None]
) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    before(dest)
    done = export(source, dest)
    assert done == []
    assert (dest / "dir" / "file").read_text() == "new"
    assert (dest / "dir" / "file").stat().st_ino == (dest / "name").stat().st_ino
    assert stat.S_IMODE((dest / "name").stat().st_mode) == 0o640
    assert stat.S_IMODE((dest / "dir").lstat().st_mode) == 0o550
    assert (dest / "name").stat().st_mtime_ns == 7
    assert (dest / "dir").lstat().st_mtime_ns == 9
    assert os.readlink(dest / "link") == "dir/file"
    outside = tmp_path / "outside"
    assert not outside.exists() or not os.listdir(outside)
    kept = tmp_path / "outside-file"
    assert not kept.exists() or kept.read_text() == "precious"


@pytest.mark.parametrize("delete", [False, True])
def test_other_files_stay_unless_they_are_to_go(tmp_path: Path, source: Path, delete: bool) -> None:
    dest = tmp_path / "dest"
    (dest / "dir" / "old").mkdir(parents=True)
    (dest / "other").write_text("")
    export(source, dest, delete=delete)
    assert (dest / "other").exists() is not delete
    assert (dest / "dir" / "old").exists() is not delete


def test_the_working_directory_is_not_emptied(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source)
    with pytest.raises(UsageError, match="would remove everything else"):
        export(source, tmp_path, delete=True)
    assert source.exists()


def test_attributes_of_users(source: Path, tmp_path: Path) -> None:
    """Those that minibuild notes are not for others."""
    dest, archive = tmp_path / "dest", tmp_path / "tar"
    wanted = {"dir": {}, "dir/file": {"user.a": b"1", "user.b": b"\xff"}}
    for name, value in {"user.b": b"\xff", "user.a": b"1", OWNER: b"x", MODE: b"y"}.items():
        os.setxattr(source / "dir" / "file", name, value)
    export(source, dest)
    shown = {name: xattr.get_all(str(dest / name)) for name in wanted}
    fd = os.open(source, os.O_RDONLY)
    export_tar([OutputTree("", fd)], str(archive))
    os.close(fd)
    with tarfile.open(archive) as tar:
        records = {one.name: one.pax_headers for one in tar if one.name in wanted}
    assert shown == wanted
    prefix = "SCHILY.xattr."
    assert {
        name: {
            key.removeprefix(prefix): value.encode("utf-8", "surrogateescape")
            for key, value in found.items()
            if key.startswith(prefix)
        }
        for name, found in records.items()
    } == wanted


def test_with_an_epoch_all_times_are_it(source: Path, tmp_path: Path) -> None:
    """Also those that are earlier, unlike in layers."""
    export(source, tmp_path / "dest", epoch=10)
    fd = os.open(source, os.O_RDONLY)
    export_tar([OutputTree("", fd)], str(tmp_path / "tar"), epoch=10)
    os.close(fd)
    with tarfile.open(tmp_path / "tar") as tar:
        times = {entry.mtime for entry in tar}
    times |= {entry.lstat().st_mtime for entry in (tmp_path / "dest").rglob("*")}
    assert times == {10}


def test_a_file_that_cannot_be_written_to_its_end_is_not_there(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(copier: Copier, source_fd: int, target_fd: int, size: int) -> None:
        os.write(target_fd, b"part")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Copier, "copy", full)
    dest = tmp_path / "dest"
    with pytest.raises(HostError, match="No space left on device"):
        export(source, dest)
    assert os.listdir(dest) == ["dir"] and os.listdir(dest / "dir") == []
