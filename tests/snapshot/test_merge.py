"""How a merge is put on disk, and why: decided from the layers, with nothing mounted."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from minibuild.errors import StoreError
from minibuild.snapshot import merge as module
from minibuild.snapshot.api import Diff, Merged, MergePolicy, MergeReport, SnapshotID, Strategy
from minibuild.snapshot.merge import can_stand_on, flattened, view_of
from minibuild.snapshot.native import NativeSnapshotter
from minibuild.snapshot.overlay import OverlaySnapshotter
from minibuild.store.layout import Store
from tests.snapshot.layers import Spec, make, shown

HARDLINK = MergePolicy(Strategy.HARDLINK)
NEWS = "no layer hides files"


class Bench:
    """Snapshots, made below any mount."""

    def __init__(self, store: Store) -> None:
        self.snapshots = OverlaySnapshotter(store, user_namespace=True)

    def layer(self, parent: SnapshotID | None, spec: Spec) -> SnapshotID:
        """A committed one."""
        made = self.snapshots.prepare(parent)
        make(Path(self.snapshots.layer_dir(made)), spec)
        self.snapshots.commit(made)
        return made

    def merge(self, *diffs: Diff, policy: MergePolicy = MergePolicy()) -> Merged:  # noqa: B008
        return self.snapshots.merge(diffs, policy)

    def tree(self, snapshot: SnapshotID) -> dict[str, str]:
        return shown(view_of(self.snapshots, snapshot))


@pytest.fixture
def bench(store: Store) -> Bench:
    return Bench(store)


def test_a_chain_is_there_already(bench: Bench) -> None:
    """Also what is asked to be linked, and with diffs of nothing in between."""
    one = bench.layer(None, {"a": "a"})
    two = bench.layer(one, {"b": "b"})
    report = MergeReport(Strategy.STACK, "already one chain", 2, 0, 0)
    diffs = [Diff(None, one), Diff(one, one), Diff(one, two)]
    assert bench.merge(*diffs) == Merged(two, report)
    assert bench.merge(*diffs, policy=HARDLINK) == Merged(two, report)
    assert bench.merge(Diff(None, two)) == Merged(two, report)
    assert len(os.listdir(bench.snapshots.folder)) == 2


def test_layers_of_nothing_are_stacked(bench: Bench) -> None:
    one, two = bench.layer(None, {"a": "1", "d/x": "x"}), bench.layer(None, {"a": "2", "d/y": "y"})
    merged, report = bench.merge(Diff(None, one), Diff(None, two))
    assert report == MergeReport(Strategy.STACK, NEWS, 2, 0, 0)
    assert bench.snapshots.layers(merged) == (one, two)
    assert bench.tree(merged) == {"a": "2", "d": "/", "d/x": "x", "d/y": "y"}
    assert not bench.snapshots.table.is_active(merged)


def test_a_part_of_a_chain_on_a_parent(bench: Bench) -> None:
    """It need not begin with nothing."""
    one = bench.layer(None, {"a": "a"})
    two = bench.layer(one, {"b": "b"})
    report = MergeReport(Strategy.STACK, "already one chain", 2, 0, 0)
    assert bench.snapshots.merge([Diff(one, two)], parent=one) == Merged(two, report)


OBSTACLES: dict[str, tuple[list[Spec], str]] = {
    "whiteout": ([{"a": "a"}, {"a": "gone"}], "hides files, and would hide others on this base"),
    "whiteout below": ([{"d/a": "a"}, {"d/a": "gone", "n": "n"}], "hides files"),
    "opaque": ([{"d/a": "a"}, {"d": "opaque"}], "hides files"),
    "no news": ([{"a": "a"}, {"a": "a", "n": "n"}], "hides files"),
    "two layers": ([{"a": "a"}, {"b": "b"}, {"c": "c"}], "is 2 layers of one diff"),
}


@pytest.mark.parametrize("name", OBSTACLES)
@pytest.mark.parametrize("again", [False, True])
def test_what_cannot_be_stacked(bench: Bench, name: str, again: bool) -> None:
    """The second time it is remembered, and the answer is the same."""
    specs, reason = OBSTACLES[name]
    chain: list[SnapshotID] = []
    for spec in specs:
        chain.append(bench.layer(chain[-1] if chain else None, spec))
    for path in ("a", "n", "d/a"):  # Equal times, where the file is to be the same.
        for snapshot in chain:
            target = Path(bench.snapshots.layer_dir(snapshot), path)
            if target.is_file():
                os.utime(target, ns=(1, 1))
    other = bench.layer(None, {"a": "other", "d/b": "b"})
    diffs = [Diff(None, other), Diff(chain[0], chain[-1])]
    if again:
        bench.merge(*diffs)
    merged, report = bench.merge(*diffs)
    assert report.strategy is Strategy.HARDLINK and reason in report.reason
    assert bench.snapshots.layers(merged) == (other, merged)
    assert "d/b" in bench.tree(merged)


@pytest.mark.parametrize("again", [False, True])
def test_news_are_stacked_on_another_base(bench: Bench, again: bool) -> None:
    base = bench.layer(None, {"a": "a", "d/x": "x"})
    up = bench.layer(base, {"n": "n", "d/y": "y", "a": "changed"})
    other = bench.layer(None, {"o": "o"})
    diffs = [Diff(None, other), Diff(base, up)]
    if again:
        bench.merge(*diffs)
        assert bench.snapshots.table.portable(up) is True
    merged, report = bench.merge(*diffs)
    assert report == MergeReport(Strategy.STACK, NEWS, 2, 0, 0)
    assert bench.tree(merged) == {"o": "o", "a": "changed", "n": "n", "d": "/", "d/y": "y"}


def test_several_layers_of_nothing_are_stacked_on_another_base(bench: Bench) -> None:
    """Also where one repeats what another has, as a copy that is done again may."""
    one = bench.layer(None, {"a": "1", "d/x": "x", "e/f": "f", "same": "s"})
    two = bench.layer(one, {"a": "2", "d/y": "y", "e": "/", "same": "s"})
    os.utime(Path(bench.snapshots.layer_dir(one), "same"), ns=(1, 1))
    os.utime(Path(bench.snapshots.layer_dir(two), "same"), ns=(1, 1))
    other = bench.layer(None, {"a": "other", "o": "o"})
    merged, report = bench.merge(Diff(None, other), Diff(None, two))
    assert report == MergeReport(Strategy.STACK, NEWS, 3, 0, 0)
    own = {"a": "2", "d": "/", "d/x": "x", "d/y": "y", "e": "/", "e/f": "f", "same": "s"}
    assert bench.tree(merged) == {**own, "o": "o"}


@pytest.mark.parametrize(
    ("spec", "left"),
    [
        ({"a": "gone"}, {"a": "other", "b": "1", "d": "/", "d/o": "o", "d/x": "x"}),
        ({"d": "opaque"}, {"a": "1", "b": "1", "d": "/", "d/o": "o"}),
        ({"b/n": "n"}, {"a": "1", "b": "/", "b/n": "n", "d": "/", "d/o": "o", "d/x": "x"}),
    ],
)
def test_several_layers_of_nothing_that_hide_files_are_linked(
    bench: Bench, spec: Spec, left: dict[str, str]
) -> None:
    one = bench.layer(None, {"a": "1", "b": "1", "d/x": "x"})
    two = bench.layer(one, spec)
    other = bench.layer(None, {"a": "other", "d/o": "o"})
    merged, report = bench.merge(Diff(None, other), Diff(None, two))
    assert report.strategy is Strategy.HARDLINK and "hides files" in report.reason
    assert bench.tree(merged) == left


def test_what_is_remembered_is_not_looked_at_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = bench.layer(None, {"a": "a"})
    up, other = bench.layer(base, {"n": "n"}), bench.layer(None, {"o": "o"})
    diffs = [Diff(None, other), Diff(base, up)]
    bench.merge(*diffs)
    monkeypatch.setattr(module, "_all_is_news", None)
    assert bench.merge(*diffs).report.strategy is Strategy.STACK
    bench.snapshots.table.set_portable(up, False)
    assert bench.merge(*diffs).report.strategy is Strategy.HARDLINK


def test_a_layer_in_another_stack_is_looked_at_there(bench: Bench) -> None:
    """What is remembered of a layer is true where it was made."""
    base = bench.layer(None, {"a": "a"})
    up = bench.layer(base, {"a": "a2"})
    other, third = bench.layer(None, {"o": "o"}), bench.layer(None, {"t": "t"})
    stacked = bench.merge(Diff(None, other), Diff(base, up)).snapshot
    bench.snapshots.table.set_portable(up, False)
    # Here `up` is on `other`, and all of it is news there.
    merged, report = bench.merge(Diff(None, third), Diff(other, stacked))
    assert report.strategy is Strategy.STACK
    assert bench.tree(merged) == {"t": "t", "a": "a2"}
    assert bench.snapshots.table.portable(up) is False


def test_a_diff_of_nothing_adds_no_layer(bench: Bench) -> None:
    """Its root directory would be seen in place of the base's."""
    base = bench.layer(None, {"a": "a"})
    same, other = bench.layer(base, {}), bench.layer(None, {"o": "o"})
    merged, report = bench.merge(Diff(None, other), Diff(base, same), Diff(None, base))
    assert bench.snapshots.layers(merged) == (other, base)
    assert report.strategy is Strategy.STACK


