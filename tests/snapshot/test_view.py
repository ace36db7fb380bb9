"""Layers merged in memory follow the rules by which overlayfs merges them."""

import os
import stat
from pathlib import Path

import pytest

from minibuild.linux import xattr
from minibuild.snapshot.api import Kind
from minibuild.snapshot.diff import changes
from minibuild.snapshot.view import WHITEOUT, View
from tests.snapshot.world import World, mkdir, remove, write


def tree(view: View) -> list[str]:
    """All paths of a view."""
    found, pending = [], [("", view.dirs)]
    while pending:
        path, dirs = pending.pop()
        for name, node in view.names_in(dirs, len(dirs)).items():
            if node.type == WHITEOUT:
                continue
            inner = f"{path}/{name}" if path else name
            found.append(inner)
            assert view.find(inner) == node
            if node.type == stat.S_IFDIR:
                pending.append((inner, node.dirs))
    return sorted(found)


def layers(tmp_path: Path, *made: dict[str, str]) -> View:
    """Layers given lowest first: a path with its text, or `opaque`, `x` or `gone`."""
    dirs: list[str] = []
    for number, files in enumerate(made):
        layer = tmp_path / str(number)
        layer.mkdir(parents=True)
        dirs.insert(0, str(layer))
        for path, text in files.items():
            target = layer / path
            if text in ("opaque", "x"):
                target.mkdir(parents=True, exist_ok=True)
                xattr.set(str(target), "user.overlay.opaque", b"y" if text == "opaque" else b"x")
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if text == "gone":
                os.mknod(target, stat.S_IFCHR, 0)
                continue
            target.write_text("" if text == "gone file" else text)
            if text == "gone file":
                xattr.set(str(target), "user.overlay.whiteout", b"")
    return View(dirs, "user")


def test_the_topmost_layer_decides(tmp_path: Path) -> None:
    view = layers(tmp_path, {"d/a": "0", "f": "0"}, {"d/b": "1", "f": "1"}, {"d/a": "2"})
    assert tree(view) == ["d", "d/a", "d/b", "f"]
    for path, layer in (("d/a", 2), ("d/b", 1), ("f", 1)):
        node = view.find(path)
        assert node is not None and node.path == f"{tmp_path}/{layer}/{path}"


def test_whiteouts_and_opaque_directories_hide(tmp_path: Path) -> None:
    view = layers(
        tmp_path,
        {"d/a": "", "e/a": "", "f": "", "g/h/i": ""},
        {"d": "opaque", "d/b": "", "f": "gone", "e/a": "gone", "g": "gone"},
        {"e/c": "", "g/new": ""},
    )
    assert tree(view) == ["d", "d/b", "e", "e/c", "g", "g/new"]
    assert view.find("f") is None and view.find("d/a") is None and view.find("g/h") is None


def test_a_file_between_directories_ends_the_merge(tmp_path: Path) -> None:
    view = layers(tmp_path, {"d/a": ""}, {"d": "file"}, {"d/b": ""})
    assert tree(view) == ["d", "d/b"]


def test_whiteouts_that_are_files(tmp_path: Path) -> None:
    """Since Linux 6.7: empty files with an attribute, in a directory marked x."""
    view = layers(
        tmp_path,
        {"d/a": "old", "d/b": "old", "e/a": "old"},
        {"d": "x", "d/a": "gone file", "e/a": "gone file", "d/c": ""},
    )
    assert tree(view) == ["d", "d/b", "d/c", "e", "e/a"]
    assert view.find("d/a") is None and view.find("e/a") is not None
    below = View(view.dirs[1:], "user")
    kinds = {d.path: d.kind for d in changes(below, view)}
    assert kinds["d/a"] is Kind.DELETE and kinds["e/a"] is Kind.MODIFY


def test_changes_where_there_is_nothing_to_change(tmp_path: Path) -> None:
    """Equal layers have none, and a whiteout deletes nothing where nothing is."""
    view = layers(tmp_path, {"d/a": ""}, {"gone": "gone", "d/gone": "gone", "d/new": ""})
    below = View(view.dirs[1:], "user")
    assert list(changes(view, view)) == []
    assert list(changes(below, below)) == []
    found = [(d.kind, d.path) for d in changes(below, view)]
    assert found == [(Kind.MODIFY, ""), (Kind.MODIFY, "d"), (Kind.ADD, "d/new")]


