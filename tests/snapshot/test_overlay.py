"""What overlayfs is asked to mount, without mounting it."""

import os
import stat
from pathlib import Path

import pytest

from minibuild.errors import StoreError
from minibuild.snapshot import entry
from minibuild.snapshot import mount as mounting
from minibuild.snapshot import overlay as module
from minibuild.snapshot.api import Mount, SnapshotID
from minibuild.snapshot.overlay import OverlaySnapshotter
from minibuild.store.layout import Store
from tests.support.descriptors import open_descriptors, opened_since

OPTIONS = ("index=off", "metacopy=off", "redirect_dir=nofollow", "uuid=off", "xino=off")


@pytest.fixture
def snapshots(store: Store) -> OverlaySnapshotter:
    return OverlaySnapshotter(store, user_namespace=False)


def layer(snapshots: OverlaySnapshotter, parent: SnapshotID | None, name: str) -> SnapshotID:
    """A committed snapshot with one file more. It is written below any mount."""
    made = snapshots.prepare(parent)
    Path(snapshots.layer_dir(made), name).write_text(name)
    snapshots.commit(made)
    return made


def test_one_layer_is_bound(snapshots: OverlaySnapshotter) -> None:
    active = snapshots.prepare(None)
    fs = snapshots.layer_dir(active)
    assert snapshots.mount(active, readonly=True) == Mount((fs,))
    assert snapshots.mount(active, readonly=False) == Mount((), fs)


@pytest.mark.parametrize(("user_namespace", "more"), [(False, ()), (True, ("userxattr",))])
def test_several_layers_are_an_overlay(
    store: Store, user_namespace: bool, more: tuple[str, ...]
) -> None:
    """The topmost layer is written to, or is one of the lower ones, which come topmost first."""
    snapshots = OverlaySnapshotter(store, user_namespace=user_namespace)
    one = layer(snapshots, None, "one")
    two = layer(snapshots, one, "two")
    active = snapshots.prepare(two)
    top, lower, options = f"{active}/fs", (f"{two}/fs", f"{one}/fs"), (*OPTIONS, *more)
    written = snapshots.mount(active, readonly=False)
    assert written == Mount(lower, top, f"{active}/work", (*options, "volatile"), snapshots.folder)
    assert written.data == ",".join(
        (
            *(f"lowerdir={two}/fs:{one}/fs", f"upperdir={top}", f"workdir={active}/work"),
            *(*options, "volatile"),
        )
    )
    assert written.layers == tuple(f"{snapshots.folder}/{path}" for path in (top, *lower))
    read = snapshots.mount(active, readonly=True)
    assert read == Mount((top, *lower), options=options, folder=snapshots.folder)
    assert read.layers == written.layers and not read.upperdir


@pytest.mark.parametrize("depth", [1, 2])
def test_what_is_committed_is_not_written(snapshots: OverlaySnapshotter, depth: int) -> None:
    snapshot: SnapshotID | None = None
    for name in range(depth):
        snapshot = layer(snapshots, snapshot, str(name))
    assert snapshot is not None
    refused = f"snapshot {snapshot} is committed and cannot be written"
    with pytest.raises(StoreError, match=refused):
        snapshots.mount(snapshot, readonly=False)
    with pytest.raises(StoreError, match=refused), snapshots.tree(snapshot, readonly=False):
        pass


@pytest.mark.parametrize("readonly", [False, True])
def test_a_layer_is_mounted_once_the_step_that_wrote_it_is_unmounted(
    snapshots: OverlaySnapshotter, readonly: bool
) -> None:
    one = layer(snapshots, None, "one")
    active = snapshots.prepare(one)
    fd = os.open(snapshots.layer_dir(one), os.O_PATH)
    snapshots.unmounts.add(snapshots.layer_dir(one), fd)
    snapshots.mount(active, readonly=readonly)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_the_tree_of_one_layer_is_its_directory(snapshots: OverlaySnapshotter) -> None:
    one = layer(snapshots, None, "one")
    before = open_descriptors()
    with snapshots.tree(one) as fd:
        assert os.listdir(fd) == ["one"]
    assert not opened_since(before)


def marked(snapshots: OverlaySnapshotter, active: SnapshotID) -> Path:
    """What a volatile mount leaves in the workdir (fs/overlayfs/super.c)."""
    marker = Path(snapshots.folder, str(active), "work", "work", "incompat", "volatile")
    marker.mkdir(parents=True)
    (marker / "dirty").touch()
    return marker


def test_a_second_mount_is_allowed(snapshots: OverlaySnapshotter) -> None:
    """The marker of the first one, which forbids it, goes. To read needs no workdir."""
    active = snapshots.prepare(layer(snapshots, None, "one"))
    marker = marked(snapshots, active)
    snapshots.mount(active, readonly=True)
    assert marker.exists()
    before = open_descriptors()
    snapshots.mount(active, readonly=False)
    assert not marker.exists() and marker.parent.exists()
    assert not opened_since(before)


@pytest.mark.parametrize("left", ["nothing", "what is known", "more", "a step's own"])
def test_a_snapshot_has_no_workdir_once_it_is_committed(
    snapshots: OverlaySnapshotter, left: str
) -> None:
    active = snapshots.prepare(layer(snapshots, None, "one"))
    work = Path(snapshots.folder, str(active), "work")
    assert work.is_dir()
    if left in ("what is known", "more"):
        marked(snapshots, active)
    if left in ("more", "a step's own"):
        (work / "work").mkdir(exist_ok=True)
        (work / "work" / "#1").write_text("the kernel was copying it up")
    before = open_descriptors()
    snapshots.commit(active)
    assert not work.exists() and not snapshots.table.is_active(active)
    assert not opened_since(before)


