"""Watching a merge: what is told of each path, over every backend."""

import os
from typing import Any

import pytest

from minibuild.snapshot import apply
from minibuild.snapshot.api import Diff, Kind, SnapshotID
from minibuild.snapshot.trace import Fate, MergeTrace, trace_diff, trace_merge
from tests.snapshot.world import World, mkdir, remove, symlink, write


def trace(world: World, *diffs: Diff | SnapshotID) -> tuple[MergeTrace, dict[str, Fate]]:
    """The trace of a merge, and its fates by path. Nothing may be left of it."""
    before = sorted(os.listdir(world.snapshots.folder))
    listed = [d if isinstance(d, Diff) else Diff(None, d) for d in diffs]
    found = trace_merge(world.snapshots, listed)
    assert sorted(os.listdir(world.snapshots.folder)) == before
    return found, {fate.path: fate for fate in found.fates}


def actions(fate: Fate) -> list[tuple[int, str]]:
    """What each diff did."""
    return [(act.diff, act.action) for act in fate.acts]


def test_who_wins_and_who_loses(world: World) -> None:
    diffs = [world.layer(None, write("f", str(n)), write(f"d/{n}")) for n in range(3)]
    found, fates = trace(world, *diffs)
    assert found.below == 1
    assert (fates["f"].winner, fates["f"].losers, fates["f"].conflict) == (2, (0, 1), True)
    assert fates["f"].acts[-1].action == "linked" and fates["f"].links == 2
    layer = world.snapshots.layer_dir(diffs[2])
    assert fates["f"].inode == os.lstat(f"{layer}/f").st_ino
    assert not fates["d"].conflict and fates["d"].winner == 2  # directories unite
    assert [fates[f"d/{n}"].winner for n in range(3)] == [0, 1, 2]


def test_whiteouts_that_are_needed_and_that_are_not(overlay: World) -> None:
    low = overlay.layer(None, write("one"), write("two"), write("three"))
    up = overlay.layer(low, remove("one"), remove("two"), remove("three"))
    base, other = overlay.layer(None, write("two")), overlay.layer(None, write("three"))
    found, fates = trace(overlay, base, other, Diff(low, up))
    assert found.below == 1
    assert actions(fates["one"]) == [(2, "skipped")] and fates["one"].inode == 0
    assert actions(fates["two"]) == [(0, "below"), (2, "whiteout")]
    assert fates["two"].gone and fates["two"].losers == (0,) and fates["two"].links >= 1
    assert actions(fates["three"]) == [(1, "linked"), (2, "removed")]
    assert fates["three"].gone and (fates["three"].inode, fates["three"].links) == (0, 0)


def test_on_the_native_snapshotter_the_parent_is_linked_too(store_worlds: dict[str, World]) -> None:
    world = store_worlds["native"]
    low = world.layer(None, write("one"), write("two"))
    up = world.layer(low, remove("two"), write("new"))
    found, fates = trace(world, low, Diff(low, up), world.layer(None, write("other")))
    assert found.below == 2
    assert actions(fates["one"]) == [(0, "linked")] and fates["one"].links > 1
    assert actions(fates["new"]) == [(1, "linked")]
    assert actions(fates["two"]) == [(0, "below"), (1, "below")] and fates["two"].gone
    assert actions(fates["other"]) == [(2, "linked")]


def test_copies_say_why(world: World) -> None:
    one = world.layer(None, lambda root: os.mkfifo(f"{root}/fifo"), write("f"))
    _, fates = trace(world, world.layer(None, write("x")), one)
    (act,) = fates["fifo"].acts
    assert act.action == "copied" and "fifo" in act.reason
    assert actions(fates["f"]) == [(1, "linked")]


def test_what_goes_with_a_directory(world: World) -> None:
    low = world.layer(None, write("d/e/f"), write("d/g"))
    link, again = world.layer(None, symlink("d", "x")), world.layer(None, write("d/e/new"))
    _, fates = trace(world, low, link, again)
    assert fates["d"].winner == 2 and fates["d"].losers == (0, 1) and fates["d"].conflict
    for path in ("d/e/f", "d/g"):
        assert fates[path].gone and fates[path].winner == 1
        assert fates[path].acts[-1].action == "gone with its directory"
    assert not fates["d/e"].gone and not fates["d/e/new"].gone


def test_an_opaque_directory(overlay: World) -> None:
    base = overlay.layer(None, write("d/old"))
    gone = overlay.layer(base, remove("d"))
    _, fates = trace(overlay, base, overlay.layer(None, write("x")), Diff(base, gone),
                     overlay.layer(None, write("d/new")))  # fmt: skip
    assert actions(fates["d"]) == [(0, "below"), (2, "whiteout"), (3, "opaque")]
    assert fates["d/old"].gone and not fates["d/new"].gone


def test_a_chain_is_read_and_nothing_is_done(overlay: World) -> None:
    low = overlay.layer(None, write("a"))
    up = overlay.layer(low, write("b"), remove("a"))
    found, fates = trace(overlay, low, Diff(low, low), Diff(low, up))
    assert found.below == 2 and found.report.linked == 0
    assert fates["a"].gone and (fates["a"].winner, fates["b"].winner) == (2, 2)
    assert up in overlay.snapshots.table.committed()
    assert trace(overlay)[1] == {}


def test_one_diff_on_its_own_tree(world: World) -> None:
    """Of the tree that it is put on nothing is said. What was made for it is gone again."""
    base = world.layer(None, write("d/a"), write("d/b"))
    up = world.layer(base, write("d/c"), remove("d/b"))
    before = sorted(os.listdir(world.snapshots.folder))
    acts = trace_diff(world.snapshots, Diff(base, up))
    assert [(act.path, act.kind is Kind.DELETE) for act in acts] == [
        ("d", False),
        ("d/b", True),
        ("d/c", False),
    ]
    assert {act.diff for act in acts} == {0}
    assert trace_diff(world.snapshots, Diff(up, up)) == []
    assert [act.path for act in trace_diff(world.snapshots, Diff(None, base))] == [
        "d",
        "d/a",
        "d/b",
    ]
    assert sorted(os.listdir(world.snapshots.folder)) == before


def test_every_path_of_the_tree_has_a_fate(world: World) -> None:
    a = world.layer(None, write("d/a"), mkdir("e"), write("f"))
    b = world.layer(a, remove("f"), write("d/b"))
    c = world.layer(None, write("e/c"))
    _, fates = trace(world, c, a, Diff(a, b))
    alive = sorted(path for path, fate in fates.items() if not fate.gone)
    assert alive == world.paths(world.merge(c, a, Diff(a, b)))
    assert fates["f"].gone


def test_a_merge_that_nobody_watches_keeps_no_record(
    hardlink: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(*_: Any) -> None:
        raise AssertionError("a record for nobody")

    monkeypatch.setattr(apply, "Applied", made)
    low = hardlink.layer(None, write("f"), write("g"))
    hardlink.merge(
        hardlink.layer(None, write("x")), low, Diff(low, hardlink.layer(low, remove("f")))
    )
