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
    assert not snapshots.intact(SnapshotID(made[1] + 1))
    home = f"{snapshots.folder}/{made[gone]}"
    os.rename(home, f"{home}.moved")
    there = made[0] not in snapshots.layers(made[1])  # a copy needs no base
    assert snapshots.intact(made[0]) is (gone == 1)
    assert snapshots.intact(made[1]) is (gone == 0 and there)
    os.rename(f"{home}.moved", home)
    assert snapshots.intact(made[0]) and snapshots.intact(made[1])
    shutil.rmtree(home)
    assert snapshots.intact(made[gone])  # it was seen once, and a build does not look again


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