def test_paths_that_lead_to_the_root(tmp_path: Path) -> None:
    """Empty parts of a path mean nothing, and without layers there is nothing to find."""
    view = layers(tmp_path, {"d/a": ""}, {"d/b": ""})
    root, found = view.find(""), view.find("/d//b")
    assert root is not None and (root.path, root.dirs) == (str(tmp_path / "1"), view.dirs)
    assert found is not None and found.path == f"{tmp_path}/1/d/b"
    nothing = View([], "user")
    assert nothing.find("d/a") is None
    root = nothing.find("")
    assert root is not None and (root.path, root.dirs) == ("", ())


def test_a_file_whiteout_is_empty(tmp_path: Path) -> None:
    """One that has contents is a file, whatever attribute it has."""
    view = layers(tmp_path, {"d/a": "old", "d/b": "old"}, {"d": "x", "d/a": "new", "d/b": ""})
    xattr.set(str(tmp_path / "1/d/a"), "user.overlay.whiteout", b"")
    found = view.names_in((f"{tmp_path}/1/d", f"{tmp_path}/0/d"), 1)
    assert {name: node.type for name, node in found.items()} == {
        "a": stat.S_IFREG,
        "b": stat.S_IFREG,
    }
    for name in "ab":
        node = view.find(f"d/{name}")
        assert node is not None and node.path == f"{tmp_path}/1/d/{name}"


def test_types(tmp_path: Path) -> None:
    """Of all but whiteouts they are those of their modes; the inode tells hardlinks."""
    view = layers(tmp_path, {"file": "", "dir/in": ""})
    os.symlink("file", tmp_path / "0/symlink")
    os.symlink("dir", tmp_path / "0/to-dir")
    os.mkfifo(tmp_path / "0/fifo")
    os.mknod(tmp_path / "0/socket", 0o600 | stat.S_IFSOCK)
    found = view.names_in(view.dirs, 1)
    assert {name: node.type for name, node in found.items()} == {
        "file": stat.S_IFREG, "dir": stat.S_IFDIR, "symlink": stat.S_IFLNK,
        "to-dir": stat.S_IFLNK, "fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK,
    }  # fmt: skip
    for name, node in found.items():
        assert node == view.find(name) and node.inode == os.lstat(tmp_path / "0" / name).st_ino


def test_changes_of_the_root_and_of_types(tmp_path: Path) -> None:
    """What is of another type is one change, with all that is in a new directory."""
    view = layers(tmp_path, {"a": "", "b/in": ""}, {"a/new": "", "b": ""})
    below = View(view.dirs[1:], "user")
    found = [(d.kind, d.path, d.type) for d in changes(below, view)]
    assert found == [
        (Kind.MODIFY, "", stat.S_IFDIR),
        (Kind.MODIFY, "a", stat.S_IFDIR),
        (Kind.ADD, "a/new", stat.S_IFREG),
        (Kind.MODIFY, "b", stat.S_IFREG),
    ]
    same = layers(tmp_path / "other", {"f": ""}, {})
    assert list(changes(View(same.dirs[1:], "user"), same)) == []
    os.chmod(same.dirs[0], 0o700)
    found = [(d.kind, d.path, d.type) for d in changes(View(same.dirs[1:], "user"), same)]
    assert found == [(Kind.MODIFY, "", stat.S_IFDIR)]


def test_changes_between_neighbours(tmp_path: Path) -> None:
    """Two trees on one layer: what either has above it, each seen with the layer below."""
    view = layers(
        tmp_path,
        {"f": "0", "g": "0", "same": "0"},
        {"a": "1", "f": "1"},
        {"b": "2", "g": "2"},
    )
    two, one, zero = view.dirs
    found = list(changes(View([one, zero], "user"), View([two, zero], "user")))
    assert [(d.kind, d.path, d.source) for d in found] == [
        (Kind.MODIFY, "", two),
        (Kind.DELETE, "a", ""),
        (Kind.ADD, "b", f"{two}/b"),
        (Kind.MODIFY, "f", f"{zero}/f"),
        (Kind.MODIFY, "g", f"{two}/g"),
    ]
    assert all(d.inode == os.lstat(d.source).st_ino for d in found if d.source)


