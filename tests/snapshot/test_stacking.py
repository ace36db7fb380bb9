"""Merges that are stacks of layers: when, what they cost, and how deep they may be."""

import os
import time

import pytest

from minibuild.snapshot.api import Diff, Strategy
from minibuild.snapshot.merge import MAX_STACK
from tests.snapshot.world import (
    Edit,
    World,
    chain,
    chmod,
    mkdir,
    move,
    names,
    remove,
    utime,
    write,
)


def test_stack_touches_no_file(stack: World) -> None:
    merged = stack.merged(*[stack.layer(None, write(f"d/{n}")) for n in range(5)])
    assert merged.report.strategy is Strategy.STACK
    assert names(stack, merged) == []
    assert len(stack.paths(merged.snapshot)) == 6


def test_stack_of_a_step_that_lies_on_the_same_layers_again(stack: World) -> None:
    a, b = stack.layer(None, write("a")), stack.layer(None, write("b"))
    root = stack.merge(a, b)
    step = stack.layer(root, remove("a"))
    merged = stack.merged(a, b, Diff(root, step), stack.layer(None, write("c")))
    assert merged.report.strategy is Strategy.STACK
    assert stack.paths(merged.snapshot) == ["b", "c"]


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (remove("f"), ["d", "d/other", "x"]),
        (lambda root: (remove("d")(root), mkdir("d")(root)), ["d", "d/other", "f", "x"]),
        (lambda root: (move("f", "t")(root), move("t", "f")(root)), ["d", "d/other", "f", "x"]),
        (lambda root: (chmod("d", 0o700)(root), chmod("d", 0o755)(root)), None),
    ],
    ids=["whiteout", "opaque", "unchanged file", "unchanged directory"],
)
def test_stack_is_not_used_where_a_layer_would_mean_something_else(
    stack: World, edit: Edit, expected: list[str] | None
) -> None:
    low = stack.layer(None, write("d/f"), write("f", "low"))
    up = stack.layer(low, edit, write("x"))
    other = stack.layer(None, write("f", "other"), write("d/other"), chmod("d", 0o711))
    merged = stack.merged(other, Diff(low, up))
    assert merged.report.strategy is Strategy.HARDLINK
    assert f"snapshot {up} hides files" in merged.report.reason
    tree = stack.read(merged.snapshot)
    if expected is None:
        assert tree["d"].mode == 0o711
    else:
        assert [path for path in sorted(tree) if path] == expected
    if "f" in tree:
        assert stack.text(merged.snapshot, "f") == "other"


def test_what_is_known_of_a_layer_on_one_base_is_not_believed_of_another(world: World) -> None:
    c = world.layer(None, write("f", "same"), utime("f", 1), write("g"))
    a = world.layer(None, write("a"))
    x = world.layer(None, write("f", "same"), utime("f", 1), write("x"))
    y = world.layer(None, write("f", "of y"))
    assert world.text(world.merge(y, Diff(a, world.merge(a, c))), "f") == "same"
    merged = world.merge(y, Diff(x, world.merge(x, c)))  # x has the same f: that is no change.
    assert world.paths(merged) == ["f", "g"] and world.text(merged, "f") == "of y"


def test_stack_of_a_step_that_only_adds(stack: World) -> None:
    low = stack.layer(None, write("f"))
    up = stack.layer(low, write("new"), write("d/new"))
    merged = stack.merged(stack.layer(None, write("other")), Diff(low, up))
    assert merged.report.strategy is Strategy.STACK
    assert stack.paths(merged.snapshot) == ["d", "d/new", "new", "other"]


def test_stack_of_several_layers_of_one_diff_only_where_they_were_made(stack: World) -> None:
    a, b = stack.layer(None, write("a")), stack.layer(None, write("b"))
    root = stack.merge(a, b)
    steps = stack.layer(stack.layer(root, write("new")), write("newer"))
    again = stack.merged(a, b, Diff(root, steps))
    assert again.report.strategy is Strategy.STACK
    assert stack.paths(again.snapshot) == ["a", "b", "new", "newer"]
    elsewhere = stack.merged(stack.layer(None, write("x")), Diff(root, steps))
    assert elsewhere.report.strategy is Strategy.HARDLINK
    assert "2 layers of one diff" in elsewhere.report.reason
    assert stack.paths(elsewhere.snapshot) == ["new", "newer", "x"]


