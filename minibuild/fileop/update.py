"""A copy that was done before, done again: only what changed is opened and written.

Comes in: the entries of the plan, the table of what was put the last time, and what came of it.
Goes out: the same tree, and the same layer, as if all had been copied. What is as it was stays:

- *in the tree*, which begins as the last one. It is a new snapshot on top of that (on overlayfs an
  empty directory), where changed files replace their predecessors and what is gone is removed. That
  is right because snapshots never change, as in a merge;
- *in the layer*, which becomes a patch of the last one: places in that one's tar, and what is new
  (`layer.patch`). It is packed when something asks for it.

The look for the key has seen all files of a directory a moment ago. So the copy of it takes no
walk: what is as the table says is passed over, and only what may be otherwise is planned and put.
What was passed over is not looked at again. If it changes after the look, the result has what was
there before, and so has the key.

`Unplannable` is raised where the last result does not help: then everything is copied. That is so
where the base has something at a path that is gone now, which would come to light again, and for
all that `dest` refuses. Read next: `inventory`, `dest`.
"""

import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from minibuild.errors import ImageError
from minibuild.fileop.api import Entry, Planned, Sink, SourceTree
from minibuild.fileop.dest import PlannedTree, Unplannable
from minibuild.fileop.hasher import TYPES, SourceLook, touched
from minibuild.fileop.inventory import Batch, Inventory, InventorySink, was_directory
from minibuild.fileop.layer import LayerSink
from minibuild.fileop.select import Pick
from minibuild.fileop.tee import Tee
from minibuild.fileop.tree import TreeSink
from minibuild.fileop.walk import FoundFile
from minibuild.graph.op import Copy
from minibuild.layer.layer import Layer
from minibuild.layer.patch import LayerPatch
from minibuild.layer.tar_format import TarSpan
from minibuild.linux import owner, xattr
from minibuild.linux.beneath import join, lstat, parents
from minibuild.linux.cursor import Cursor
from minibuild.startup.tuples import NamedTuple


class EarlierCopy(NamedTuple):
    """What came of the last copy: its table, and its layer if the new one is to be a patch of that,
    in the file `patch`. `look` is what was seen of the sources since, if the copy stands on the
    very same."""

    inventory: str
    layer: Layer | LayerPatch | None = None
    patch: str = ""
    look: SourceLook | None = None


