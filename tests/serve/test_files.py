"""Files of a result, as a client asks for them."""

import io
import stat
import tarfile
from pathlib import Path

import pytest

from minibuild.buildkit.rpc import NOT_FOUND, Failure
from minibuild.serve.files import ResultFiles

_GO_DIRECTORY, _GO_SYMLINK, _GO_SETUID = 1 << 31, 1 << 27, 1 << 23


@pytest.fixture
def files(tmp_path: Path) -> ResultFiles:
    path = tmp_path / "tree.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:

        def add(
            name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **fields: object
        ) -> None:
            entry = tarfile.TarInfo(name)
            entry.type, entry.size = kind, len(data)
            for field, value in fields.items():
                setattr(entry, field, value)
            archive.addfile(entry, io.BytesIO(data))

        add("d/", tarfile.DIRTYPE, mode=0o750, uid=7)
        add(
            "d/b",
            data=b"bytes",
            mode=stat.S_ISUID | 0o755,
            mtime=12,
            pax_headers={"SCHILY.xattr.user.x": "1"},
        )
        add("d/a", tarfile.LNKTYPE, linkname="d/b")
        add("d/up", tarfile.SYMTYPE, linkname="../../../d/b")
        add("loop", tarfile.SYMTYPE, linkname="loop")
        add("short", tarfile.SYMTYPE, linkname="/d")
    return ResultFiles(str(path))


@pytest.mark.parametrize("path", ["d/b", "/d/a", "d/up", "/short/up", "d/../../short/./b"])
def test_a_file_by_all_its_paths(files: ResultFiles, path: str) -> None:
    assert files.read(path) == b"bytes"
    assert files.read(path, 1, 2) == b"yt" and files.read(path, 4, 99) == b"s"
    assert files.stat(path).size == 5 and files.stat(path).mode == _GO_SETUID | 0o755


def test_entries_of_a_directory(files: ResultFiles) -> None:
    a, b, up = files.list("/short")
    assert [a.path, b.path, up.path] == ["a", "b", "up"]
    assert b.modTime == 12_000_000_000 and dict(b.xattrs) == {"user.x": b"1"}
    assert up.mode & _GO_SYMLINK and up.linkname == "../../../d/b"
    (directory, *_) = files.list("")
    assert directory.mode == _GO_DIRECTORY | 0o750 and directory.uid == 7
    assert [entry.path for entry in files.list("/", "s*")] == ["short"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nothing", "open nothing: no such file or directory"),
        ("d/b/c", "no such file or directory"),
        ("d", "d is not a regular file"),
        ("loop", "too many levels of symbolic links"),
    ],
)
def test_no_file(files: ResultFiles, path: str, message: str) -> None:
    with pytest.raises(Failure, match=message) as failed:
        files.read(path)
    assert ("no such" in message) == (failed.value.code == NOT_FOUND)
    with pytest.raises(Failure):
        list(files.list("d/b"))