def test_stack_skips_layers_that_hold_nothing(stack: World) -> None:
    base = stack.layer(None, write("f"), lambda root: os.chmod(root, 0o711))
    merged = stack.merged(base, stack.layer(None), stack.layer(None, write("x")))
    assert merged.report.strategy is Strategy.STACK
    assert len(stack.snapshots.layers(merged.snapshot)) == 2


def test_stack_too_deep_is_linked(stack: World) -> None:
    base = stack.layer(None, write("base"))
    layers = [stack.layer(None, write(f"f{n}")) for n in range(MAX_STACK)]
    merged = stack.merged(base, *layers)
    assert merged.report.strategy is Strategy.HARDLINK and "too deep" in merged.report.reason
    assert len(stack.paths(merged.snapshot)) == MAX_STACK + 1


def test_stack_with_a_layer_that_comes_twice_is_linked(stack: World) -> None:
    a, b = stack.layer(None, write("f", "a")), stack.layer(None, write("f", "b"))
    merged = stack.merged(a, b, a)
    assert "twice" in merged.report.reason
    assert stack.text(merged.snapshot, "f") == "a"


def test_stack_on_a_diff_of_trees_that_are_no_neighbours_is_linked(stack: World) -> None:
    a, b = stack.layer(None, write("a")), stack.layer(None, write("b"))
    merged = stack.merged(stack.layer(None, write("x")), Diff(a, b))
    assert "was not made on" in merged.report.reason
    assert stack.paths(merged.snapshot) == ["b", "x"]


def test_stack_costs_nothing_for_each_file(stack: World) -> None:
    layers = []
    for n in range(40):
        active = stack.snapshots.prepare(None)
        for m in range(50):
            open(f"{stack.snapshots.layer_dir(active)}/f{n}-{m}", "x").close()
        stack.snapshots.commit(active)
        layers.append(active)
    started = time.thread_time()
    merged = stack.merged(*layers)
    assert merged.report.strategy is Strategy.STACK
    assert time.thread_time() - started < 0.2  # 2 ms on a quiet machine
    assert len(stack.paths(merged.snapshot)) == 2000


@pytest.mark.parametrize("length", [130, 450])
def test_many_layers_fit_in_one_page(stack: World, length: int) -> None:
    # Numbers as they are in a store that has been in use for years.
    stack.store.db.execute("UPDATE sqlite_sequence SET seq = 1000000 WHERE name = 'snapshots'")
    stack.store.db.execute(
        "INSERT OR IGNORE INTO sqlite_sequence (name, seq) SELECT 'snapshots', 1000000"
        " WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'snapshots')"
    )
    top = chain(stack, length)[-1]
    active = stack.snapshots.prepare(top)
    for snapshot, readonly in ((active, False), (top, True)):
        mount = stack.snapshots.mount(snapshot, readonly=readonly)
        assert mount.is_overlay
        assert len(mount.data) < 4096
        for directory in filter(None, (*mount.lower, mount.upper, mount.work)):
            assert os.path.isdir(f"{mount.folder}/{directory}")
        with stack.snapshots.tree(snapshot, readonly=readonly) as fd:
            assert len(os.listdir(fd)) == length


def test_what_stands_on_more_layers_than_the_kernel_takes_has_them_as_one(stack: World) -> None:
    made = chain(stack, 500)
    child = stack.layer(made[-1], write("new"), remove("f3"))
    assert len(stack.snapshots.layers(child)) == 2
    assert stack.snapshots.table.requires(child) == {stack.snapshots.table.parent(child)}
    assert stack.changes(made[-1], child) == ["modify .", "delete f3", "add new"]
    assert len(stack.paths(child)) == 500
    again = stack.layer(child, write("newer"))  # From here on there is room again.
    assert stack.snapshots.table.parent(again) == child
    for snapshot in reversed(made):  # Its files are links: it needs none of them.
        stack.snapshots.remove(snapshot)
    assert len(stack.paths(again)) == 501


def test_a_merge_on_as_many_layers_as_there_may_be_links_those_too(
    hardlink: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(hardlink.snapshots), "max_layers", 4)
    made = chain(hardlink, 4)
    diffs = [Diff(low, up) for low, up in zip([None, *made[:-1]], made, strict=True)]
    merged = hardlink.merged(*diffs, hardlink.layer(None, write("f1", "other"), write("x")))
    assert (merged.report.layers, merged.report.linked) == (1, 6)
    assert hardlink.paths(merged.snapshot) == ["f0", "f1", "f2", "f3", "x"]
    assert hardlink.text(merged.snapshot, "f1") == "other"