def test_changes_where_a_layer_lies_on_different_ones(tmp_path: Path) -> None:
    """What is only in that one is the same on both sides."""
    view = layers(tmp_path, {"f": ""}, {"new": "", "e/f": ""}, {"d/a": "", "e/g": ""})
    top, _, zero = view.dirs
    found = [(d.kind, d.path) for d in changes(View([top, zero], "user"), view)]
    assert found == [(Kind.MODIFY, ""), (Kind.MODIFY, "e"), (Kind.ADD, "e/f"), (Kind.ADD, "new")]


@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_a_change_of_a_directory_alone(tmp_path: Path, mode: int) -> None:
    view = layers(tmp_path, {"d/a": ""}, {"d": "x"})
    for layer, other in (("0", 0o755), ("1", mode)):
        (tmp_path / layer / "d").chmod(other)
    found = [(d.kind, d.path) for d in changes(View(view.dirs[1:], "user"), view)]
    assert found == ([(Kind.MODIFY, ""), (Kind.MODIFY, "d")] if mode == 0o700 else [])


@pytest.mark.needs("owners")
@pytest.mark.parametrize(
    ("mode", "owner", "changed"),
    [(0o755, (0, 0), False), (0o756, (0, 0), True), (0o755, (1, 0), True), (0o755, (0, 1), True)],
)
def test_the_root_of_what_stands_on_nothing(
    tmp_path: Path, mode: int, owner: tuple[int, int], changed: bool
) -> None:
    """It is a change if it is not the root that a new snapshot has."""
    root = tmp_path / "root"
    root.mkdir()
    root.chmod(mode)
    os.chown(root, *owner)
    found = list(changes(View([], "user"), View([str(root)], "user")))
    assert [d.path for d in found] == ([""] if changed else [])


def test_a_full_copy_has_no_whiteouts(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    xattr.set(str(tmp_path / "d"), "user.overlay.opaque", b"y")
    view = View([str(tmp_path)], "plain")
    assert tree(view) == ["d"] and not view.is_opaque(str(tmp_path / "d"))


@pytest.mark.parametrize("lowest", [False, True])
@pytest.mark.parametrize(("mark", "gone"), [(b"x", True), (b"y", True), (b"", False)])
def test_marks_of_our_own(tmp_path: Path, mark: bytes, gone: bool, lowest: bool) -> None:
    """A file with one is a whiteout in any directory that is marked: also in one that became opaque
    later, and where nothing lies below."""
    for layer in ("top", "below"):
        (tmp_path / layer / "d").mkdir(parents=True)
        (tmp_path / layer / "d/a").touch()
    xattr.set(str(tmp_path / "top/d/a"), f"{xattr.LAYER}whiteout", b"y")
    if mark:
        xattr.set(str(tmp_path / "top/d"), f"{xattr.LAYER}opaque", mark)
    view = View([str(tmp_path / layer) for layer in ("top", "below")[: 2 - lowest]], "marked")
    found = view.names_in(tuple(f"{directory}/d" for directory in view.dirs), 1)
    assert found["a"].type == (WHITEOUT if gone else stat.S_IFREG)
    assert (view.find("d/a") is None) == gone
    assert view.may_hide(f"{tmp_path}/top/d") is bool(mark)


@pytest.mark.parametrize("depth", [2, 5])
def test_a_view_is_what_the_mount_shows(overlay: World, depth: int) -> None:
    snapshot = overlay.layer(None, write("a/b/c"), write("x"), write("gone/in"))
    for number in range(depth):
        snapshot = overlay.layer(
            snapshot,
            write(f"a/{number}"),
            remove("a/b") if number % 2 else mkdir("a/b"),
            mkdir("a/b"),
            write(f"a/b/{number}"),
            *([remove("gone")] if number == 1 else []),
        )
    dirs = [overlay.snapshots.layer_dir(n) for n in reversed(overlay.snapshots.layers(snapshot))]
    assert tree(View(dirs, overlay.snapshots.whiteouts)) == overlay.paths(snapshot)
