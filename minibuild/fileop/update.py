"""A copy that was done before, done again: only what changed is opened and written.

Comes in: the entries of the plan, the table of what was put the last time, and what came of it.
Goes out: the same tree, and the same layer, as if all had been copied. What is as it was stays:

- *in the tree*, which begins as the last one. It is a new snapshot on top of that (on overlayfs an
  empty directory), where changed files replace their predecessors and what is gone is removed. That
  is right because snapshots never change, as in a merge;
- *in the layer*, which becomes a patch of the last one: places in that one's tar, and what is new
  (`layer.patch`). It is packed when something asks for it.

`Unplannable` is raised where the last result does not help: then everything is copied. That is so
where the base has something at a path that is gone now, which would come to light again, and for
all that `dest` refuses. Read next: `inventory`, `dest`.
"""

import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager

from minibuild.errors import ImageError
from minibuild.fileop.api import Entry, Planned, Sink
from minibuild.fileop.dest import PlannedTree, Unplannable
from minibuild.fileop.hasher import SourceLook, touched
from minibuild.fileop.inventory import Inventory, was_directory
from minibuild.fileop.layer import LayerSink
from minibuild.fileop.select import Pick
from minibuild.fileop.tee import Tee
from minibuild.fileop.tree import TreeSink
from minibuild.fileop.walk import FoundFile
from minibuild.graph.op import Copy
from minibuild.layer.layer import Layer
from minibuild.layer.patch import LayerPatch
from minibuild.layer.pieces import PieceTaker
from minibuild.linux.beneath import join
from minibuild.startup.tuples import NamedTuple


class Earlier(NamedTuple):
    """What came of the last copy: its table, and its layer if it was made one. The new layer is a
    patch of that, in the file `patch` ("": all files are read), which the `taker` may pack
    meanwhile. `look` is what was seen of the sources since, if the copy stands on the very same."""

    inventory: str
    layer: Layer | LayerPatch | None = None
    patch: str = ""
    taker: PieceTaker | None = None
    look: SourceLook | None = None


class Update(Sink):
    """Puts what changed into a tree, a layer, or both (`Tee`).

    The tree holds what the last copy put. The `plan` is that of the layer, if there is one. `kept`
    counts the entries that were as they were. `newest_ns` is the newest ctime of what was seen, and
    of a file that was read, after that. The `directories`, paths in inputs, are to be seen once
    more: in the end that tells whether something came or went meanwhile.
    """

    def __init__(
        self,
        inventory: Inventory,
        plan: PlannedTree,
        *,
        tree: TreeSink | None = None,
        layer: LayerSink | None = None,
    ) -> None:
        self._inventory = inventory
        self._plan = plan
        self._tree = tree
        self._layer = layer
        self._removed = ""
        self._input, self._below = -1, ""
        self.directories: list[tuple[int, str]] = []
        self.kept = self.newest_ns = 0
        self.digest = b""

    def begin(self, copy: Copy) -> None:
        self._input = copy.input

    def enter(self, pick: Pick) -> None:
        self._below = pick.real if pick.is_dir else ""
        self.directories.append((self._input, pick.real))
        if self._tree is not None:
            self._tree.enter(pick)

    def put(self, entry: Planned, found: FoundFile | None = None) -> None:
        """Raises `Unplannable`."""
        if not isinstance(entry, Entry):
            raise Unplannable("what an archive holds is not known before it is unpacked")
        if (next_one := self._inventory.next) is not None and next_one[0] != entry.path:
            self._remove_gone(entry.path)
        span = self._inventory.same(entry, found)
        if found is not None:
            if found.stat.st_ctime_ns > self.newest_ns:
                self.newest_ns = found.stat.st_ctime_ns
            if stat.S_ISDIR(entry.mode):
                self.directories.append((self._input, join(self._below, found.path)))
        if span is None:
            self._change(entry, found)
            if found is not None and touched(found):
                self.newest_ns = time.time_ns()
            return
        self.kept += 1
        if self._layer is None:
            self._plan.takes(entry)
        else:
            self._layer.repeat(entry, found, span)

    def _change(self, entry: Entry, found: FoundFile | None) -> None:
        tree, met = self._tree, self._inventory.met
        if tree is None:
            assert self._layer is not None
            self._layer.put(entry, found)
            return
        if entry.keep and not self._plan.dest.kind(entry.path):
            entry = entry._replace(keep=False)  # It is there from the last copy, not from the base.
        if self._layer is None:
            self._plan.takes(entry)
        remove = met is not None and not (stat.S_ISDIR(entry.mode) and was_directory(met))
        if remove:
            self._removed = entry.path + "/"
        put_instead(tree, entry, found, remove=remove)

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
        sink = self._tree or self._layer
        if sink is not None:
            sink.settle()


def put_instead(tree: TreeSink, entry: Entry, found: FoundFile | None, *, remove: bool) -> None:
    """Put an entry into a tree that has had one at its path, which is to be removed, or a directory
    that stays. Raises `Unplannable`."""
    if remove:
        tree.remove(entry.path)
    tree.keep_times(entry.path)
    tree.put(entry, found)
    if isinstance(tree, Tee) and tree.given_up:
        raise Unplannable(tree.given_up)


@contextmanager
def open_update(
    earlier: Earlier, plan: PlannedTree, tree: TreeSink | None, layer: LayerSink | None
) -> Iterator[Update]:
    """The update of a tree, a layer or both, open while the block runs. Raises `Unplannable`."""
    with Inventory(earlier.inventory) as inventory:
        try:
            yield Update(inventory, plan, tree=tree, layer=layer)
        except ImageError as error:  # A file changed while it was read.
            raise Unplannable(str(error)) from error
