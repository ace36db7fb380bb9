"""Random layers and merges, done on disk and in memory.

A scenario is a list of steps; each makes a snapshot: a layer edited on an earlier one, or a merge
of diffs between earlier ones. After each step the snapshot, read through its mount, has to be what
the model says.
"""

import functools
import os
import stat
import tempfile
from functools import partial
from typing import NamedTuple

from hypothesis import strategies as st

from minibuild.lab import model
from minibuild.lab.model import EMPTY, ModelFile, ModelTree
from minibuild.linux import xattr
from minibuild.snapshot.api import Diff, SnapshotID
from tests.snapshot.world import World

NAMES = ["a", "b", "é"]
PATHS = [*NAMES, *[f"{x}/{y}" for x in NAMES for y in NAMES], "a/a/a", "a/a/b", "b/a/a"]
SECOND = 10**9

DEVICES = {"chr": os.makedev(1, 3), "blk": os.makedev(7, 0)}
NODES = ("fifo", "sock", *DEVICES)

paths = st.sampled_from(PATHS)
modes = st.sampled_from([0o755, 0o700])
some_modes = st.sampled_from([0o755, 0o700, 0o500])
owners = st.sampled_from([0, 1, 2])
times = st.sampled_from([10**18, 10**18 + 1])


class Op(NamedTuple):
    """One edit; what it needs of the rest depends on the verb. `owner` is that of what has no
    attributes, for a record of which there is a table."""

    verb: str
    path: str
    other: str = ""
    mode: int = 0o755
    mtime: int = 10**18
    data: str = ""
    owner: int = 0


ops = st.one_of(
    st.builds(Op, st.just("write"), paths, st.just(""), some_modes, times, st.sampled_from("xyz")),
    st.builds(Op, st.just("write"), paths, st.just(""), some_modes, times, st.sampled_from("xyz")),
    st.builds(Op, st.just("mkdir"), paths, st.just(""), some_modes),
    st.builds(Op, st.just("mkdir"), paths, st.just(""), some_modes),
    st.builds(
        *(Op, st.just("symlink"), paths, st.just(""), modes, times, st.sampled_from(NAMES), owners)
    ),
    st.builds(*(Op, st.sampled_from(NODES), paths, st.just(""), modes, times, st.just(""), owners)),
    st.builds(Op, st.just("remove"), paths),
    st.builds(Op, st.just("remove"), paths),
    st.builds(Op, st.just("chmod"), st.sampled_from([*PATHS, ""]), st.just(""), modes),
    st.builds(Op, st.just("chown"), paths, st.just(""), data=st.sampled_from("012")),
    st.builds(Op, st.just("xattr"), paths, st.just(""), data=st.sampled_from("12")),
    st.builds(Op, st.just("link"), paths, paths),
    st.builds(Op, st.just("rename"), paths, paths),
)


class Layer(NamedTuple):
    """A step: a new layer on snapshot number `parent` (0 is nothing), edited."""

    parent: int
    ops: list[Op]


class Merge(NamedTuple):
    """A step: a merge of diffs between snapshots by number, on snapshot number `parent`."""

    diffs: list[tuple[int, int]]
    parent: int


numbers = st.integers(0, 20)
parents = st.one_of(st.just(0), numbers)
steps = st.lists(
    st.one_of(
        st.builds(Layer, numbers, st.lists(ops, max_size=8)),
        st.builds(Layer, st.just(0), st.lists(ops, min_size=3, max_size=8)),
        st.builds(Merge, st.lists(st.tuples(numbers, numbers), min_size=1, max_size=4), parents),
    ),
    min_size=2,
    max_size=7,
)


