"""Extended attributes: by pyxattr, and without it where another package has its name."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from minibuild.errors import HostError
from minibuild.linux import xattr
from tests.conftest import CHECKOUT

pytestmark = pytest.mark.needs("user_xattr")


def other_package() -> ModuleType:
    """A module like that of the package `xattr` of the index: other functions, another class."""
    made = ModuleType("xattr")

    class xattr:
        def get(self, name: str) -> bytes:
            raise AssertionError("this is not pyxattr")

    made.xattr = xattr  # type: ignore[attr-defined]
    for name in ("getxattr", "setxattr", "listxattr", "removexattr"):
        setattr(made, name, lambda *_: pytest.fail("this is not pyxattr"))
    return made


@pytest.fixture(params=["pyxattr", "another package", "none"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What `import xattr` finds."""
    if request.param != "pyxattr":
        # None stands for a module that cannot be imported.
        there = other_package() if request.param == "another package" else None
        monkeypatch.setitem(sys.modules, "xattr", there)
    xattr._library.cache_clear()
    yield
    xattr._library.cache_clear()


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A file without attributes."""
    path = tmp_path / "file"
    path.touch()
    return str(path)


@pytest.mark.usefixtures("library")
def test_all_of_it(file: str) -> None:
    """By path and by descriptor; binary values, names that are no UTF-8."""
    odd = os.fsdecode(b"user.\xff")
    fd = os.open(file, os.O_RDONLY)
    try:
        assert xattr.names(file) == xattr.names(fd) == []
        assert xattr.get(file, "user.a") is None
        assert xattr.set(file, "user.a", b"\0\xff") and xattr.set(fd, odd, b"")
        assert xattr.get(fd, "user.a") == xattr.get(os.fsencode(file), "user.a") == b"\0\xff"
        assert xattr.get_all(file) == xattr.get_all(fd) == {"user.a": b"\0\xff", odd: b""}
        xattr.remove(fd, "user.a")
        xattr.remove(file, "user.a")  # it is fine if it is not there
        assert xattr.names(file) == [odd]
    finally:
        os.close(fd)


@pytest.mark.usefixtures("library")
def test_symlinks_are_not_followed(file: str) -> None:
    """The link has no attributes, and cannot have any of `user`."""
    xattr.set(file, "user.a", b"1")
    link = file + ".link"
    os.symlink(file, link)
    assert xattr.get_all(link) == {}
    assert not xattr.set(link, "user.b", b"", tolerant=True)
    with pytest.raises(OSError):
        xattr.set(link, "user.b", b"")
    assert xattr.names(file) == ["user.a"]


@pytest.mark.usefixtures("library")
def test_errors_are_raised(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        xattr.get(str(tmp_path / "missing"), "user.a")
    with pytest.raises(FileNotFoundError):
        xattr.names(str(tmp_path / "missing"))


@pytest.mark.parametrize("text", ["", "raise ImportError('no libattr')\n"])
def test_a_package_on_the_path(file: str, tmp_path: Path, text: str) -> None:
    """As it is where both are installed: a folder hides a compiled module."""
    (tmp_path / "xattr").mkdir()
    (tmp_path / "xattr/__init__.py").write_text(text)
    program = "import sys; from minibuild.linux import xattr; print(xattr.get_all(sys.argv[1]))"
    os.setxattr(file, "user.a", b"1")
    done = subprocess.run(
        [sys.executable, "-c", program, file],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("{'user.a': b'1'}\n", "")


@pytest.mark.usefixtures("library")
def test_more_than_a_file_may_have(file: str) -> None:
    """A filesystem with room that has none for them is not full, and nobody is told so."""
    fd = os.open(file, os.O_RDONLY)
    try:
        for target in (file, fd):
            with pytest.raises(HostError, match=f"attributes of {file} do not fit") as caught:
                for number in range(2000):
                    xattr.set(target, f"user.{number}", bytes(900))
                pytest.skip("this filesystem takes many")
            assert "ea_inode" in caught.value.hint
    finally:
        os.close(fd)


def test_those_of_overlayfs_are_its_own(tmp_path: Path) -> None:
    """What it notes in them is no part of a file."""
    path = str(tmp_path / "f")
    (tmp_path / "f").touch()
    xattr.set(path, "user.overlay.opaque", b"y")
    assert xattr.get_all(path) == {}
    xattr.set(path, "user.overlays", b"2")
    assert xattr.get_all(path) == {"user.overlays": b"2"}


@pytest.mark.usefixtures("library")
def test_a_capability_that_may_not_be_set(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another attribute stands for it, which shows nowhere."""

    def refuse(target: Any, name: bytes, *_: Any, **flags: Any) -> None:
        if name.startswith(b"security."):
            raise PermissionError(errno.EPERM, "refused")
        set_it(target, name, *_, **flags)

    set_it = xattr._library().set
    monkeypatch.setattr(xattr._library(), "set", refuse)
    assert xattr.set(file, xattr.CAPABILITY, b"value")
    assert xattr.get_all(file) == {xattr.CAPABILITY: b"value"}
    assert not xattr.set(file, "security.other", b"", tolerant=True)
    xattr.remove(file, xattr.CAPABILITY)
    assert os.listxattr(file) == []
