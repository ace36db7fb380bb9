"""A tree that steps write to, kept in step with the layers of snapshots, which no step writes to.

Comes in: the layers of a snapshot that is being made; its own, the topmost, takes what the step
changes. Goes out: that layer. A working tree knows of which layers it is a copy. So what has to be
copied before a step is the difference of two lists of layers: nothing, where a step goes on where
the last one ended. What the step changed is found by lstat(2) alone: a path with another inode or
change time than before. A program can set back the time of a file, but not the change time
(inode(7)).

What a step changed is linked into the layer, and not copied. The next step could change it there;
so what shares its inode with a layer is copied before that. If none comes, it never is.
Read next: `snapshot.apply`, which does the writing.
"""

import os
import stat
import threading
from collections.abc import Sequence

from minibuild.executor.ownroot.exchange import Moved
from minibuild.linux.beneath import remove_path
from minibuild.snapshot.api import Change, Kind, Mount
from minibuild.snapshot.apply import Applier
from minibuild.snapshot.compare import same_directory
from minibuild.snapshot.diff import changes
from minibuild.snapshot.view import NOTHING, Node, View
from minibuild.startup.tuples import NamedTuple

PathsFound = dict[str, os.stat_result]
"""A tree by its paths, which begin with no slash; without its root."""

Mark = tuple[int, int]
"""The inode and the change time of a path."""


class LayerDir(NamedTuple):
    """A directory with a layer, and what tells that it is still the same: the directory itself
    does not change any more, and if another one is made in its place, its change time does."""

    path: str
    inode: int
    changed_ns: int


def layer_dir_at(path: str) -> LayerDir:
    """The layer in a directory."""
    found = os.stat(path)
    return LayerDir(path, found.st_ino, found.st_ctime_ns)


def layers_of(mount: Mount) -> list[LayerDir]:
    """The layers of a snapshot, topmost first."""
    return [layer_dir_at(path) for path in mount.layers]


def view_of(layers: Sequence[LayerDir]) -> View:
    """What they add up to, topmost first."""
    return View([layer.path for layer in layers], "marked" if layers else "plain")


class WorkingTree:
    """A folder with such a tree."""

    __slots__ = ("_layers", "_linked", "_marks", "folder")

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._layers: tuple[LayerDir, ...] = ()
        self._marks: dict[str, Mark] = {}
        self._linked: set[str] = set()
        os.mkdir(folder, 0o755)

    def remove(self) -> None:
        """Remove the folder."""
        remove_path(self.folder)

    def likeness(self, layers: Sequence[LayerDir]) -> int:
        """How many layers it has in common with others, from the lowest up; -1 if one of its own is
        gone."""
        try:
            if any(layer_dir_at(layer.path) != layer for layer in self._layers):
                return -1
        except FileNotFoundError:
            return -1
        pairs = zip(reversed(self._layers), reversed(layers), strict=False)
        same = [one == other for one, other in pairs]
        return same.index(False) if False in same else len(same)

    def follow(self, layers: Sequence[LayerDir], cancelled: threading.Event) -> None:
        """Make the tree like that of layers, topmost first."""
        before, wanted = view_of(self._layers), view_of(layers)
        found = {change.path: change for change in changes(before, wanted)}
        for path in self._linked:
            _add(found, path, wanted)
        _add_other_names(found, wanted)
        for path in list(found):
            while path := path.rpartition("/")[0]:
                _add(found, path, wanted)
        if found:
            _add(found, "", wanted)
            _apply(self.folder, NOTHING, found, cancelled, link=False)
            self._marks = {path: _mark(status) for path, status in scan(self.folder).items()}
        self._layers, self._linked = tuple(layers), set()

    def hand_over(self, moved: tuple[Moved, Moved], cancelled: threading.Event) -> None:
        """Put into the topmost layer what was changed since `follow`. `moved` are the marks of what
        was moved in and out, because moving changes their times."""
        marks, now = self._marks, scan(self.folder)
        went_in, came_out = moved
        for name, mark in came_out.items():
            path = name[1:]
            if went_in.get(name) == mark and path in marks and path in now:
                marks[path] = _mark(now[path])
        below = view_of(self._layers[1:])
        changed = {path for path, status in now.items() if marks.get(path) != _mark(status)}
        wanted = {path for path in changed if not self._is_as_before(path, now[path], below)}
        found = {path: _change(self.folder, path, now[path]) for path in wanted}
        for path in marks.keys() - now.keys():
            parent = path.rpartition("/")[0]
            # What goes with its directory need not be removed by itself.
            if not parent or (parent in now and stat.S_ISDIR(now[parent].st_mode)):
                found[path] = Change(Kind.DELETE, path)
        for path in list(found):
            while (path := path.rpartition("/")[0]) and path not in found:
                found[path] = _change(self.folder, path, now[path])
        found[""] = _change(self.folder, "", os.lstat(self.folder))
        _apply(self._layers[0].path, below, found, cancelled, link=True)
        self._marks = {path: _mark(status) for path, status in now.items()}
        for path in changed:
            self._marks[path] = _mark(os.lstat(f"{self.folder}/{path}"))
        self._linked = {path for path in wanted if not stat.S_ISDIR(now[path].st_mode)}
        self._layers = (layer_dir_at(self._layers[0].path), *self._layers[1:])

    def _is_as_before(self, path: str, status: os.stat_result, below: View) -> bool:
        """Whether a directory that was touched is the same all the same."""
        if not stat.S_ISDIR(status.st_mode):
            return False
        node = below.find(path)
        if node is None or node.type != stat.S_IFDIR:
            return False
        same_time = os.lstat(node.path).st_mtime_ns == status.st_mtime_ns
        return same_time and same_directory(node.path, f"{self.folder}/{path}")


