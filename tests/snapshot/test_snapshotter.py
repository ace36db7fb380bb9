"""What all snapshotters have in common: where snapshots lie, whether they are there, their size."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from minibuild.snapshot import usage
from minibuild.snapshot.api import SnapshotID, Usage
from tests.snapshot.world import World, write


@pytest.mark.parametrize("umask", [0, 0o077])
def test_only_the_account_of_the_store_enters_the_home_of_a_snapshot(
    world: World, umask: int
) -> None:
    """The tree itself is open to all, as the root of an image is, whatever the umask says."""
    before = os.umask(umask)
    try:
        made = world.snapshots.prepare(None)
    finally:
        os.umask(before)
    modes = [
        stat.S_IMODE(os.lstat(f"{world.snapshots.folder}/{made}{d}").st_mode) for d in ("", "/fs")
    ]
    assert modes == [0o700, 0o755]


@pytest.mark.parametrize("gone", [0, 1])
def test_whether_a_snapshot_is_there(world: World, gone: int) -> None:
    """With all that its tree lies on, be it a row of the database or a directory."""
    base = world.layer(None, write("f"))
    made = base, world.layer(base, write("g"))
    snapshots = world.snapshots
    assert snapshots.intact(SnapshotID(made[1] + 1)) is False
    home = f"{snapshots.folder}/{made[gone]}"
    os.rename(home, f"{home}.moved")
    there = made[0] not in snapshots.layers(made[1])  # a copy needs no base
    assert snapshots.intact(made[0]) is (gone == 1)
    assert snapshots.intact(made[1]) is (gone == 0 and there)
    os.rename(f"{home}.moved", home)
    assert snapshots.intact(made[0]) and snapshots.intact(made[1])
    shutil.rmtree(home)
    assert snapshots.intact(made[gone])  # it was seen once, and a build does not look again
    if gone == 1:
        os.mkdir(home)  # what is removed
        snapshots.remove(made[1])
        assert snapshots.intact(made[1]) is False


def test_what_is_removed_is_unmounted(world: World) -> None:
    """Its files take room until then."""
    made = world.layer(None, write("f"))
    fd = os.open(world.snapshots.layer_dir(made), os.O_PATH)
    world.snapshots.unmounts.add(world.snapshots.layer_dir(made), fd)
    world.snapshots.remove(made)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_snapshot_shares_no_file_with_its_parent(world: World) -> None:
    """What a step writes to is its own: a copy, or copied up by overlayfs."""
    base = world.layer(None, write("d/f", "text"))
    active = world.snapshots.prepare(base)
    copy = os.path.join(world.snapshots.layer_dir(active), "d/f")
    assert os.path.exists(copy) == (world.snapshots.max_layers == 1)
    if os.path.exists(copy):
        assert os.lstat(copy).st_nlink == 1
    world.snapshots.commit(active)
    assert world.text(active, "d/f") == "text"


@pytest.mark.parametrize("recorded", [False, True])
def test_where_the_records_of_owners_are(world: World, recorded: bool) -> None:
    """Beside the layers, topmost first: those of nothing are none."""
    base = world.layer(None, write("f"))
    made, snapshots = world.layer(base, write("g")), world.snapshots
    snapshots.records_owners = recorded
    for snapshot in (None, base, made):
        owners, layers = snapshots.owners(snapshot), snapshots.layers(snapshot)
        if recorded:
            assert owners is not None
            homes = [os.path.dirname(snapshots.layer_dir(one)) for one in reversed(layers)]
            assert [os.path.dirname(table) for table in owners.tables] == homes
        else:
            assert owners is None


def test_the_size_of_a_snapshot_is_found_once(
    hardlink: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But that of a merge changes with the links of its files."""
    layer = hardlink.layer(None, write("d/f", "x" * 5000))
    merged = hardlink.merge(layer, hardlink.layer(None, write("g")))
    found = hardlink.snapshots.usage(layer), hardlink.snapshots.usage(merged)
    assert found[0].size_bytes >= 5000 and found[0].inodes >= 3
    asked: list[str] = []

    def counted(path: str, *, shares: bool) -> Usage:
        asked.append(path)
        assert shares
        return found[1]

    monkeypatch.setattr(usage, "usage_of", counted)
    assert (hardlink.snapshots.usage(layer), hardlink.snapshots.usage(merged)) == found
    assert asked == [hardlink.snapshots.layer_dir(merged)]


def test_an_inode_counts_once_and_a_shared_one_elsewhere(tmp_path: Path) -> None:
    """Nothing is followed. What also has a name outside belongs to another snapshot, if there may
    be such."""
    tree = tmp_path / "tree"
    (tree / "d/e").mkdir(parents=True)
    for name, size in (("f", 5000), ("d/twice", 9000), ("d/e/shared", 70_000), ("three", 1)):
        (tree / name).write_bytes(b"x" * size)
    os.link(tree / "d/twice", tree / "d/e/twice")
    os.link(tree / "d/e/shared", tmp_path / "outside")
    for name in ("d/three", "d/e/three"):
        os.link(tree / "three", tree / name)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/big").write_bytes(bytes(100_000))
    (tree / "to-folder").symlink_to(tmp_path / "elsewhere")
    (tree / "to-file").symlink_to(tmp_path / "elsewhere/big")
    inside = [tree, *(tree / n for n in "d d/e f d/twice three to-folder to-file".split())]
    own = sum(os.lstat(path).st_blocks for path in inside) * 512
    shared = os.lstat(tree / "d/e/shared").st_blocks * 512
    assert usage.usage_of(str(tree), shares=True) == Usage(own, 8)
    assert usage.usage_of(str(tree), shares=False) == Usage(own + shared, 9)
