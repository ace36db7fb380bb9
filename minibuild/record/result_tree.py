"""What is at a path of a result, looked up where its diffs lie: nothing is mounted or made.

Comes in: a result (a list of diffs) and a path. Goes out: type, mode and owner. A result is read as
a tree, if it was ever made one, or else as layers.
Read next: `minibuild.snapshot.view`, `minibuild.image.listing`.
"""

import os
import stat
from collections.abc import Callable, Sequence

from minibuild.cache.results import DiffKey, DiffRow, Diffs, list_key
from minibuild.image.listing import Tree, tree_of
from minibuild.image.reader import ReadOnlyContent
from minibuild.linux.idmap import Range, plan_id_maps
from minibuild.linux.namespace import in_user_namespace
from minibuild.linux.recorded import TABLE, Records
from minibuild.snapshot.api import SnapshotID, Whiteouts
from minibuild.snapshot.table import Table
from minibuild.snapshot.view import View
from minibuild.startup.tuples import NamedTuple
from minibuild.store.read_only import ReadOnlyStore

_KINDS = {"dir": stat.S_IFDIR, "file": stat.S_IFREG, "symlink": stat.S_IFLNK}


class NodeStat(NamedTuple):
    """What is at a path: type bits, permissions, and who owns it inside the tree."""

    type: int
    mode: int
    owner: tuple[int, int]


Look = Callable[[Sequence[int], str], NodeStat | None]
"""What is at a path of a result. Raises `LookupError`, with a sentence, if its files are not there
or cannot be read."""


class ResultTrees:
    """The results of a store, as trees that are looked into."""

    def __init__(self, store: ReadOnlyStore, content: ReadOnlyContent) -> None:
        self._store = store
        self._content = content
        self._diffs = Diffs(store.db, content)
        self._maps = plan_id_maps() if os.geteuid() else None
        self._views: dict[Sequence[int], View | Tree] = {}

    def look(self, result: Sequence[int], path: str) -> NodeStat | None:
        """See `Look`."""
        if not result:
            return None
        view = self._views.get(result)
        if view is None:
            view = self._views[result] = self._opened(result)
        if not isinstance(view, View):
            item = view.get(path)
            if item is None:
                return None
            entry = item.entry
            return NodeStat(_KINDS.get(entry.kind, 0), entry.mode & 0o7777, (entry.uid, entry.gid))
        try:
            node = view.find(path)
            if node is None:
                return None
            found = os.lstat(node.path)
            if view.owners is not None:
                found = view.owners.seen(found, node.path)
                owner = found.st_uid, found.st_gid
                return NodeStat(node.type, stat.S_IMODE(found.st_mode), owner)
        except PermissionError:
            raise LookupError(f"/{path} cannot be read by this account") from None
        maps = self._maps
        owner = (
            _inside(found.st_uid, maps and maps.uids),
            _inside(found.st_gid, maps and maps.gids),
        )
        return NodeStat(node.type, stat.S_IMODE(found.st_mode), owner)

    def _opened(self, result: Sequence[int]) -> View | Tree:
        try:
            rows = [self._diffs.get(DiffKey(key)) for key in result]
        except KeyError:
            raise LookupError("the files of the stage are no longer in the store") from None
        snapshot = self._snapshot(result, rows)
        if snapshot is not None:
            return self._view(snapshot)
        layers = [row.layer for row in rows if row.layer is not None]
        if len(layers) < len(rows) or not all(self._content.has(x.digest) for x in layers):
            raise LookupError("the tree of the stage was not made yet")
        return tree_of(layers)

    def _snapshot(self, result: Sequence[int], rows: Sequence[DiffRow]) -> SnapshotID | None:
        """The snapshot that shows all of a result, if there is one."""
        last = rows[-1]
        if last.upper is not None and tuple(last.base) == tuple(result[:-1]):
            return last.upper
        found = self._store.db.execute(
            "SELECT snapshot FROM trees WHERE list = ?", (list_key(map(DiffKey, result)),)
        ).fetchone()
        return None if found is None else SnapshotID(found[0])

    def _view(self, snapshot: SnapshotID) -> View:
        row = self._store.db.execute(
            "SELECT backend FROM snapshots WHERE id = ?", (snapshot,)
        ).fetchone()
        if row is None:
            raise LookupError("the files of the stage are no longer in the store")
        rootless = os.geteuid() != 0 or in_user_namespace()
        style: Whiteouts = "plain" if row[0] != "overlay" else "user" if rootless else "trusted"
        layers = Table(self._store, row[0]).layers(snapshot)
        folder = self._store.path("snapshots")
        homes = [f"{folder}/{layer}" for layer in reversed(layers)]
        owners = None
        if self._maps is not None and self._maps.way == "single":
            owners = Records([f"{home}/{TABLE}" for home in homes])
        return View([f"{home}/fs" for home in homes], style, owners)


def _inside(id: int, ranges: Sequence[Range] | None) -> int:
    """An id as it is in the tree: without root this account is root there."""
    for one in ranges or ():
        if one.outside <= id < one.outside + one.size:
            return one.inside + id - one.outside
    return id
