"""Which snapshotter a store gets: what a kernel may do wrong, asked of snapshotters that do it."""

import errno
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

from minibuild.errors import HostError, StoreError
from minibuild.linux import syscalls
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.namespace import in_user_namespace
from minibuild.snapshot.api import SnapshotID
from minibuild.snapshot.overlay import OverlaySnapshotter
from minibuild.snapshot.select import open_snapshotter, try_overlay
from minibuild.store.layout import Store
from tests.snapshot.world import Edit, in_mount_namespace, mkdir, set_xattr, write

pytestmark = pytest.mark.needs("root")

OPAQUE = f"{'user' if in_user_namespace() else 'trusted'}.overlay.opaque"


class OddKernel(OverlaySnapshotter):
    """An overlay that leaves in the upper layer what it is given, whatever is done to its tree."""

    def __init__(self, store: Store, *leaves: Edit) -> None:
        super().__init__(store, user_namespace=in_user_namespace())
        self._leaves = leaves

    @contextmanager
    def tree(self, snapshot: SnapshotID, *, readonly: bool = True) -> Iterator[int]:
        assert not readonly
        below, top = map(self.layer_dir, self.layers(snapshot))
        shown = Path(self.folder, str(snapshot), "shown")
        shown.mkdir()
        for entry in os.scandir(below):
            (shown / entry.name).mkdir(0o500) if entry.is_dir() else (shown / entry.name).touch()
        assert sorted(os.listdir(shown)) == ["directory", "file"]
        with closing_fd(os.open(shown, os.O_RDONLY)) as fd:
            yield fd
        assert os.listdir(shown) == ["directory"]
        assert stat.S_IMODE((shown / "directory").stat().st_mode) != 0o500  # It is another one.
        for leave in self._leaves:
            leave(top)


def whiteout(top: str) -> None:
    os.mknod(f"{top}/file", stat.S_IFCHR, 0)


def opaque(value: bytes) -> Edit:
    return lambda top: (mkdir("directory")(top), set_xattr("directory", OPAQUE, value)(top))


def raises(error: BaseException) -> Edit:
    def edit(_: str) -> None:
        raise error

    return edit


@pytest.mark.parametrize(
    ("leaves", "problem"),
    [
        ([whiteout, opaque(b"y")], ""),
        ([write("file"), opaque(b"y")], "a deleted file leaves no whiteout"),
        ([mkdir("file"), opaque(b"y")], "a deleted file leaves no whiteout"),
        ([whiteout, mkdir("directory")], "a directory that is created again is not opaque"),
        ([whiteout, opaque(b"x")], "a directory that is created again is not opaque"),
        ([raises(OSError(errno.EIO, "Input/output error"))], "[Errno 5] Input/output error"),
        ([raises(StoreError("no overlay here"))], "no overlay here"),
    ],
)
def test_what_a_kernel_does_wrong(store: Store, leaves: list[Edit], problem: str) -> None:
    """And nothing is left of the trial."""
    assert try_overlay(OddKernel(store, *leaves)) == problem
    assert os.listdir(store.path("snapshots")) == os.listdir(store.path("ingest")) == []
    assert store.db.execute("SELECT count(*) FROM snapshots").fetchone() == (0,)


def test_a_trial_that_is_interrupted_leaves_nothing(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt):
        try_overlay(OddKernel(store, raises(KeyboardInterrupt())))
    assert os.listdir(store.path("snapshots")) == []


@pytest.mark.needs("overlay")
def test_this_kernel_does_nothing_wrong(store: Store) -> None:
    assert try_overlay(OverlaySnapshotter(store, user_namespace=in_user_namespace())) == ""


class Trials:
    """Counts them, and gives the answer."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        self.count = 0

    def __call__(self, overlay: OverlaySnapshotter) -> str:
        assert overlay.whiteouts == OPAQUE.partition(".")[0]
        self.count += 1
        return self.problem


def test_what_worked_once_is_not_tried_again(store: Store) -> None:
    """On this kernel, with these ids; those of other accounts may lack something."""
    trials = Trials("")
    assert open_snapshotter(store, "auto", trials).name == "overlay"
    assert open_snapshotter(store, "overlay", trials).name == "overlay"
    assert trials.count == 1
    ((name,),) = store.db.execute("SELECT name FROM probes")
    ids = Path("/proc/self/uid_map").read_text().split()
    assert name.split() == [
        *("overlay", OPAQUE.partition(".")[0], os.uname().release, str(os.geteuid()), *ids)
    ]
    store.db.execute("UPDATE probes SET name = 'another'")
    open_snapshotter(store, "auto", trials)
    assert trials.count == 2


def test_a_refusal_is_asked_for_again(store: Store) -> None:
    """The host may be mended meanwhile."""
    trials = Trials("no such thing")
    assert open_snapshotter(store, "auto", trials).name == "native"
    with pytest.raises(HostError, match=f"do not work in {store.root}: no such thing") as caught:
        open_snapshotter(store, "overlay", trials)
    assert "MINIBUILD_ROOT" in caught.value.hint
    assert trials.count == 2
    trials.problem = ""
    assert open_snapshotter(store, "auto", trials).name == "overlay"


def test_a_process_that_may_not_mount_tries_nothing(store: Store) -> None:
    """Also if another one could that has its ids."""
    trials = Trials("")
    assert open_snapshotter(store, "auto", trials).name == "overlay"

    def without_capabilities() -> None:
        syscalls.capset(0, 0, 0)
        assert open_snapshotter(store, "auto", trials).name == "native"
        with pytest.raises(HostError, match="this process may not mount"):
            open_snapshotter(store, "overlay", trials)

    with ThreadPoolExecutor(1) as thread:  # It takes what it gave up along.
        thread.submit(without_capabilities).result()
    assert trials.count == 1


def _ask_for_layers(root: Path) -> str:
    store = Store(str(root / "store"))
    try:
        name = open_snapshotter(store, "stacked").name
        assert os.listdir(store.path("ingest")) == []
        return name
    finally:
        store.close()


@pytest.mark.parametrize(("filesystem", "name"), [("", "stacked"), ("ramfs", "native")])
def test_layers_without_a_kernel_need_attributes_of_users(
    tmp_path: Path, filesystem: Literal["", "ramfs"], name: str
) -> None:
    """A ramfs has none."""

    def work() -> str:
        if filesystem:
            syscalls.mount(filesystem, str(tmp_path), filesystem)
        return _ask_for_layers(tmp_path)

    assert in_mount_namespace(work) == name
