"""Snapshots in few words, for tests: make a layer by edits, merge, read the tree back.

Edits are functions of the root's path. Trees are read through what a process would see, into the
form of `model`.
"""

import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Literal, TypeVar

from minibuild.executor.ownroot.working_tree import WorkingTree, layers_of
from minibuild.lab.model import ModelTree
from minibuild.lab.trees import read_tree
from minibuild.linux import device, root_mount, syscalls, xattr
from minibuild.snapshot.api import Change, Diff, Merged, MergePolicy, SnapshotID, Strategy
from minibuild.snapshot.native import NativeSnapshotter
from minibuild.snapshot.overlay import OverlaySnapshotter
from minibuild.snapshot.select import open_snapshotter
from minibuild.snapshot.stacked import StackedSnapshotter
from minibuild.store.layout import Store

Edit = Callable[[str], object]
T = TypeVar("T")


def write(path: str, text: str = "", mode: int = 0o644) -> Edit:
    """A new file in place of whatever file is there; parents are made."""

    def edit(root: str) -> None:
        target = f"{root}/{path}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.lexists(target):
            os.unlink(target)
        with open(target, "x") as file:
            file.write(text)
        os.chmod(target, mode)

    return edit


def mkdir(path: str, mode: int = 0o755) -> Edit:
    """A directory and its parents."""

    def edit(root: str) -> None:
        os.makedirs(f"{root}/{path}", exist_ok=True)
        os.chmod(f"{root}/{path}", mode)

    return edit


def remove(path: str) -> Edit:
    """Whatever is there, with all that is in it."""

    def edit(root: str) -> None:
        target = f"{root}/{path}"
        if os.path.isdir(target) and not os.path.islink(target):
            for name in os.listdir(target):
                remove(f"{path}/{name}")(root)
            os.rmdir(target)
        else:
            os.unlink(target)

    return edit


def symlink(path: str, target: str) -> Edit:
    """A symbolic link."""

    def edit(root: str) -> None:
        os.makedirs(os.path.dirname(f"{root}/{path}"), exist_ok=True)
        os.symlink(target, f"{root}/{path}")

    return edit


def link(path: str, to: str) -> Edit:
    """A hardlink."""
    return lambda root: os.link(f"{root}/{to}", f"{root}/{path}", follow_symlinks=False)


def move(path: str, to: str) -> Edit:
    """A rename."""
    return lambda root: os.rename(f"{root}/{path}", f"{root}/{to}")


def chmod(path: str, mode: int) -> Edit:
    """Other permissions."""
    return lambda root: os.chmod(f"{root}/{path}", mode)


def chown(path: str, uid: int, gid: int) -> Edit:
    """Another owner."""
    return lambda root: os.chown(f"{root}/{path}", uid, gid, follow_symlinks=False)


def utime(path: str, mtime_ns: int) -> Edit:
    """Another time."""
    return lambda root: os.utime(f"{root}/{path}", ns=(mtime_ns, mtime_ns), follow_symlinks=False)


def set_xattr(path: str, name: str, value: bytes) -> Edit:
    """An extended attribute."""
    return lambda root: xattr.set(f"{root}/{path}", name, value)


def node(path: str, kind: str) -> Edit:
    """Something of a type, at a path that is free."""

    def edit(root: str) -> None:
        target = f"{root}/{path}"
        match kind:
            case "file":
                write(path, "text")(root)
            case "dir":
                write(f"{path}/inside", "text")(root)
            case "symlink":
                os.symlink("nowhere", target)
            case "fifo":
                os.mkfifo(target)
            case "sock":
                with socket.socket(socket.AF_UNIX) as listener:
                    here = os.open(root, os.O_PATH)
                    listener.bind(f"/proc/self/fd/{here}/{path}")
                    os.close(here)
            case "chr":
                device_node(path, kind, 1, 3)(root)
            case "blk":
                device_node(path, kind, 7, 0)(root)

    return edit


def device_node(path: str, kind: str, major: int, minor: int) -> Edit:
    """A device, or what stands for one in a user namespace."""

    def edit(root: str) -> None:
        bits = stat.S_IFCHR if kind == "chr" else stat.S_IFBLK
        root_fd = os.open(root, os.O_RDONLY)
        device.make(root_fd, path, bits, os.makedev(major, minor), root_fd)
        os.close(root_fd)

    return edit


def _wait_for_tick(folder: str) -> None:
    """Let the clock of files move on: what changes now has another time than before."""
    os.utime(folder)
    before = os.stat(folder).st_ctime_ns
    while os.stat(folder).st_ctime_ns == before:
        time.sleep(0.0005)
        os.utime(folder)


