"""How a merge is put on disk: rules 45 to 50 and 68 of the table in `docs/merge.md`, by number."""

import errno
import os
import stat
from typing import Any

import pytest

from minibuild.errors import MAKE_ROOM, StoreError, lack
from minibuild.linux import xattr
from minibuild.snapshot import apply
from minibuild.snapshot import mount as mounting
from minibuild.snapshot.api import Diff, MergePolicy, Strategy
from tests.snapshot.world import World, chain, mounts_in, names, remove, write


def test_c4_45_the_longest_chain_becomes_the_parent(hardlink: World) -> None:
    a = hardlink.layer(None, write("a"))
    b = hardlink.layer(a, write("b"))
    other = hardlink.layer(None, write("c"))
    merged = hardlink.merged(a, Diff(a, b), other)
    assert hardlink.snapshots.table.parent(merged.snapshot) == b
    assert names(hardlink, merged) == ["c"]


def test_c4_45_native_starts_from_nothing_and_links_all(store_worlds: dict[str, World]) -> None:
    world = store_worlds["native"]
    merged = world.merged(world.layer(None, write("a")), world.layer(None, write("b")))
    assert names(world, merged) == ["a", "b"]
    assert merged.report.linked == 2 and merged.report.copied == 0


def test_c4_46_a_whiteout_only_for_what_is_below(hardlink: World) -> None:
    low = hardlink.layer(None, write("d/one"), write("f"))
    up = hardlink.layer(low, remove("d/one"), remove("f"))
    base = hardlink.layer(None, write("f"), write("d", "a file"))  # d/one: ENOTDIR below
    merged = hardlink.merged(base, Diff(low, up))
    layer = hardlink.snapshots.layer_dir(merged.snapshot)
    assert stat.S_ISCHR(os.lstat(f"{layer}/f").st_mode)
    assert os.listdir(f"{layer}/d") == []
    assert hardlink.paths(merged.snapshot) == ["d"]


def test_c4_46_a_deletion_takes_away_what_this_merge_has_put(hardlink: World) -> None:
    base = hardlink.layer(None, write("base"))
    one = hardlink.layer(None, write("f"), write("d/f"))
    up = hardlink.layer(one, remove("f"), remove("d"))
    assert names(hardlink, hardlink.merged(base, one, Diff(one, up))) == []


def test_c4_46_no_whiteout_in_a_directory_that_hides_all_below(hardlink: World) -> None:
    base = hardlink.layer(None, write("d/f"))
    gone = hardlink.layer(base, remove("d"))
    again = hardlink.layer(None, write("d/g"))
    with_f = hardlink.layer(None, write("d/f"))
    without_f = hardlink.layer(with_f, remove("d/f"))
    merged = hardlink.merged(Diff(base, gone), again, Diff(with_f, without_f), parent=base)
    merged = hardlink.merged(base, hardlink.layer(None, write("x")), Diff(base, gone), again,
                             Diff(with_f, without_f))  # fmt: skip
    layer = hardlink.snapshots.layer_dir(merged.snapshot)
    assert os.listdir(f"{layer}/d") == ["g"]
    assert hardlink.paths(merged.snapshot) == ["d", "d/g", "x"]