def test_the_same_layers_again_fit(bench: Bench) -> None:
    """On what it was made a layer may hide what it likes."""
    base = bench.layer(None, {"a": "a"})
    gone = bench.layer(base, {"a": "gone"})
    other = bench.layer(None, {"o": "o"})
    merged, report = bench.merge(Diff(None, base), Diff(base, gone), Diff(None, other))
    assert report.strategy is Strategy.STACK
    assert bench.snapshots.layers(merged) == (base, gone, other)
    assert bench.tree(merged) == {"o": "o"}


def test_other_obstacles(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = (bench.layer(None, {name: name}) for name in "abc")
    diffs = [Diff(None, one), Diff(None, two)]
    assert bench.merge(*diffs, Diff(None, one)).report.reason == "a layer comes twice"
    report = bench.merge(Diff(None, two), Diff(three, one)).report
    assert report.reason == f"snapshot {one} was not made on snapshot {three}"
    monkeypatch.setattr(module, "MAX_STACK", 2)
    assert bench.merge(*diffs).report.strategy is Strategy.STACK
    report = bench.merge(*diffs, Diff(None, three)).report
    assert (report.strategy, report.reason) == (Strategy.HARDLINK, "3 layers are too deep")


def test_linked_if_asked_for(bench: Bench) -> None:
    """The report says how many files were linked, and copied."""
    one, two = bench.layer(None, {"a": "a", "b": "b"}), bench.layer(None, {"c": "c", "p": "|"})
    os.chmod(bench.snapshots.layer_dir(one), 0o711)
    merged, report = bench.merge(Diff(None, one), Diff(None, two), policy=HARDLINK)
    assert report == MergeReport(Strategy.HARDLINK, "asked for", 2, 1, 1)
    assert bench.snapshots.layers(merged) == (one, merged)
    assert bench.tree(merged) == {"a": "a", "b": "b", "c": "c", "p": "|"}
    assert bench.snapshots.table.usage(merged)[2]  # It shares inodes.
    assert not bench.snapshots.table.is_active(merged)


def test_a_merge_that_changes_nothing_looks_like_its_parent(bench: Bench) -> None:
    """The root of the new layer is what a mount shows."""
    base = bench.layer(None, {"a": "a"})
    same, other = bench.layer(base, {}), bench.layer(None, {"o": "o"})
    os.chmod(bench.snapshots.layer_dir(other), 0o711)
    merged, _ = bench.merge(Diff(None, other), Diff(base, same), policy=HARDLINK)
    assert bench.snapshots.layers(merged) == (other, merged)
    assert stat.S_IMODE(os.stat(bench.snapshots.layer_dir(merged)).st_mode) == 0o711


def test_nothing_is_merged_from_nothing(bench: Bench) -> None:
    assert bench.tree(bench.merge(policy=HARDLINK).snapshot) == {}


def test_no_layers_no_stack(store: Store) -> None:
    snapshots = NativeSnapshotter(store)
    made = []
    for name in "ab":
        made.append(snapshots.prepare(None))
        make(Path(snapshots.layer_dir(made[-1])), {name: name})
        snapshots.commit(made[-1])
    merged, report = snapshots.merge([Diff(None, snapshot) for snapshot in made])
    assert report.reason == "the native snapshotter has no layers to stack"
    assert (report.strategy, report.layers, report.linked) == (Strategy.HARDLINK, 1, 2)
    assert sorted(os.listdir(snapshots.layer_dir(merged))) == ["a", "b"]


def test_a_parent_with_too_many_layers_is_linked_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = bench.layer(None, {"a": "a"})
    two = bench.layer(one, {"b": "b"})
    other = bench.layer(None, {"o": "o"})
    monkeypatch.setattr(OverlaySnapshotter, "max_layers", 3)
    assert can_stand_on(bench.snapshots, two)
    monkeypatch.setattr(OverlaySnapshotter, "max_layers", 2)
    assert not can_stand_on(bench.snapshots, two) and can_stand_on(bench.snapshots, one)
    merged, report = bench.merge(Diff(None, two), Diff(None, other), policy=HARDLINK)
    assert bench.snapshots.layers(merged) == (merged,)
    assert report == MergeReport(Strategy.HARDLINK, "asked for", 1, 3, 0)
    flat = flattened(bench.snapshots, two)
    assert bench.snapshots.layers(flat) == (flat,)
    assert bench.tree(flat) == {"a": "a", "b": "b"}


def failing(*_: object) -> None:
    raise StoreError("it failed")


@pytest.mark.parametrize("way", ["stacked", "linked"])
def test_a_failure_leaves_nothing(bench: Bench, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`failed` is called while the layer is still there."""
    one, two = bench.layer(None, {"a": "a"}), bench.layer(None, {"b": "b"})
    seen: list[bool] = []
    looks: Callable[[str], None] = lambda layer: seen.append(os.path.isdir(layer))  # noqa: E731
    strategy = Strategy.AUTO if way == "stacked" else Strategy.HARDLINK
    before = sorted(os.listdir(bench.snapshots.folder))
    monkeypatch.setattr(bench.snapshots, "commit", failing)
    with pytest.raises(StoreError, match="it failed"):
        bench.merge(Diff(None, one), Diff(None, two), policy=MergePolicy(strategy, failed=looks))
    assert sorted(os.listdir(bench.snapshots.folder)) == before
    assert seen == ([True] if way == "linked" else [])
    assert set(bench.snapshots.table.committed()) == {one, two}
