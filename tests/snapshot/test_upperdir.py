"""What is in an upperdir: its entries, and how each style says that a name is gone."""

import os
import stat
from pathlib import Path

import pytest

from minibuild.errors import UsageError
from minibuild.linux import xattr
from minibuild.snapshot import whiteout
from minibuild.snapshot.api import MergePolicy, Strategy, Whiteouts
from minibuild.snapshot.defects import DEFECTS, defect_named, policy_for
from minibuild.snapshot.upperdir import UpperEntry, upper_entries


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    """One of each type, but for devices, which take root."""
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/f").write_text("data")
    os.link(tmp_path / "d/f", tmp_path / "d/g")
    (tmp_path / "l").symlink_to("d")
    os.mkfifo(tmp_path / "p")
    os.mknod(tmp_path / "s", stat.S_IFSOCK)  # bind(2) takes no long path
    os.mknod(tmp_path / "w", stat.S_IFCHR, 0)  # a whiteout, which an ordinary user may make, too
    return tmp_path


@pytest.mark.needs("user_xattr")
def test_the_entries_of_an_upperdir(upper: Path) -> None:
    """A directory before what is in it; nothing is followed."""
    fd = os.open(upper / "d/e", os.O_RDONLY)
    whiteout.set_opaque(fd, "user")
    os.close(fd)
    found = list(upper_entries(str(upper), "user"))
    assert [(e.path, e.type, e.links, e.opaque) for e in found] == [
        ("d", "directory", os.lstat(upper / "d").st_nlink, False),
        ("d/e", "directory", os.lstat(upper / "d/e").st_nlink, True),
        ("d/f", "file", 2, False),
        ("d/g", "file", 2, False),
        ("l", "symlink", 1, False),
        ("p", "fifo", 1, False),
        ("s", "socket", 1, False),
        ("w", "char device", 1, False),
    ]
    assert [e.inode for e in found] == [os.lstat(upper / e.path).st_ino for e in found]
    assert [(e.path, e.device) for e in found if e.device or e.is_whiteout] == [("w", "0:0")]
    assert not UpperEntry("null", "char device", "1:3", 5, 1).is_whiteout


@pytest.mark.needs("user_xattr")
@pytest.mark.parametrize("style", ["user", "trusted", "plain", "marked"])
def test_what_is_a_whiteout(upper: Path, style: Whiteouts) -> None:
    """A device in the styles that the kernel reads, a marked empty file in the other."""
    fd = os.open(upper, os.O_RDONLY)
    os.mknod(upper / "empty", stat.S_IFREG | 0o600)
    whiteout.make(fd, "gone", style)
    gone = {"gone"} if style == "marked" else {"gone", "w"}
    names = [*os.listdir(upper), "nothing", "d/f", "d/nothing"]
    assert {name for name in names if whiteout.is_one(fd, name, style)} == gone
    if style == "marked":
        assert stat.S_IMODE(os.lstat(upper / "gone").st_mode) == 0o600
        # A directory says that there are such files in it, unless it hides all that is below.
        opaque = f"{xattr.LAYER}opaque"
        assert xattr.get(str(upper), opaque) == b"x"
        xattr.set(str(upper), opaque, b"y")
        whiteout.make(fd, "gone too", style)
        assert xattr.get(str(upper), opaque) == b"y"
        (upper / "gone").write_text("a mark on a file with data")
        assert not whiteout.is_one(fd, "gone", style)
    os.close(fd)


def test_defects_by_name() -> None:
    assert policy_for("") == MergePolicy() and defect_named("") == ""
    assert [policy_for(name) for name in DEFECTS] == [
        MergePolicy(Strategy.HARDLINK, name) for name in DEFECTS
    ]
    assert defect_named("whiteout-links") == "whiteout-hardlink"
    with pytest.raises(UsageError, match="no defect 'other' to show"):
        policy_for("other")
