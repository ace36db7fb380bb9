"""One entry made like another."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from minibuild.lab.trees import TYPES, read_entry
from minibuild.linux import device, recorded, xattr
from minibuild.linux.contents import Copier
from minibuild.linux.tree_writer import TreeWriter
from minibuild.snapshot import entry
from tests.snapshot.world import Edit, chmod, node, set_xattr, utime, write
from tests.support.descriptors import open_descriptors, opened_since


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, int]:
    """Where entries come from, and an open directory that they go to."""
    (tmp_path / "from").mkdir()
    (tmp_path / "to").mkdir()
    return str(tmp_path / "from"), os.open(tmp_path / "to", os.O_RDONLY | os.O_DIRECTORY)


def copied(folders: tuple[str, int], *edits: Edit) -> tuple[Any, Any]:
    """What the edits make of `e`, and what its copy is."""
    source, to = folders
    for edit in edits:
        edit(source)
    accessed = os.lstat(f"{source}/e").st_atime_ns
    before = open_descriptors()
    with TreeWriter(to, exact=True) as tree:
        assert entry.copy(f"{source}/e", tree, "e", Copier())
    assert not opened_since(before)
    made = f"/proc/self/fd/{to}/e"
    assert os.lstat(made).st_atime_ns == accessed
    found, expected = read_entry(made), read_entry(f"{source}/e")
    return found._replace(inode=0), expected._replace(inode=0)


ENTRIES: dict[str, tuple[Edit, ...]] = {
    "file": (write("e", "text", 0o640),),
    "empty": (write("e", "", 0o400),),
    "set-id": (write("e", "text", 0o6755),),
    "attribute": (write("e", "text"), set_xattr("e", "user.a", b"\0\1")),
    "symlink": (node("e", "symlink"),),
    "fifo": (node("e", "fifo"), chmod("e", 0o640)),
    "sock": (node("e", "sock"), chmod("e", 0o711)),
}


def test_what_is_recorded_is_no_attribute(folders: tuple[str, int]) -> None:
    """It is the owner, where owners are recorded; elsewhere nothing reads it."""
    source, _ = folders
    write("e", "text", 0o640)(source)
    set_xattr("e", "user.a", b"1")(source)
    recorded.write(f"{source}/e", 11, 22)
    made = entry.metadata_of(f"{source}/e", owners=recorded.Records(()))
    assert (made.mode, made.uid, made.gid) == (stat.S_IFREG | 0o640, 11, 22)
    assert made.xattrs == {"user.a": b"1"}
    made = entry.metadata_of(f"{source}/e")
    assert (made.uid, made.gid) == (os.geteuid(), os.getegid())
    assert made.xattrs.keys() == {"user.a", xattr.OWNER}


@pytest.mark.parametrize("edits", ENTRIES.values(), ids=list(ENTRIES))
def test_copies(folders: tuple[str, int], edits: tuple[Edit, ...]) -> None:
    """Type, mode, data, attributes and both times."""
    found, expected = copied(folders, *edits, utime("e", 1_234_567_891_234_567_891))
    assert found == expected


@pytest.mark.needs("owners")
@pytest.mark.parametrize("kind", [kind for kind in TYPES.values() if kind != "dir"])
def test_owners_and_devices(folders: tuple[str, int], kind: str) -> None:
    """The owner is changed first, for that clears set-id bits and drops capabilities."""
    edits: list[Edit] = [node("e", kind), lambda root: os.lchown(f"{root}/e", 11, 22)]
    if kind == "file":
        capability = bytes.fromhex("0100000200040000000000000000000000000000")
        edits += [chmod("e", 0o6755), set_xattr("e", "security.capability", capability)]
    found, expected = copied(folders, *edits)
    assert found == expected and found.owner == (11, 22)
    assert kind != "file" or (found.mode, len(found.xattrs)) == (0o6755, 1)


@pytest.mark.needs("root", "trusted_xattr")
@pytest.mark.parametrize("kind", [kind for kind in TYPES.values() if kind != "dir"])
def test_attributes_of_all_types(folders: tuple[str, int], kind: str) -> None:
    """`user.*` is for files and directories only; other namespaces are for all (xattr(7))."""
    found, expected = copied(folders, node("e", kind), set_xattr("e", "trusted.a", b"1"))
    assert found == expected and found.xattrs == (("trusted.a", b"1"),)


@pytest.mark.parametrize("kind", ["file", "symlink", "fifo"])
def test_a_name_that_is_taken(folders: tuple[str, int], kind: str) -> None:
    """What is there stays, and nothing stays open."""
    source, to = folders
    node("e", kind)(source)
    write("e", "before")(f"/proc/self/fd/{to}")
    before = open_descriptors()
    with TreeWriter(to, lambda *_: False) as tree:
        assert not entry.copy(f"{source}/e", tree, "e", Copier())
    assert Path(f"/proc/self/fd/{to}/e").read_text() == "before"
    assert not opened_since(before)


# --- Directories ---


def test_the_root_of_a_layer_is_like_the_one_below(tmp_path: Path) -> None:
    """Attributes that the other one lacks go, but for the mark of a tree with placeholders."""
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
        xattr.set(str(tmp_path / name), f"user.{name}", b"1")
    xattr.set(str(tmp_path / "to"), device.MARK, b"")
    (tmp_path / "from").chmod(0o2751)
    os.utime(tmp_path / "from", ns=(5, 6))
    before = open_descriptors()
    entry.inherit_root(str(tmp_path / "from"), str(tmp_path / "to"))
    assert not opened_since(before)
    made = os.stat(tmp_path / "to")
    assert (stat.S_IMODE(made.st_mode), made.st_atime_ns, made.st_mtime_ns) == (0o2751, 5, 6)
    assert sorted(xattr.names(str(tmp_path / "to"))) == ["user.from", device.MARK]


@pytest.mark.needs("owners")
def test_the_owner_of_a_directory(tmp_path: Path) -> None:
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
    os.chown(tmp_path / "from", 11, 22)
    entry.inherit_root(str(tmp_path / "from"), str(tmp_path / "to"))
    made = os.stat(tmp_path / "to")
    assert (made.st_uid, made.st_gid) == (11, 22)
