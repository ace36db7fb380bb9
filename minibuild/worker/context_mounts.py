"""Build contexts as mounts of steps: in place where that is possible, copied where it is not.

Comes in: a context and a path in it. Goes out: what the executor is to mount. A step sees what a
copy from the context would take: nothing that is ignored, and all files as root's. How that is
done is tried from the best way down, and a step that a way fails for has not begun:

1. The files themselves, under a mount that shows one owner's files as root's, and under a mask for
   the rest. Only real root may have such mounts.
2. The files themselves, under a mask that replaces all that is not root's.
3. A copy of all that is to be seen.

A mask, and a copy, are made once and serve all steps of a build: what was looked at is looked at
again before each step, directories and replaced files only, and made again if it has changed.
Read next: `fileop.mask`, `executor.context`.
"""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from minibuild.executor.api import BindContext, BindTree, StepMount
from minibuild.fileop.api import Hooks, SourceTree
from minibuild.fileop.mask import (
    ROOT,
    OwnerIds,
    is_current,
    is_special,
    needs_mask,
    scan_context,
    write_copy,
    write_file,
    write_mask,
)
from minibuild.fileop.select import Pick, Selection, one_path
from minibuild.fileop.tree import TreeSink
from minibuild.fileop.walk import FoundFile
from minibuild.graph.op import BindMount
from minibuild.linux.beneath import open_beneath, remove_path
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.namespace import in_user_namespace
from minibuild.snapshot.api import Mount, Whiteouts
from minibuild.startup.tuples import NamedTuple
from minibuild.store.layout import Store

Way = Literal["owners mapped", "owners replaced", "copied"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


class _View(NamedTuple):
    """How a path of a context is shown: in place, with an owner that is mapped and a mask ("" for
    none), or as a `copy`. `seen` is what counted for the mask or the copy."""

    owner: OwnerIds = ROOT
    mask: str = ""
    copy: str = ""
    seen: Mapping[str, int] = {}


class ContextMounts:
    """What of contexts the steps of a process mount. Safe in threads; close it at the end."""

    def __init__(self, store: Store, whiteouts: Whiteouts) -> None:
        self._store = store
        self._opaque = f"{whiteouts}.overlay.opaque"
        self._all_ways: tuple[Way, ...] = ("copied",)
        if whiteouts != "plain":
            self._all_ways = ("owners replaced", *self._all_ways)
            if not in_user_namespace():
                self._all_ways = ("owners mapped", *self._all_ways)
        self._ways: dict[str, tuple[Way, ...]] = {}  # that are left for a context, by its path
        self._views: dict[tuple[object, ...], _View] = {}
        self._given: dict[BindContext, Way] = {}
        self._made: list[str] = []
        self._making = threading.Lock()

    def weaken(self, refused: Sequence[StepMount]) -> bool:
        """Take the next way for the contexts of a step, after the executor could not make one of
        these mounts; False if there is none. Another step may have done so meanwhile."""
        with self._making:
            contexts = [mount for mount in refused if isinstance(mount, BindContext)]
            weaker = False
            for path in {mount.path for mount in contexts}:
                given = [mount for mount in contexts if mount.path == path]
                left = self._ways_of(path)
                if self._given[given[0]] == left[0]:
                    left = left[1:]
                    if left[:1] == ("owners replaced",) and {m.owner for m in given} == {ROOT}:
                        left = left[1:]  # It would make the same mounts.
                if left:
                    weaker = True
                    self._ways[path] = left
                    self._forget(path)
            return weaker

    def _forget(self, path: str) -> None:
        self._views = {key: view for key, view in self._views.items() if key[0] != path}

    def _ways_of(self, path: str) -> tuple[Way, ...]:
        return self._ways.get(path, self._all_ways)

    def mount(
        self, tree: SourceTree, path: str, mount: BindMount, cancelled: threading.Event
    ) -> StepMount:
        """The mount of a step. `tree` is the context, which is at `path` on this machine.

        Raises `DefinitionError` if its source is not there.
        """
        pick = next(Selection(one_path(mount.source), tree).picks())
        with self._making:
            way = self._ways_of(path)[0]
            view = self._view(_MountTask(tree, pick, not mount.readonly, way, cancelled), path)
            if not view.copy:
                where = (mount.target, path, pick.real)
                made = BindContext(*where, view.owner, view.mask, not mount.readonly)
                self._given[made] = way
                return made
        name = "" if pick.is_dir else pick.real.rpartition("/")[2]
        copy = Mount((view.copy,))
        return BindTree(mount.target, copy, f"/{name}", mount.readonly, not mount.readonly)

    def _view(self, task: "_MountTask", path: str) -> _View:
        """How something is shown now: as before, if what counted for that is as it was."""
        key = (path, task.tree.ignore, task.pick.real, task.written)
        folder = task.pick.real if task.pick.is_dir else task.pick.real.rpartition("/")[0]
        with closing_fd(open_beneath(task.tree.fd, folder, _DIRECTORY)) as fd:
            view = self._views.get(key)
            if view is None or not is_current(fd, view.seen):
                make = self._of_directory if task.pick.is_dir else self._of_file
                view = self._views[key] = make(task, fd)
            return view

    def _of_directory(self, task: "_MountTask", fd: int) -> _View:
        tree, top, way = task.tree, task.pick.real, task.way
        if way == "copied":
            with self._new_folder() as (made, made_fd):
                seen = write_copy(tree, fd, top, made_fd, task.sink(made_fd))
            return _View(copy=made, seen=seen)
        found = scan_context(
            tree, fd, top, maps_owners=way == "owners mapped", cancelled=task.cancelled
        )
        if not needs_mask(found, written=task.written):
            return _View(found.owner, seen=found.seen)
        with self._new_folder() as (made, made_fd):
            sink = task.sink(made_fd)
            seen = write_mask(tree, fd, found, made_fd, self._opaque, sink, task.cancelled)
        return _View(found.owner, made, seen=seen)

    def _of_file(self, task: "_MountTask", fd: int) -> _View:
        """The view of a file in the open directory."""
        status, way = task.pick.stat, task.way
        owner = (status.st_uid, status.st_gid)
        is_shown = owner == ROOT and (way == "owners replaced" or not task.written)
        if not is_special(status) and (way == "owners mapped" or is_shown):
            return _View(owner)
        name = task.pick.real.rpartition("/")[2]
        with self._new_folder() as (made, made_fd):
            seen = write_file(FoundFile(task.pick.real, fd, name, status), task.sink(made_fd))
        return _View(copy=made, seen=seen)

    @contextmanager
    def _new_folder(self) -> Iterator[tuple[str, int]]:
        """A new empty directory, which is removed when all is closed, or if this process dies."""
        path = self._store.ingest_path()
        os.mkdir(path, 0o700)
        self._made.append(path)
        with closing_fd(os.open(path, _DIRECTORY)) as fd:
            yield path, fd

    def close(self) -> None:
        """Remove masks and copies. No step uses them any more."""
        for path in self._made:
            remove_path(path)
        self._made.clear()


class _MountTask(NamedTuple):
    """What is to be shown of which context, whether the step may write to it, and how."""

    tree: SourceTree
    pick: Pick
    written: bool
    way: Way
    cancelled: threading.Event

    def sink(self, fd: int) -> TreeSink:
        """What writes to a new directory, until the build is cancelled."""
        return TreeSink(fd, Hooks(cancelled=self.cancelled))