class Update(Sink):
    """Puts what changed into a tree, a layer, or both (`Tee`), and notes all in a new table.

    The tree holds what the last copy put. The `plan` is that of the layer, if there is one. `kept`
    counts the entries that were as they were.
    """

    def __init__(
        self,
        inventory: Inventory,
        table: InventorySink,
        plan: PlannedTree,
        sources: Mapping[int, SourceTree],
        look: SourceLook | None,
        *,
        tree: TreeSink | None = None,
        layer: LayerSink | None = None,
    ) -> None:
        self._inventory = inventory
        self._table = table
        self._plan = plan
        self._sources = sources
        self._look = look
        self._tree = tree
        self._layer = layer
        self._removed = ""
        self._input, self._below = -1, ""
        self._directories: set[tuple[int, str]] = set()
        """Paths in inputs, to be seen once more: that tells whether something came or went."""
        self._newest_ns = self.kept = 0
        self.digest = b""

    def begin(self, copy: Copy) -> None:
        self._input = copy.input

    def enter(self, pick: Pick) -> None:
        self._below = pick.real if pick.is_dir else ""
        self._directories.add((self._input, pick.real))

    def below(self, pick: Pick, top: str, walk: Iterator[FoundFile]) -> Iterator[FoundFile]:
        if self._look is None or self._look.top != pick.real:
            return walk
        self._plan.lacks_some(top)
        return self._otherwise(self._look, top)

    def _otherwise(self, look: SourceLook, top: str) -> Iterator[FoundFile]:
        """What of a directory may be otherwise than the last time, by a look."""
        items = look.items()
        below = len(next(items)[0].partition("\0")[0].rstrip("/")) + 1
        with Cursor(self._sources[self._input].fd) as dirs:
            while line := self._inventory.pass_over(
                items, below, top, look.not_alone, self._pass_over
            ):
                path, _, words = line[below:].partition("\0")
                full = join(self._below, path)
                if (above := full.rpartition("/")[0]) != dirs.path:
                    self._directories.update((self._input, folder) for folder in parents(above))
                yield _found(dirs, full, path, words)
        look.forget()

    def _pass_over(self, batch: Batch, span: TarSpan) -> None:
        if self._layer is not None:
            self._layer.keep(span)
        self._table.keep(batch)
        self.kept += batch.length

    def put(self, entry: Planned, found: FoundFile | None = None) -> None:
        """Raises `Unplannable`."""
        if not isinstance(entry, Entry):
            raise Unplannable("what an archive holds is not known before it is unpacked")
        if (next_one := self._inventory.next) is not None and next_one[0] != entry.path:
            self._remove_gone(entry.path)
        span = self._inventory.same(entry, found)
        if found is not None:
            if found.stat.st_ctime_ns > self._newest_ns:
                self._newest_ns = found.stat.st_ctime_ns
            if stat.S_ISDIR(entry.mode):
                self._directories.add((self._input, join(self._below, found.path)))
        if span is None:
            self._change(entry, found)
            if found is not None and touched(found):
                self._newest_ns = time.time_ns()
        else:
            self.kept += 1
            if self._layer is None:
                self._plan.takes(entry)
            else:
                self._layer.repeat(entry, span)
        self._table.note(entry, found)

    def _change(self, entry: Entry, found: FoundFile | None) -> None:
        tree, met = self._tree, self._inventory.met
        if tree is None:
            assert self._layer is not None
            self._layer.put(entry, found)
            return
        in_base = self._plan.dest.kind(entry.path)
        if entry.keep and not in_base:
            entry = entry._replace(keep=False)  # It is there from the last copy, not from the base.
        if self._layer is None:
            self._plan.takes(entry)
        if met is not None and not (stat.S_ISDIR(entry.mode) and was_directory(met)):
            if in_base:  # The last copy took it away, with all that is in it.
                raise Unplannable(f"the base has something at /{entry.path}")
            self._removed = entry.path + "/"
            tree.remove(entry.path)
        tree.keep_times(entry.path)
        tree.put(entry, found)
        if isinstance(tree, Tee) and tree.given_up:
            raise Unplannable(tree.given_up)

    def _remove_gone(self, path: str | None) -> None:
        for gone in self._inventory.gone(path):
            if self._tree is None or (self._removed and gone.startswith(self._removed)):
                continue
            if self._plan.dest.kind(gone):
                raise Unplannable(f"the base has something at /{gone}")
            self._tree.remove(gone)
            self._removed = gone + "/"

    def settle(self) -> None:
        self._remove_gone(None)
        self._table.settle()

    def newest_ns(self) -> int:
        """The newest ctime of what was seen, of a file that was read after that, and of directories
        as they are now."""
        newest_ns = self._newest_ns
        for number, real in self._directories:
            found = lstat(self._sources[number].fd, real)
            newest_ns = max(newest_ns, time.time_ns() if found is None else found.st_ctime_ns)
        return newest_ns


def _found(dirs: Cursor, full: str, path: str, words: str) -> FoundFile:
    """Something that a look saw, at the path `full` of the source, as a walk finds it."""
    above, _, name = full.rpartition("/")
    try:
        fd = dirs.enter(above)
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except OSError as error:
        raise Unplannable(f"{full}: {error.strerror}") from error
    if not status.st_size:
        status = owner.seen(status, xattr.at(fd, name), None)
    kind = words.partition(" ")[0]
    if kind != TYPES[stat.S_IFMT(status.st_mode)]:
        raise Unplannable(f"{full} became something else")
    return FoundFile(path, fd, name, status, kind == "dir" and " way " in words)


@contextmanager
def open_update(
    earlier: EarlierCopy,
    making: str,
    plan: PlannedTree,
    sources: Mapping[int, SourceTree],
    tree: TreeSink | None,
    layer: LayerSink | None,
) -> Iterator[Update]:
    """The update of a tree, a layer or both, with a new table `making`, open while the block runs.
    Raises `Unplannable`."""
    sink = tree or layer
    assert sink is not None
    with Inventory(earlier.inventory) as inventory, InventorySink(making, sink, layer) as table:
        try:
            yield Update(inventory, table, plan, sources, earlier.look, tree=tree, layer=layer)
        except ImageError as error:  # A file changed while it was read.
            raise Unplannable(str(error)) from error
