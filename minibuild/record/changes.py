"""What a step changed: the paths of its diff, wherever the diff lies.

Comes in: a worker and a diff. Goes out: a `ChangedPath` for each path, in the order of a tree. A
diff is read as a tree, or as the layer that it became; nothing is unpacked.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from typing import Literal, TypeVar

from minibuild.cache.results import DiffKey
from minibuild.image.listing import entries_of
from minibuild.layer.layer import Layer
from minibuild.layer.tar_format import whiteout
from minibuild.snapshot.api import Diff, Kind
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.worker import Worker

T = TypeVar("T")
Sort = Literal["dir", "file", "symlink", "gone", "other"]

_SORTS: dict[int, Sort] = {stat.S_IFDIR: "dir", stat.S_IFREG: "file", stat.S_IFLNK: "symlink"}
_OF_ENTRIES: dict[str, Sort] = {"dir": "dir", "file": "file", "symlink": "symlink", "link": "file"}


class ChangedPath(NamedTuple):
    """A path, relative to the root, and what it is now. A directory that only holds changes is not
    `new`, nor is what was there before; of a layer alone that is not known."""

    path: str
    sort: Sort
    size: int = 0
    new: bool | None = None


def as_tree(paths: Iterable[tuple[str, T]]) -> Iterator[tuple[int, str, T | None]]:
    """Paths as a tree: the depth and the name of each, with what is said of it; before it those of
    the folders that lead to it, of which nothing is said."""
    above: list[str] = []
    for path, said in paths:
        names = path.split("/")
        same = 0
        while same < len(names) - 1 and above[same : same + 1] == [names[same]]:
            same += 1
        for depth in range(same, len(names) - 1):
            yield depth, names[depth], None
        yield len(names) - 1, names[-1], said
        above = names


def changes(worker: Worker, key: DiffKey) -> list[ChangedPath]:
    """What a diff changed."""
    row = worker.diffs.get(key)
    if row.upper is not None:
        found = _in_tree(worker, Diff(row.lower, row.upper))
    else:
        found = _in_layer(row.layer or worker.materialiser().layer(key))
    return sorted(found, key=lambda one: one.path.split("/"))


def _in_tree(worker: Worker, diff: Diff) -> Iterator[ChangedPath]:
    for kind, path, source, *_ in worker.snapshots.changes(diff):
        if not path:
            continue
        if kind is Kind.DELETE:
            yield ChangedPath(path, "gone")
            continue
        found = os.lstat(source)
        sort = _SORTS.get(stat.S_IFMT(found.st_mode), "other")
        yield ChangedPath(path, sort, found.st_size if sort == "file" else 0, kind is Kind.ADD)


def _in_layer(layer: Layer) -> Iterator[ChangedPath]:
    for _, entry, _ in entries_of(layer):
        deleted = whiteout(entry.name)
        if deleted is not None and not deleted.opaque:
            yield ChangedPath(deleted.path, "gone")
        elif deleted is None:
            yield ChangedPath(entry.name, _OF_ENTRIES.get(entry.kind, "other"), entry.size)