def test_c4_47_the_layer_is_written_without_a_mount(
    hardlink: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, one = hardlink.layer(None, write("x")), hardlink.layer(None, write("f"))

    def refuse(_: object) -> int:
        raise AssertionError("mounted")

    monkeypatch.setattr(mounting, "open_overlay", refuse)
    hardlink.merge(base, one)


def test_c4_48_opaque_is_marked_in_the_namespace_that_the_mount_reads(hardlink: World) -> None:
    base = hardlink.layer(None, write("d/f"))
    gone = hardlink.layer(base, remove("d"))
    again = hardlink.layer(None, write("d/g"))
    x = hardlink.layer(None, write("x"))
    merged = hardlink.merge(base, x, Diff(base, gone), again)
    made, opaque = f"{hardlink.snapshots.layer_dir(merged)}/d", hardlink.snapshots.whiteouts
    assert xattr.names(made) == [f"{opaque}.overlay.opaque"]
    assert xattr.get(made, f"{opaque}.overlay.opaque") == b"y"


def test_c4_49_neighbours_are_compared_by_the_upperdir(
    overlay: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    low = overlay.layer(
        None, *[write(f"d/f{n}") for n in range(50)], *[write(f"g{n}") for n in range(50)]
    )
    up = overlay.layer(low, write("d/new"), remove("g1"))
    looked_at: list[str] = []
    real = os.scandir

    def note(path: str) -> object:
        looked_at.append(path)
        return real(path)

    monkeypatch.setattr(os, "scandir", note)
    assert overlay.changes(low, up) == ["modify .", "modify d", "add d/new", "delete g1"]
    assert all(f"/{up}/fs" in path for path in looked_at)


def test_c4_49_unrelated_trees_are_walked_twice(world: World) -> None:
    a = world.layer(None, write("d/both", "x"), write("d/a"), write("e/a"))
    b = world.layer(None, write("d/both", "y"), write("d/b"), write("f/b"))
    assert world.changes(a, b) == [
        "modify .",
        "modify d",
        "delete d/a",
        "add d/b",
        "modify d/both",
        "delete e",
        "add f",
        "add f/b",
    ]


def test_c4_50_a_merge_is_committed(world: World) -> None:
    merged = world.merged(world.layer(None, write("a")), world.layer(None, write("b"))).snapshot
    assert merged in world.snapshots.table.committed()
    with pytest.raises(StoreError):
        world.snapshots.commit(merged)
    with pytest.raises(StoreError), world.snapshots.tree(merged, readonly=False):
        pass


def test_c4_50_a_failure_part_way_leaves_nothing(
    hardlink: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = hardlink.layer(None, write("x"))
    one = hardlink.layer(None, *[write(f"f{n}") for n in range(5)])
    before = (hardlink.in_folder(), hardlink.snapshots.table.committed())
    real = apply.Applier._put

    def fail(self: apply.Applier, parent: Any, name: str, *rest: Any) -> None:
        if name == "f3":
            raise KeyboardInterrupt
        real(self, parent, name, *rest)

    monkeypatch.setattr(apply.Applier, "_put", fail)
    with pytest.raises(KeyboardInterrupt):
        hardlink.merge(base, one)
    assert (
        sorted(os.listdir(hardlink.snapshots.folder)),
        hardlink.snapshots.table.committed(),
    ) == before
    assert os.listdir(hardlink.store.path("ingest")) == []


@pytest.mark.parametrize("call", ["link", "mkdir", "mknod"])
def test_c4_50_a_full_disk_is_told_and_nothing_is_left(
    world: World, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    low = world.layer(None, write("d/f"), lambda root: os.mkfifo(f"{root}/d/fifo"))
    base = world.layer(None, write("x"))
    before = (world.in_folder(), world.snapshots.table.committed())
    real = getattr(os, call)

    def refuse(path: str, *rest: object, **where: object) -> None:
        if "dir_fd" in where or "dst_dir_fd" in where:  # The store's own folders are made by path.
            raise OSError(errno.ENOSPC, "No space left on device", path)
        real(path, *rest, **where)

    monkeypatch.setattr(os, call, refuse)
    diffs = [Diff(None, base), Diff(None, low), Diff(base, low)]
    with pytest.raises((OSError, StoreError)) as caught:
        world.snapshots.merge(diffs, MergePolicy(Strategy.HARDLINK))
    told = lack(caught.value) or caught.value
    assert isinstance(told, StoreError) and told.hint == MAKE_ROOM
    monkeypatch.undo()
    assert (world.in_folder(), world.snapshots.table.committed()) == before
    assert os.listdir(world.store.path("ingest")) == []


def test_c6_68_linked_inodes_count_once(store_worlds: dict[str, World]) -> None:
    for name in ("overlay-hardlink", "native"):
        world = store_worlds[name]
        inputs = [world.layer(None, write(f"foo/{n}", "text" * 3000)) for n in range(3)]
        merged = world.merge(*inputs)
        usage = world.snapshots.usage(merged)
        assert usage.inodes == 2
        layer = world.snapshots.layer_dir(merged)
        assert usage.size_bytes == 512 * sum(os.stat(p).st_blocks for p in (layer, f"{layer}/foo"))
        assert [world.snapshots.usage(one).inodes for one in inputs] == [3, 3, 3]
        assert world.snapshots.usage(merged) == usage


# Stacking ----------------------------------------------------------------------------------------


def test_an_active_snapshot_can_be_mounted_again_and_again(stack: World) -> None:
    base = stack.layer(None, write("f"))
    active = stack.snapshots.prepare(base)
    for n in range(3):
        with stack.snapshots.tree(active, readonly=False) as fd:
            os.mkdir(f"d{n}", dir_fd=fd)
            workdir = os.path.join(stack.snapshots.folder, str(active), "work")
            marker = os.path.join(workdir, "work", "incompat", "volatile")
            assert os.path.isdir(marker)
        assert not os.path.exists(marker)
        with stack.snapshots.tree(active) as fd:
            assert f"d{n}" in os.listdir(fd)
    stack.snapshots.commit(active)
    assert sorted(os.listdir(f"{stack.snapshots.folder}/{active}")) == ["fs"]


def test_a_tree_is_mounted_in_no_directory_and_can_only_be_read(stack: World) -> None:
    top = chain(stack, 3)[-1]
    with stack.snapshots.tree(top) as fd:
        assert mounts_in(stack) == []
        with pytest.raises(OSError) as caught:
            os.mkdir("x", dir_fd=fd)
        assert caught.value.errno == errno.EROFS
