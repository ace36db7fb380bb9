"""What an entry is born with, what it is given then, and what is left as it is."""

import os
import stat
from pathlib import Path

import pytest

from minibuild.linux import device, owner, xattr
from minibuild.linux.recorded import Records
from minibuild.linux.tree_writer import Metadata, TreeWriter, set_metadata
from tests.linux.entries import DIR, FIFO, LNK, MAKES, ME, REG, TIMES, looks, nothing, state


@pytest.mark.parametrize(
    ("mode", "while_written", "while_recorded"),
    [
        (0o6755, 0o600, 0o600),
        (0o1777, 0o600, 0o600),
        (0o640, 0o640, 0o640),
        (0o755, 0o755, 0o755),
        (0o701, 0o701, 0o701),
        (0o440, 0o440, 0o600),
        (0o200, 0o200, 0o600),
    ],
)
@pytest.mark.parametrize("recorded", [False, True])
def test_what_a_file_is_born_with(
    root: Path, mode: int, while_written: int, while_recorded: int, recorded: bool
) -> None:
    """Set-id bits wait for the owner, and a record of the owner needs a file that may be written
    and read."""
    seen: list[int] = []
    fd, old = os.open(root, os.O_PATH), os.umask(0)
    try:
        with TreeWriter(fd, owners=Records(()) if recorded else None) as tree:
            tree.file("e", looks(REG, mode), lambda fd: seen.append(os.fstat(fd).st_mode))
    finally:
        os.umask(old)
        os.close(fd)
    assert seen == [REG | (while_recorded if recorded else while_written)]
    found = os.lstat(root / "e")
    assert found.st_mode == REG | mode or Records(()).mode(found, str(root / "e")) == REG | mode