class World:
    """A snapshotter of one kind, with one way to merge.

    With `above_nothing` no merge begins with one of its diffs as the parent: all are applied.
    """

    def __init__(
        self,
        store: Store,
        backend: Literal["overlay", "native", "stacked"],
        strategy: Strategy,
        *,
        above_nothing: bool = False,
    ) -> None:
        self.store = store
        self.strategy = strategy
        self.above_nothing = above_nothing
        opened = open_snapshotter(store, backend)
        assert isinstance(opened, OverlaySnapshotter | NativeSnapshotter | StackedSnapshotter)
        self.snapshots = opened
        self.active: SnapshotID | None = None
        self._tree: WorkingTree | None = None

    def layer(self, parent: SnapshotID | None, *edits: Edit) -> SnapshotID:
        """A committed snapshot: `parent` with edits."""
        active = self.active = self.snapshots.prepare(parent)
        with self._written(active) as root:
            for edit in edits:
                edit(root)
        self.snapshots.commit(active)
        return active

    @contextmanager
    def _written(self, active: SnapshotID) -> Iterator[str]:
        """The tree of an active snapshot, which takes what is written there."""
        if not isinstance(self.snapshots, StackedSnapshotter):
            with self.snapshots.tree(active, readonly=False) as fd:
                yield f"/proc/self/fd/{fd}"
            return
        # Files are written in place, so as steps do it: one tree follows all of the snapshots.
        layers, never = layers_of(self.snapshots.mount(active, readonly=False)), Event()
        if self._tree is None or self._tree.likeness(layers) < 0:
            self._tree = WorkingTree(f"{self.snapshots.store.root}/tree-{active}")
        self._tree.follow(layers, never)
        _wait_for_tick(self._tree.folder)
        yield self._tree.folder
        self._tree.hand_over(({}, {}), never)
        # As before the next step: so it shares no file with the layer.
        layers = layers_of(self.snapshots.mount(active, readonly=False))
        self._tree.follow(layers, never)

    def in_folder(self) -> list[str]:
        """What lies beside the snapshots, and they."""
        return sorted(os.listdir(self.snapshots.folder))

    def merged(self, *diffs: Diff | SnapshotID, parent: SnapshotID | None = None) -> Merged:
        """The merge of diffs; a snapshot stands for its diff from nothing."""
        listed = [d if isinstance(d, Diff) else Diff(None, d) for d in diffs]
        if self.above_nothing and parent is None:
            parent = self.layer(None)
        return self.snapshots.merge(listed, MergePolicy(self.strategy), parent=parent)

    def merge(self, *diffs: Diff | SnapshotID, parent: SnapshotID | None = None) -> SnapshotID:
        """The snapshot of `merged`."""
        return self.merged(*diffs, parent=parent).snapshot

    def read(self, snapshot: SnapshotID) -> ModelTree:
        """The tree of a snapshot as a process sees it."""
        with self.snapshots.tree(snapshot) as fd:
            return read_tree(f"/proc/self/fd/{fd}", self.snapshots.owners(snapshot))

    def paths(self, snapshot: SnapshotID) -> list[str]:
        """The paths of a tree but for its root, sorted."""
        return sorted(path for path in self.read(snapshot) if path)

    def text(self, snapshot: SnapshotID, path: str) -> str:
        """The contents of a file."""
        data = self.read(snapshot)[path].data
        assert isinstance(data, bytes)
        return data.decode()

    def changes(self, lower: SnapshotID | None, upper: SnapshotID) -> list[str]:
        """The changes of a diff as words."""
        return [
            f"{change.kind.value} {change.path or '.'}"
            for change in self.snapshots.changes(Diff(lower, upper))
        ]

    def changed(self, lower: SnapshotID | None, upper: SnapshotID) -> dict[str, Change]:
        """The changes of a diff by path."""
        return {change.path: change for change in self.snapshots.changes(Diff(lower, upper))}


def names(world: World, merged: Merged) -> list[str]:
    """What the merge wrote into its own layer directory."""
    return sorted(os.listdir(world.snapshots.layer_dir(merged.snapshot)))


def chain(world: World, length: int) -> list[SnapshotID]:
    """A chain of layers made without mounts."""
    parent: SnapshotID | None = None
    made: list[SnapshotID] = []
    for n in range(length):
        parent = world.snapshots.prepare(parent)
        open(f"{world.snapshots.layer_dir(parent)}/f{n}", "x").close()
        world.snapshots.commit(parent)
        made.append(parent)
    return made


def mounts_in(world: World) -> list[str]:
    """The mounts in the store that this process can see."""
    with open("/proc/self/mountinfo") as file:
        return [line for line in file if world.store.root in line]


def in_mount_namespace(work: Callable[[], T]) -> T:
    """What `work` returns in a thread with a mount namespace of its own, which ends with it."""

    def enter_and_work() -> T:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        root_mount.contain_mounts()
        return work()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(enter_and_work).result()