class Model:
    """A layer being edited in memory; `edit` says whether the edit makes sense."""

    def __init__(self, tree: ModelTree, first_inode: int, recorded: bool) -> None:
        self.tree = dict(tree)
        self.recorded = recorded
        self.fresh = first_inode
        self.next = first_inode

    def edit(self, op: Op) -> bool:
        """Do it, unless the file system would refuse."""
        parent = op.path.rpartition("/")[0]
        if parent not in self.tree or self.tree[parent].type != "dir":
            return False
        old = self.tree.get(op.path)
        act = getattr(self, op.verb)
        return bool(act(op, old))

    def names(self, entry: ModelFile) -> int:
        """How many names an inode has."""
        return sum(e.inode == entry.inode for e in self.tree.values() if e.type != "dir")

    def new(self, kind: str, mode: int, data: bytes | str, mtime: int) -> ModelFile:
        """An entry with an inode of its own."""
        self.next += 1
        return ModelFile(kind, mode, data=data, mtime=mtime, inode=self.next)

    def put(self, op: Op, old: ModelFile | None, entry: ModelFile) -> bool:
        """An entry where there is no directory."""
        if op.verb != "write" and (self.recorded or host_can("owner")):
            entry = entry._replace(owner=(op.owner, 0))
        if old is not None and old.type == "dir":
            return False
        self.tree[op.path] = entry
        return True

    def write(self, op: Op, old: ModelFile | None) -> bool:
        return self.put(op, old, self.new("file", op.mode, op.data.encode(), op.mtime))

    def symlink(self, op: Op, old: ModelFile | None) -> bool:
        return self.put(op, old, self.new("symlink", 0, op.data, op.mtime))

    def fifo(self, op: Op, old: ModelFile | None) -> bool:
        return self.put(op, old, self.new("fifo", op.mode, b"", op.mtime))

    def sock(self, op: Op, old: ModelFile | None) -> bool:
        return self.put(op, old, self.new("sock", op.mode, b"", op.mtime))

    def chr(self, op: Op, old: ModelFile | None) -> bool:
        entry = self.new(op.verb, op.mode, b"", op.mtime)._replace(data=DEVICES[op.verb])
        return host_can("device") and self.put(op, old, entry)

    blk = chr

    def mkdir(self, op: Op, old: ModelFile | None) -> bool:
        if old is not None:
            return False
        self.tree[op.path] = ModelFile("dir", op.mode)
        return True

    def remove(self, op: Op, old: ModelFile | None) -> bool:
        self.tree = model.without(self.tree, op.path)
        return old is not None

    def changeable(self, entry: ModelFile | None) -> bool:
        """An overlay breaks hardlinks when it copies up, so those are left alone."""
        if entry is None or entry.type == "symlink":
            return False
        return entry.type == "dir" or self.names(entry) == 1

    def forgets(self, entry: ModelFile) -> bool:
        """Whether an overlay that copies this up gives it a new inode, which has no record."""
        has_attributes = entry.type in ("dir", "file")
        return self.recorded and not has_attributes and entry.inode <= self.fresh

    def chmod(self, op: Op, old: ModelFile | None) -> bool:
        if old is None or not self.changeable(old) or self.forgets(old):
            return False
        self.tree[op.path] = old._replace(mode=op.mode)
        return True

    def chown(self, op: Op, old: ModelFile | None) -> bool:
        if old is None or not (self.recorded or host_can("owner")) or self.forgets(old):
            return False
        new_link = old.type == "symlink" and old.inode > self.fresh and self.names(old) == 1
        if not self.changeable(old) and not new_link:
            return False
        self.tree[op.path] = old._replace(owner=(int(op.data), 0))
        return True

    def xattr(self, op: Op, old: ModelFile | None) -> bool:
        if old is None or not self.changeable(old) or old.type not in ("dir", "file"):
            return False
        self.tree[op.path] = old._replace(xattrs=(("user.test", op.data.encode()),))
        return True

    def link(self, op: Op, old: ModelFile | None) -> bool:
        target = self.tree.get(op.other)
        if old is not None or target is None or target.type == "dir" or target.inode <= self.fresh:
            return False
        self.tree[op.path] = target
        return True

    def rename(self, op: Op, old: ModelFile | None) -> bool:
        source = self.tree.get(op.other)
        if source is None or source.type == "dir" or source == old or self.forgets(source):
            return False
        if (old is not None and old.type == "dir") or self.names(source) > 1:
            return False
        del self.tree[op.other]
        self.tree[op.path] = source
        return True