def test_only_another_owner_than_root_is_recorded(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new file without a record is root's."""
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(owner, "fchown", lambda fd, uid, gid, *_: given.append((uid, gid)))
    fd = os.open(root, os.O_PATH)
    with TreeWriter(fd, owners=Records(())) as tree:
        for number, ids in enumerate([(0, 0), (5, 0), (0, 5), (5, 6)]):
            tree.file(str(number), Metadata(REG | 0o644, *ids), nothing)
    os.close(fd)
    assert given == [(5, 0), (0, 5), (5, 6)]


def test_a_file_that_is_born_as_it_should_be_is_not_changed(
    tree: TreeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look for each mode and each directory is enough."""
    looked, changed = [], []
    fstat = os.fstat
    old = os.umask(0o022)
    try:
        monkeypatch.setattr(os, "fstat", lambda fd: looked.append(fd) or fstat(fd))
        monkeypatch.setattr(os, "fchmod", lambda *words: changed.append(words))
        monkeypatch.setattr(os, "fchown", lambda *words: changed.append(words))
        for name in ("a", "b", "c"):
            tree.file(name, looks(REG, 0o644), nothing)
        assert (len(looked), changed) == (1, [])
        tree.file("d", looks(REG, 0o600), nothing)
        assert (len(looked), changed) == (2, [])
        tree.file("e", looks(REG, 0o666), nothing)
        assert (len(looked), len(changed)) == (3, 1)  # The umask took two bits away.
        tree.directory("sub", looks(DIR, 0o755))
        tree.file("a", looks(REG, 0o644), nothing)
        assert len(looked) == 4
        tree.pop()
        tree.file("f", looks(REG, 0o644), nothing)
        assert len(looked) == 4
    finally:
        os.umask(old)


@pytest.mark.needs("owners")
def test_files_in_a_directory_with_a_group(root: Path, tree: TreeWriter) -> None:
    """A new file has the group of a set-group-id directory, see inode(7)."""
    (root / "d").mkdir()
    os.chown(root / "d", 0, 33)
    (root / "d").chmod(0o2775)
    tree.enter("d")
    for name in ("a", "b"):
        tree.file(name, looks(REG, 0o644), nothing)
        assert state(root / "d" / name) == (REG | 0o644, *ME, TIMES)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", ["file", "directory"])
def test_attributes(root: Path, name: str, exact: bool) -> None:
    """Those that were there go if the entry is to be exact; not the mark, nor overlayfs's own."""
    (root / "e").mkdir()
    others = {"user.old": b"1", "user.overlay.opaque": b"y", device.MARK: b""}
    for key, value in others.items():
        xattr.set(str(root / "e"), key, value)
    kind, make = MAKES[name]
    fd = os.open(root, os.O_PATH)
    with TreeWriter(fd, exact=exact) as tree:
        make(tree, looks(kind, 0o755, xattrs={"user.new": b"2"}))
        tree.finish()
    os.close(fd)
    expected = {"user.new"} | (set(others) - ({"user.old"} if exact else set()))
    assert set(xattr.names(str(root / "e"))) == (expected if name == "directory" else {"user.new"})
    assert xattr.get(str(root / "e"), "user.new") == b"2"


@pytest.mark.parametrize("exact", [False, True])
def test_without_attributes_nothing_is_asked(root: Path, exact: bool) -> None:
    (root / "e").mkdir()
    xattr.set(str(root / "e"), "user.old", b"1")
    fd = os.open(root / "e", os.O_RDONLY)
    set_metadata(fd, looks(DIR, 0o755), exact=exact)
    os.close(fd)
    assert xattr.names(str(root / "e")) == ([] if exact else ["user.old"])
    assert state(root / "e") == (DIR | 0o755, *ME, TIMES)


@pytest.mark.needs("root", "trusted_xattr")
@pytest.mark.parametrize("name", ["symlink", "fifo"])
@pytest.mark.parametrize("exact", [False, True])
def test_attributes_of_special_files(root: Path, name: str, exact: bool) -> None:
    kind, make = MAKES[name]
    fd = os.open(root, os.O_PATH)
    with TreeWriter(fd, exact=exact) as tree:
        make(tree, looks(kind, 0o755, xattrs={"trusted.a": b"1"}))
    os.close(fd)
    assert xattr.get_all(str(root / "e")) == {"trusted.a": b"1"}
    assert state(root / "e")[3] == TIMES


def test_attributes_that_are_out_of_reach_are_left_out(
    root: Path, tree: TreeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(target: xattr.Target, name: str, *_: object, **__: object) -> None:
        raise PermissionError(1, "not permitted", name)

    xattr.set(str(root), "user.old", b"1")
    monkeypatch.setattr(xattr, "remove", refuse)
    fd = os.open(root, os.O_RDONLY)
    set_metadata(fd, looks(DIR, 0o755), exact=True)
    os.close(fd)
    assert xattr.names(str(root)) == ["user.old"]


def test_the_defect_of_early_times(root: Path) -> None:
    """A directory has its metadata before its entries, which change its time."""
    fd = os.open(root, os.O_PATH)
    with TreeWriter(fd, defect="early-times") as tree:
        tree.directory("d", looks(DIR, 0o711))
        assert state(root / "d") == (DIR | 0o711, *ME, TIMES)
        tree.file("f", looks(REG, 0o644), nothing)
        tree.finish()
    os.close(fd)
    assert state(root / "d")[:3] == (DIR | 0o711, *ME) and state(root / "d")[3] != TIMES


@pytest.mark.needs("owners")
@pytest.mark.parametrize(("defect", "mode"), [("", 0o6755), ("owner-last", 0o755)])
def test_the_defect_of_an_owner_that_comes_last(root: Path, defect: str, mode: int) -> None:
    """It takes set-id bits away."""
    fd = os.open(root, os.O_PATH)
    with TreeWriter(fd, defect=defect) as tree:
        tree.special("e", Metadata(FIFO | 0o6755, 11, 22, TIMES))
    os.close(fd)
    assert state(root / "e") == (FIFO | mode, 11, 22, TIMES)


@pytest.mark.needs("owners")
def test_an_entry_restated(root: Path, tree: TreeWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner comes before the mode here as well."""
    tree.file("f", looks(REG, 0o644), nothing)
    tree.special("s", looks(LNK, 0o777), "nowhere")
    for name, ids, mode in (("f", (11, 22), 0o4711), ("f", (11, 33), 0o4711), ("s", (1, 2), 0o600)):
        tree.restate(name, Metadata(REG | mode, *ids))
        found = (root / name).lstat()
        assert (found.st_uid, found.st_gid) == ids
        assert stat.S_IMODE(found.st_mode) == (0o777 if name == "s" else mode)
    tree.restate("f", Metadata(REG | 0o711, 11, 33))
    monkeypatch.setattr(os, "chmod", None)
    tree.restate("f", Metadata(REG | 0o711, 44, 33))  # The mode stays.
    monkeypatch.setattr(owner, "chown", None)
    tree.restate("f", Metadata(REG | 0o711, 44, 33))  # Nothing to do.


@pytest.mark.parametrize(
    ("defect", "expected"), [("", ["d/e", "d", "/"]), ("early-times", ["/", "d", "d/e"])]
)
def test_what_is_refused_is_named(
    root: Path, defect: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Directories by their paths: they are left somewhere else than they are made."""
    named: list[str] = []
    monkeypatch.setattr(owner, "fchown", lambda fd, uid, gid, name, owners: named.append(name))
    fd = os.open(root, os.O_PATH)
    with TreeWriter(fd, defect=defect) as tree:
        tree.describe(looks(DIR, 0o755))
        tree.directory("d", looks(DIR, 0o755))
        tree.directory("e", looks(DIR, 0o755))
        tree.finish()
    os.close(fd)
    assert named == expected
