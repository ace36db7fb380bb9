"""What the snapshotter of containers that may not mount does besides the rest: it puts whole trees
together, takes what is written to one into a layer, and marks what is gone by files of its own."""

import os
import shutil
import stat
from collections.abc import Callable, Mapping

import pytest

from minibuild.lab.model import plain
from minibuild.lab.trees import read_tree
from minibuild.snapshot import whiteout
from minibuild.snapshot.api import Mount, SnapshotID
from minibuild.snapshot.select import open_snapshotter
from minibuild.snapshot.stacked import StackedSnapshotter
from minibuild.store.layout import Store
from tests.support.descriptors import open_descriptors, opened_since

pytestmark = pytest.mark.needs("root")


@pytest.fixture
def snapshots(store: Store) -> StackedSnapshotter:
    opened = open_snapshotter(store, "stacked")
    assert isinstance(opened, StackedSnapshotter)
    return opened


def _write(root: str, path: str, text: str) -> None:
    """As this program does: a new file takes the place of another."""
    os.makedirs(os.path.dirname(f"{root}/{path}"), exist_ok=True)
    with open(f"{root}/{path}.new", "x") as file:
        file.write(text)
    os.rename(f"{root}/{path}.new", f"{root}/{path}")


def _layer(
    snapshots: StackedSnapshotter, parent: SnapshotID | None, edit: Callable[[str], object]
) -> SnapshotID:
    active = snapshots.prepare(parent)
    with snapshots.tree(active, readonly=False) as fd:
        edit(f"/proc/self/fd/{fd}")
    snapshots.commit(active)
    return active


def _base(root: str) -> None:
    for path in ("d/a", "d/b", "e/f/g", "h"):
        _write(root, path, path)


EDITS: Mapping[str, tuple[Callable[[str], object], set[str]]] = {
    "nothing": (lambda root: None, set()),
    "a new file": (lambda root: _write(root, "d/new", "new"), {"d", "d/new"}),
    "a file replaced": (lambda root: _write(root, "h", "other"), {"h"}),
    "a file removed": (lambda root: os.unlink(f"{root}/d/a"), {"d", "d/a"}),
    "a directory removed": (lambda root: shutil.rmtree(f"{root}/e"), {"e"}),
    "a directory made again": (
        lambda root: (shutil.rmtree(f"{root}/e"), _write(root, "e/new", "new")),
        {"e", "e/f", "e/new"},
    ),
    "a file for a directory": (
        lambda root: (shutil.rmtree(f"{root}/e"), _write(root, "e", "a file")),
        {"e"},
    ),
    "a directory for a file": (
        lambda root: (os.unlink(f"{root}/h"), _write(root, "h/in", "in")),
        {"h", "h/in"},
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_what_is_written_to_a_tree_is_in_its_layer(
    snapshots: StackedSnapshotter, name: str
) -> None:
    edit, wanted = EDITS[name]
    base = _layer(snapshots, None, _base)
    with snapshots.tree(base) as fd:
        before = plain(read_tree(f"/proc/self/fd/{fd}"))
    made = _layer(snapshots, base, edit)
    layer = snapshots.layer_dir(made)
    found = {
        os.path.relpath(f"{where}/{one}", layer)
        for where, folders, files in os.walk(layer)
        for one in (*folders, *files)
    }
    assert found == wanted
    with snapshots.tree(made) as fd:
        written = plain(read_tree(f"/proc/self/fd/{fd}"))
    # Put together once more, from the layers alone.
    shutil.rmtree(f"{snapshots.folder}/{made}/whole")
    with snapshots.tree(made) as fd:
        assert plain(read_tree(f"/proc/self/fd/{fd}")) == written
    with snapshots.tree(base) as fd:
        assert plain(read_tree(f"/proc/self/fd/{fd}")) == before


def test_a_mark_is_none_in_a_tree_or_on_top_of_another(snapshots: StackedSnapshotter) -> None:
    base = _layer(snapshots, None, _base)
    gone = _layer(snapshots, base, lambda root: os.unlink(f"{root}/d/a"))
    fd, before = os.open(snapshots.layer_dir(gone), os.O_RDONLY), open_descriptors()
    try:
        found = {
            path: whiteout.is_one(fd, path, "marked") for path in ("d/a", "d", "d/b", "nowhere/d")
        }
        assert found == {"d/a": True, "d": False, "d/b": False, "nowhere/d": False}
        whiteout.make(fd, "d/new", "marked")
        assert whiteout.is_one(fd, "d/new", "marked") and not opened_since(before)
        os.unlink("d/new", dir_fd=fd)
    finally:
        os.close(fd)
    again = _layer(snapshots, gone, lambda root: _write(root, "d/a", "again"))
    with snapshots.tree(gone) as fd:
        assert sorted(os.listdir(f"/proc/self/fd/{fd}/d")) == ["b"]
        assert os.listxattr(f"/proc/self/fd/{fd}/d") == []
    with snapshots.tree(again) as fd, open(f"/proc/self/fd/{fd}/d/a") as file:
        assert file.read() == "again"


def test_half_a_tree_is_made_again(snapshots: StackedSnapshotter) -> None:
    base = _layer(snapshots, None, _base)
    made = _layer(snapshots, base, lambda root: _write(root, "h", "other"))
    home = f"{snapshots.folder}/{made}"
    os.rename(f"{home}/whole", f"{home}/whole.new")  # As a process leaves it that is killed.
    shutil.rmtree(f"{home}/whole.new/d")
    with snapshots.tree(made) as fd:
        assert sorted(os.listdir(fd)) == ["d", "e", "h"]


def test_what_is_mounted(snapshots: StackedSnapshotter) -> None:
    """To read, the whole tree; to write, the layers, of which an executor makes one. What was put
    together before is about to change then."""
    base = _layer(snapshots, None, _base)
    middle = _layer(snapshots, base, lambda root: _write(root, "new", "new"))
    active = snapshots.prepare(middle)
    read = snapshots.mount(active, readonly=True)
    assert read == Mount((f"{snapshots.folder}/{active}/whole",))
    assert sorted(os.listdir(read.lower[0])) == ["d", "e", "h", "new"]
    written = snapshots.mount(active, readonly=False)
    lower = (f"{middle}/fs", f"{base}/fs")
    assert written == Mount(lower, f"{active}/fs", folder=snapshots.folder)
    assert written.upperdir == snapshots.layer_dir(active)
    assert not os.path.exists(read.lower[0])
    assert snapshots.mount(active, readonly=False) == written


def test_a_whole_tree_has_the_root_of_the_topmost_layer(snapshots: StackedSnapshotter) -> None:
    """Also if there is nothing in it, and whatever the umask is."""
    base = _layer(snapshots, None, lambda root: None)
    active = snapshots.prepare(base)
    os.utime(snapshots.layer_dir(active), ns=(1, 2))
    before = os.umask(0o077)
    try:
        with snapshots.tree(active) as fd:
            found = os.fstat(fd)
    finally:
        os.umask(before)
    assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (0o755, 2)


def test_the_native_snapshotter_takes_none_of_its_snapshots(
    store: Store, snapshots: StackedSnapshotter
) -> None:
    """A container may get files of its owner, and then steps do not get its root any more."""
    made = _layer(snapshots, None, _base)
    assert snapshots.intact(made) and not open_snapshotter(store, "native").intact(made)