@functools.cache
def host_can(what: str) -> bool:
    """Whether this account can make devices, or give files away."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            if what == "device":
                os.mknod(f"{folder}/x", stat.S_IFCHR | 0o600, DEVICES["chr"])
            else:
                os.chown(folder, 2, 0)
        except OSError:
            return False
    return True


def perform(op: Op, world: World, root: str) -> None:
    """The same edit on disk."""
    recorded = world.snapshots.records_owners
    if recorded and op.verb == "chown":
        return record(world, op.path, root, int(op.data))
    path, other = f"{root}/{op.path}", f"{root}/{op.other}"
    if op.verb in ("write", "symlink", *NODES) and os.path.lexists(path):
        os.unlink(path)
    match op.verb:
        case "write":
            with open(path, "x") as file:
                file.write(op.data)
        case "symlink":
            os.symlink(op.data, path)
        case "fifo":
            os.mkfifo(path)
        case "sock":
            os.mknod(path, stat.S_IFSOCK | 0o600)
        case "chr":
            os.mknod(path, stat.S_IFCHR | 0o600, DEVICES["chr"])
        case "blk":
            os.mknod(path, stat.S_IFBLK | 0o600, DEVICES["blk"])
        case "chown":
            os.chown(path, int(op.data), 0, follow_symlinks=False)
        case "mkdir":
            os.mkdir(path)
        case "remove":
            delete(path)
        case "xattr":
            xattr.set(path, "user.test", op.data.encode())
        case "link":
            os.link(other, path, follow_symlinks=False)
        case "rename":
            os.rename(other, path)
    if op.verb in ("write", *NODES, "mkdir", "chmod"):
        if (owners := world.snapshots.owners(world.active)) is None:
            os.chmod(path, op.mode)
        else:
            owners.chmod(path, stat.S_IFMT(os.lstat(path).st_mode) | op.mode)
    if op.verb in ("write", "symlink", *NODES):
        os.utime(path, ns=(op.mtime, op.mtime), follow_symlinks=False)
    if op.verb in ("symlink", *NODES):
        if recorded:
            # Also if it is root: the file that was here a moment ago may have had the same inode,
            # and the clock that stamps files did not go on since. So does the writer of trees.
            record(world, op.path, root, op.owner)
        elif host_can("owner"):
            os.chown(path, op.owner, 0, follow_symlinks=False)


def record(world: World, path: str, root: str, uid: int) -> None:
    """What chown(2) does where it cannot."""
    assert world.active is not None
    owners = world.snapshots.owners(world.active)
    assert owners is not None
    root_fd = os.open(root, os.O_RDONLY)
    owners.write(root_fd, path, uid, 0)
    os.close(root_fd)


def delete(path: str) -> None:
    """Remove a file or a whole directory."""
    if os.path.isdir(path) and not os.path.islink(path):
        for name in os.listdir(path):
            delete(f"{path}/{name}")
        os.rmdir(path)
    else:
        os.unlink(path)


class Made(NamedTuple):
    """A snapshot, what it should be, and what its hardlinks are at least."""

    snapshot: SnapshotID | None
    tree: ModelTree
    sure: set[frozenset[str]]


def run(world: World, scenario: list[Layer | Merge], recorded: bool) -> list[Made]:
    """Do all steps; compare after each."""
    # Steps get the container's own root from nothing less than root.
    recorded = recorded and world.snapshots.name != "stacked"
    world.snapshots.records_owners = recorded
    made = [Made(None, EMPTY, set())]
    for number, step in enumerate(scenario):
        made.append(
            make_layer(world, made, step, number)
            if isinstance(step, Layer)
            else make_merge(world, made, step)
        )
        check(world, made[-1])
    return made


def make_layer(world: World, made: list[Made], step: Layer, number: int) -> Made:
    parent = made[step.parent % len(made)]
    editor = Model(parent.tree, number * 1000, world.snapshots.records_owners)
    ops = step.ops
    if not world.snapshots.records_owners:
        ops = [op._replace(mode=op.mode | 0o200) for op in ops]
    doable = [op for op in ops if editor.edit(op)]
    snapshot = world.layer(parent.snapshot, *[partial(perform, op, world) for op in doable])
    groups = model.link_groups(editor.tree)
    sure = {group for group in groups if group in parent.sure or is_fresh(editor, group)}
    return Made(snapshot, editor.tree, sure)


def is_fresh(editor: Model, group: frozenset[str]) -> bool:
    return all(editor.tree[path].inode > editor.fresh for path in group)


def make_merge(world: World, made: list[Made], step: Merge) -> Made:
    if len(made) == 1:
        return Made(world.merge(), EMPTY, set())
    pairs = [(made[low % len(made)], made[1 + up % (len(made) - 1)]) for low, up in step.diffs]
    diffs = [Diff(low.snapshot, up.snapshot) for low, up in pairs if up.snapshot is not None]
    parent = made[step.parent % len(made)]
    tree = model.merge(((low.tree, up.tree) for low, up in pairs), parent.tree)
    return Made(world.merge(*diffs, parent=parent.snapshot), tree, set())


def check(world: World, made: Made) -> None:
    """The disk is what the model says."""
    assert made.snapshot is not None
    real = world.read(made.snapshot)
    assert model.plain(real) == model.plain(made.tree)
    groups = model.link_groups(real)
    for group in made.sure:
        assert any(group <= found for found in groups), f"{group} are no hardlinks any more"
    possible = model.link_groups(made.tree)
    for found in groups:
        assert any(found <= group for group in possible), f"{found} became hardlinks"
