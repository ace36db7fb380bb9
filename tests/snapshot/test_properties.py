"""Random trees, chains and merges: the disk against the model, and the laws of both.

`--hypothesis-profile=deep` runs 10,000 scenarios on each backend. In half of them files are not
given to other owners, but these are recorded (`linux.recorded`), and so are modes that an ordinary
account could not write with.
"""

import os
from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minibuild.cache.layers import LayerStore
from minibuild.lab import model
from minibuild.lab.model import EMPTY, ModelFile, ModelTree
from minibuild.linux import modes as linux_modes
from minibuild.oci.content import ContentStore
from minibuild.snapshot.api import Diff, MergePolicy, SnapshotID, Strategy
from tests.snapshot.scenarios import SECOND, Layer, Made, Merge, numbers, run, steps
from tests.snapshot.world import World


@pytest.fixture
def warm(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world that lasts for all examples of a test."""
    monkeypatch.setattr(linux_modes, "are_recorded", lambda: world.snapshots.records_owners)
    return world


examples = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@examples
@given(scenario=steps, recorded=st.booleans())
def test_the_disk_is_what_the_model_says(
    warm: World, scenario: list[Layer | Merge], recorded: bool
) -> None:
    run(warm, scenario, recorded)


@examples
@given(scenario=steps, one=numbers, other=numbers, recorded=st.booleans())
def test_laws(
    warm: World, scenario: list[Layer | Merge], one: int, other: int, recorded: bool
) -> None:
    made = run(warm, scenario, recorded)[1:]
    a, b = made[one % len(made)], made[other % len(made)]
    c = made[(one + other) % len(made)]
    assert a.snapshot is not None and b.snapshot is not None and c.snapshot is not None
    changes = [
        (change.kind.value, change.path)
        for change in warm.snapshots.changes(Diff(a.snapshot, b.snapshot))
    ]
    assert changes == [(kind, path) for kind, path, _ in model.diff(a.tree, b.tree)]
    assert warm.changes(a.snapshot, a.snapshot) == []
    there = warm.merge(a.snapshot, Diff(a.snapshot, b.snapshot))
    assert same(warm.read(there), b.tree)
    left = warm.merge(warm.merge(a.snapshot, b.snapshot), c.snapshot)
    right = warm.merge(a.snapshot, warm.merge(b.snapshot, c.snapshot))
    flat = warm.merge(a.snapshot, b.snapshot, c.snapshot)
    listed = [Diff(None, c.snapshot), Diff(a.snapshot, b.snapshot), Diff(b.snapshot, c.snapshot)]
    linked = warm.snapshots.merge(listed, MergePolicy(Strategy.HARDLINK)).snapshot
    assert same(warm.read(warm.merge(*listed)), warm.read(linked))
    assert same(warm.read(left), warm.read(flat))
    assert same(warm.read(right), warm.read(flat)) or forgets(a.tree, b.tree, c.tree)
    times = directory_times(warm, flat)
    brought = [directory_times(warm, m) for m in (a.snapshot, b.snapshot, c.snapshot)]
    assert times == {path: last(brought, path) for path in times}


def forgets(a: ModelTree, b: ModelTree, c: ModelTree) -> bool:
    """Whether the tree of b and c no longer shows that b replaces a directory of a.

    Where b has something else and c a directory again, what a has in there is gone: b took it away.
    The list a, b, c says so; the one tree that b and c come to does not. That is why a merge of
    merges is one flat list.
    """
    return any(
        entry.type == "dir"
        and path in b
        and b[path].type != "dir"
        and path in c
        and c[path].type == "dir"
        for path, entry in a.items()
    )


def directory_times(world: World, snapshot: SnapshotID) -> dict[str, int]:
    """When the directories of a tree were changed, but for its root."""
    directories = [path for path, entry in world.read(snapshot).items() if entry.type == "dir"]
    with world.snapshots.tree(snapshot) as fd:
        return {path: os.stat(path, dir_fd=fd).st_mtime_ns for path in directories if path}


def last(brought: list[dict[str, int]], path: str) -> int:
    """The time of a directory in the last tree that has it: they unite, the later one wins."""
    return [times[path] for times in brought if path in times][-1]


@examples
@given(scenario=steps, one=numbers, other=numbers, recorded=st.booleans())
def test_what_is_exported_and_unpacked_is_the_tree(
    warm: World, scenario: list[Layer | Merge], one: int, other: int, recorded: bool
) -> None:
    made = run(warm, scenario, recorded)[1:]
    if any(entry.type == "sock" for m in made for entry in m.tree.values()):
        return  # A tar has no sockets.
    a, b = made[one % len(made)], made[other % len(made)]
    diffs = [(a, b), (Made(None, EMPTY, set()), a), (b, a), (Made(None, EMPTY, set()), b)]
    layers = LayerStore(ContentStore(warm.store), lambda: warm.snapshots)
    top: SnapshotID | None = None
    for low, up in diffs:
        assert up.snapshot is not None
        blob = layers.pack(0, Diff(low.snapshot, up.snapshot), "uncompressed", None)
        top = warm.snapshots.prepare(top)
        assert layers.unpack(blob, top) == ()
        warm.snapshots.commit(top)
    assert top is not None
    expected = model.merge((low.tree, up.tree) for low, up in diffs)
    found = warm.read(top)
    assert in_seconds(found) == in_seconds(expected)
    groups = model.link_groups(expected)
    assert all(any(one <= group for group in groups) for one in model.link_groups(found))


def in_seconds(tree: ModelTree) -> dict[str, ModelFile]:
    """A tree as far as a layer tells: to the second, without a root, of attributes capabilities."""
    return {
        p: e._replace(mtime=e.mtime // SECOND, xattrs=()) for p, e in model.plain(tree).items() if p
    }


def same(one: Mapping[str, ModelFile], other: Mapping[str, ModelFile]) -> bool:
    """Equal but for inodes."""
    return model.plain(one) == model.plain(other)