def scan(folder: str) -> PathsFound:
    """A tree, by one lstat(2) for each path."""
    found: PathsFound = {}
    left = [""]
    while left:
        path = left.pop()
        with os.scandir(f"{folder}/{path}") as entries:
            for entry in entries:
                inner = f"{path}/{entry.name}" if path else entry.name
                status = found[inner] = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    left.append(inner)
    return found


def _mark(status: os.stat_result) -> Mark:
    return status.st_ino, status.st_ctime_ns


def _change(folder: str, path: str, status: os.stat_result) -> Change:
    source = f"{folder}/{path}" if path else folder
    return Change(Kind.MODIFY, path, source, status.st_ino, stat.S_IFMT(status.st_mode))


def _add(found: dict[str, Change], path: str, view: View) -> None:
    """Add a path as it is in a view, if it is there and is not among the changes."""
    if path not in found and (node := view.find(path)) is not None:
        found[path] = _as(path, node)


def _as(path: str, node: Node) -> Change:
    return Change(Kind.MODIFY, path, node.path, node.inode, node.type)


def _add_other_names(found: dict[str, Change], view: View) -> None:
    """Add the other names of files that have several: what is written again has to be linked to
    them."""
    wanted: dict[str, set[int]] = {}
    for change in found.values():
        is_file = change.kind is not Kind.DELETE and change.type != stat.S_IFDIR
        if is_file and os.lstat(change.source).st_nlink > 1:
            layer = change.source.removesuffix(f"/{change.path}")
            wanted.setdefault(layer, set()).add(change.inode)
    for layer, inodes in wanted.items():
        for path, status in scan(layer).items():
            if status.st_ino in inodes and path not in found:
                node = view.find(path)
                if node is not None and node.inode == status.st_ino:
                    found[path] = _as(path, node)


def _apply(
    target: str,
    below: View,
    found: dict[str, Change],
    cancelled: threading.Event,
    *,
    link: bool,
) -> None:
    """Apply changes in walk order: each directory before what is in it."""
    applier = Applier(target, below, link=link, cancelled=cancelled)
    applier.apply(found[path] for path in sorted(found, key=_in_order))


def _in_order(path: str) -> list[bytes]:
    return os.fsencode(path).split(b"/") if path else []
