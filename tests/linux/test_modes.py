"""Modes that are recorded: what is on disk, and what is read again."""

import errno
import os
import stat
from pathlib import Path

import pytest

from minibuild.linux import modes, xattr
from minibuild.linux.recorded import Records

pytestmark = pytest.mark.needs("user_xattr")


@pytest.fixture(autouse=True)
def ordinary_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that modes can keep out, though root may run this."""
    monkeypatch.setattr(modes, "are_recorded", lambda: True)


@pytest.mark.parametrize(
    ("mode", "on_disk"),
    [
        (stat.S_IFREG | 0o644, 0o644),
        (stat.S_IFREG | 0o4755, 0o4755),
        (stat.S_IFREG | 0o000, 0o600),
        (stat.S_IFREG | 0o2455, 0o2655),
        (stat.S_IFDIR | 0o755, 0o755),
        (stat.S_IFDIR | 0o1555, 0o1755),
        (stat.S_IFDIR | 0o600, 0o700),
        (stat.S_IFIFO | 0o000, 0o000),
    ],
)
def test_what_a_mode_is_on_disk(tmp_path: Path, mode: int, on_disk: int) -> None:
    """Also of a file that had a mode recorded before, and has none then."""
    path, records = str(tmp_path / "entry"), Records(())
    if stat.S_ISDIR(mode):
        os.mkdir(path)
    elif stat.S_ISFIFO(mode):
        os.mkfifo(path)
    else:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    for wanted, disk in ((mode, on_disk), (stat.S_IFMT(mode) | 0o700, 0o700)):
        records.chmod(path, wanted)
        found = os.lstat(path)
        assert stat.S_IMODE(found.st_mode) == disk
        assert records.seen(found, path).st_mode == wanted
    assert xattr.names(path) == []


def test_a_filesystem_without_attributes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "no attributes")

    monkeypatch.setattr(os, "setxattr", refuse)
    modes.write(str(tmp_path), stat.S_IFDIR | 0o555)
    assert stat.S_IMODE(tmp_path.lstat().st_mode) == 0o555
    tmp_path.chmod(0o755)


@pytest.mark.parametrize("value", [b"", b"9", b"rwx", b"\xff"])
def test_a_record_that_is_none(tmp_path: Path, value: bytes) -> None:
    os.setxattr(tmp_path, xattr.MODE, value)
    assert modes.read(str(tmp_path), 0o40755) == 0o40755