def test_more_layers_than_overlayfs_takes(
    snapshots: OverlaySnapshotter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is prepared on so many stands on one with all their files."""
    monkeypatch.setattr(OverlaySnapshotter, "max_layers", 3)
    one = layer(snapshots, None, "one")
    two = layer(snapshots, one, "two")
    three = snapshots.prepare(two)
    assert snapshots.layers(three) == (one, two, three)
    snapshots.commit(three)
    active = snapshots.prepare(three)
    flat, top = snapshots.layers(active)
    assert top == active and flat not in (one, two, three)
    assert sorted(os.listdir(snapshots.layer_dir(flat))) == ["one", "two"]


def test_more_lower_layers_than_a_page_has_room_for(
    snapshots: OverlaySnapshotter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They get short names, in a folder of the snapshot, from which all paths go."""
    one = layer(snapshots, None, "one")
    two = layer(snapshots, one, "two")
    active = snapshots.prepare(two)
    length = len(f"{two}/fs:{one}/fs:")
    monkeypatch.setattr(module, "_MAX_LOWERDIR_BYTES", length + 1)
    mount = snapshots.mount(active, readonly=False)
    assert mount.folder == snapshots.folder
    monkeypatch.setattr(module, "_MAX_LOWERDIR_BYTES", length)
    for _ in range(2):  # The names of an earlier mount are there, and right.
        mount = snapshots.mount(active, readonly=False)
        assert mount.folder == f"{snapshots.folder}/{active}/l"
        assert mount[:3] == (("0", "1"), "../fs", "../work")
    assert [os.listdir(f"{mount.folder}/{name}") for name in "01"] == [["two"], ["one"]]
    assert stat.S_IMODE(os.stat(mount.folder).st_mode) == 0o700


@pytest.mark.parametrize(("user_namespace", "whiteouts"), [(False, "trusted"), (True, "user")])
def test_how_deletions_are_marked(store: Store, user_namespace: bool, whiteouts: str) -> None:
    assert OverlaySnapshotter(store, user_namespace=user_namespace).whiteouts == whiteouts


def test_a_new_layer_looks_like_the_one_below(snapshots: OverlaySnapshotter) -> None:
    """The mount shows the root of the topmost layer. The workdir is for this account alone."""
    one = layer(snapshots, None, "one")
    os.chmod(snapshots.layer_dir(one), 0o1751)
    old = os.umask(0)
    try:
        active = snapshots.prepare(one)
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(snapshots.layer_dir(active)).st_mode) == 0o1751
    assert stat.S_IMODE(os.stat(f"{snapshots.folder}/{active}/work").st_mode) == 0o700


def test_a_layer_that_cannot_be_made_is_removed(
    snapshots: OverlaySnapshotter, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = layer(snapshots, None, "one")

    def fails(*_: object) -> None:
        raise OSError(28, "full")

    monkeypatch.setattr(entry, "inherit_root", fails)
    with pytest.raises(OSError, match="full"):
        snapshots.prepare(one)
    assert os.listdir(snapshots.folder) == [str(one)]
    snapshots.remove(one)  # Nothing stands on it.


@pytest.mark.parametrize("readonly", [False, True])
def test_the_mark_of_a_mount_is_removed_with_it(
    snapshots: OverlaySnapshotter, readonly: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a mount for writing leaves one."""
    active = snapshots.prepare(layer(snapshots, None, "one"))

    def mounted(overlay: Mount) -> int:
        assert overlay.upper == ("" if readonly else f"{active}/fs")
        marked(snapshots, active)
        return os.open(snapshots.folder, os.O_RDONLY)

    monkeypatch.setattr(mounting, "open_overlay", mounted)
    before = open_descriptors()
    with snapshots.tree(active, readonly=readonly):
        marker = Path(snapshots.folder, str(active), "work", "work", "incompat", "volatile")
        assert marker.exists()
    assert marker.exists() == readonly
    assert not opened_since(before)


def test_prepared_on_what_is_still_written(snapshots: OverlaySnapshotter) -> None:
    """It lies on its parent, and gets the looks of its root when that has its last."""
    parent = snapshots.prepare(layer(snapshots, None, "base"))
    early = snapshots.prepare_early(parent)
    assert early is not None
    assert snapshots.layers(early) == (*snapshots.layers(parent), early)
    with pytest.raises(StoreError, match="in use"):
        snapshots.remove(parent)
    os.chmod(snapshots.layer_dir(parent), 0o711)
    snapshots.settle(early)
    assert stat.S_IMODE(os.stat(snapshots.layer_dir(early)).st_mode) == 0o711
    snapshots.commit(parent)
    snapshots.commit(early)
    assert snapshots.intact(early)


def test_nothing_is_prepared_on_what_another_process_writes(snapshots: OverlaySnapshotter) -> None:
    parent = snapshots.prepare(None)
    snapshots.store.db.execute("UPDATE snapshots SET owner = 'other' WHERE id = ?", (parent,))
    with pytest.raises(StoreError, match="not committed"):
        snapshots.prepare_early(parent)


def test_nothing_is_prepared_on_too_many_layers(
    snapshots: OverlaySnapshotter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OverlaySnapshotter, "max_layers", 2)
    parent = snapshots.prepare(layer(snapshots, None, "base"))
    assert snapshots.prepare_early(parent) is None
