"""What crashes leave, and that sweeping it harms nobody who is alive."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minibuild.errors import StoreError
from minibuild.snapshot.select import open_snapshotter
from minibuild.snapshot.sweep import sweep
from minibuild.store.layout import Store
from tests.snapshot.world import World, write

CRASH = """
import os, sys
from minibuild.snapshot.select import open_snapshotter
from minibuild.store.layout import Store

store = Store(sys.argv[1])
snapshots = open_snapshotter(store, "native")
active = snapshots.prepare(None)
os.makedirs(snapshots.layer_dir(active) + "/deep/er")
open(snapshots.layer_dir(active) + "/deep/er/file", "w").close()
open(store.ingest_path(), "w").close()
os.mkdir(store.ingest_path())
print(active, flush=True)
if sys.argv[2] == "die":
    os.kill(os.getpid(), 9)
sys.stdin.read()
snapshots.commit(active)
"""


def start(store: Store, how: str) -> subprocess.Popen[str]:
    """Another process that has an active snapshot, and then dies or waits."""
    return subprocess.Popen(
        [sys.executable, "-c", CRASH, store.root, how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def left(store: Store) -> list[str]:
    """All that is in the making."""
    return sorted(os.listdir(store.path("snapshots")) + os.listdir(store.path("ingest")))


def test_what_a_dead_process_left_is_removed(store: Store) -> None:
    child = start(store, "die")
    assert child.wait() == -signal.SIGKILL
    assert len(left(store)) == 3
    assert sweep(store) == 3
    assert left(store) == []
    assert len(os.listdir(store.path("owners"))) == 1
    assert store.db.execute("SELECT count(*) FROM snapshots").fetchone() == (0,)
    assert sweep(store) == 0


def test_what_a_live_process_makes_is_left_alone(store: Store) -> None:
    child = start(store, "wait")
    assert child.stdout is not None
    active = int(child.stdout.readline())
    before = left(store)
    assert sweep(store) == 0
    assert left(store) == before
    child.communicate()
    assert child.returncode == 0
    assert open_snapshotter(store, "native").table.committed() == [active]


def test_own_active_snapshots_are_left_alone(world: World) -> None:
    active = world.snapshots.prepare(None)
    sweep(world.store)
    assert os.path.isdir(world.snapshots.layer_dir(active))
    world.snapshots.commit(active)


def test_a_directory_without_a_row_is_removed(store: Store) -> None:
    os.makedirs(store.path("snapshots", "77", "fs", "x"))
    assert sweep(store) == 1
    assert os.listdir(store.path("snapshots")) == []


def test_a_row_that_was_lost_does_not_stop_its_number(world: World) -> None:
    one = world.layer(None, write("f"))
    os.makedirs(f"{world.snapshots.folder}/{one + 1}/fs/old")
    made = world.layer(None, write("g"))
    assert world.paths(made) == ["g"]
    home = os.path.dirname(world.snapshots.layer_dir(made))
    assert stat.S_IMODE(os.lstat(home).st_mode) == 0o700


def test_removal_is_picked_up_where_it_stopped(world: World) -> None:
    one = world.layer(None, write("f"))
    # As if the process had died after it had said that it would remove the snapshot.
    world.store.db.execute("UPDATE snapshots SET owner = 'gone-1' WHERE id = ?", (one,))
    assert sweep(world.store) == 1
    assert world.snapshots.table.committed() == []
    assert not os.path.exists(world.snapshots.layer_dir(one))


def test_what_was_not_made_yet_is_not_counted(world: World) -> None:
    """Its process died between the row and the directory; or another one has swept it."""
    one = world.layer(None, write("f"))
    world.store.db.execute("UPDATE snapshots SET owner = 'gone-1' WHERE id = ?", (one,))
    os.rename(f"{world.snapshots.folder}/{one}", f"{world.store.root}/elsewhere")
    assert sweep(world.store) == 0
    assert world.snapshots.table.committed() == []
    assert world.store.db.execute("SELECT count(*) FROM snapshots").fetchone() == (0,)


def test_many_may_sweep_at_once(store: Store) -> None:
    for n in range(20):
        os.makedirs(store.path("ingest", f"gone-{n}.1", "a", "b"))
    code = (
        "import sys; from minibuild.store.layout import Store; "
        "from minibuild.snapshot.sweep import sweep; sweep(Store(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, store.root]
    cwd = Path(__file__).parents[2]
    sweepers = [subprocess.Popen(command, stderr=subprocess.PIPE, cwd=cwd) for _ in range(4)]
    for sweeper in sweepers:
        _, errors = sweeper.communicate()
        assert (sweeper.returncode, errors) == (0, b"")
    assert os.listdir(store.path("ingest")) == []


def test_sweeping_nothing_is_quick(world: World) -> None:
    for _ in range(50):
        world.snapshots.commit(world.snapshots.prepare(None))
    best = min(timed(world.store) for _ in range(5))
    assert best < 0.02  # 0.3 ms on a quiet machine


def timed(store: Store) -> float:
    """How long a sweep takes."""
    started = time.thread_time()
    assert sweep(store) == 0
    return time.thread_time() - started


# Rows --------------------------------------------------------------------------------------------


def test_a_snapshot_in_use_cannot_be_removed(world: World) -> None:
    low = world.layer(None, write("f"))
    up = world.layer(low, write("g"))
    with pytest.raises(StoreError, match=f"in use by snapshot {up}"):
        world.snapshots.remove(low)
    assert low in world.snapshots.table.committed()
    world.snapshots.remove(up)
    world.snapshots.remove(low)
    world.snapshots.remove(low)
    assert world.snapshots.table.committed() == []
    assert left(world.store) == []


def test_layers_of_a_stack_cannot_be_removed(stack: World) -> None:
    a, b = stack.layer(None, write("a")), stack.layer(None, write("b"))
    merged = stack.merge(a, b)
    assert stack.snapshots.table.requires(merged) == {a, b}
    for layer in (a, b):
        with pytest.raises(StoreError, match=f"in use by snapshot {merged}"):
            stack.snapshots.remove(layer)
    for snapshot in (merged, a, b):
        stack.snapshots.remove(snapshot)
    assert left(stack.store) == []


def test_a_stack_stays_while_something_stands_on_it(stack: World) -> None:
    """Although it has no layer of its own."""
    a, b = stack.layer(None, write("a")), stack.layer(None, write("b"))
    merged = stack.merge(a, b)
    child = stack.layer(merged, write("c"))
    assert stack.snapshots.table.requires(child) == {merged, a, b}


def test_what_is_removed_is_forgotten(world: World) -> None:
    made = world.layer(None, write("f"))
    assert world.snapshots.table.layers(made) == (made,)
    world.snapshots.remove(made)
    with pytest.raises(StoreError, match=f"snapshot {made} is not in the store"):
        world.snapshots.table.layers(made)


@pytest.mark.parametrize("portable", [False, True])
def test_whether_a_layer_is_portable_is_found_once(world: World, portable: bool) -> None:
    table, made = world.snapshots.table, world.layer(None, write("f"))
    assert table.portable(made) is None
    table.set_portable(made, portable)
    assert table.portable(made) is portable


def test_only_a_committed_snapshot_can_be_a_parent(world: World) -> None:
    active = world.snapshots.prepare(None)
    with pytest.raises(StoreError, match="not committed"):
        world.snapshots.prepare(active)
    with pytest.raises(StoreError, match="not in the store"):
        world.snapshots.prepare(active + 100)  # type: ignore[arg-type]


def test_a_second_commit_is_an_error(world: World) -> None:
    active = world.snapshots.prepare(None)
    world.snapshots.commit(active)
    with pytest.raises(StoreError):
        world.snapshots.commit(active)


def test_snapshots_of_another_backend_are_refused(store: Store) -> None:
    native = open_snapshotter(store, "native")
    one = native.prepare(None)
    native.commit(one)
    try:
        overlay = open_snapshotter(store, "overlay")
    except Exception as error:
        pytest.skip(str(error))
    with pytest.raises(StoreError, match="native snapshotter"):
        overlay.prepare(one)
    with pytest.raises(StoreError, match="native snapshotter"):
        overlay.mount(one, readonly=True)
    assert overlay.table.committed() == []
    other = overlay.prepare(None)
    overlay.commit(other)
    with pytest.raises(StoreError, match="overlay snapshotter"):
        native.prepare(other)
    assert left(store) == [str(one), str(other)]
