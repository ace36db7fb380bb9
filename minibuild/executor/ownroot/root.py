"""The directory "/" of a container: what is in it now, and how that is mended after a crash.

Comes in: a tree of ours that is to be "/" for a while. Goes out: the tree as it is after that.
Each change is noted down before it is made, in a *journal*, so the next process knows where the
last one was killed:

    parking     what was in "/" goes to `original`; the tree is still where it was
    in          "/" is the tree's, or becomes so, or was; all of it can be thrown away
    returning   the tree is gone from "/", and `original` comes back

One step at a time has "/", in this process and in others: there is a lock.
Read next: `working_tree`, `step_mounts`.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from minibuild.errors import Cancelled
from minibuild.executor.ownroot import exchange
from minibuild.executor.ownroot.exchange import Moved
from minibuild.executor.ownroot.leftover import end_leftovers
from minibuild.executor.ownroot.permit import (
    OwnRootRefused,
    ProgramHome,
    foreign_paths,
    named,
    program_home,
)
from minibuild.executor.ownroot.placement import Placement, put_back
from minibuild.linux.beneath import remove_path
from minibuild.linux.descriptors import replacing
from minibuild.store.claim import StoreClaim, abandoned
from minibuild.store.flock import hold

_WAIT_S, _TICK_S = 0.05, 0.001


def root_here() -> "Root":
    """The root directory of this container, whatever it holds. Raises `OwnRootRefused` if it is
    none that this program may use at all."""
    root = Root(program_home(), "/")
    root.sweep()
    return root


def permitted_root() -> "Root":
    """The same, if it holds nothing that could be lost."""
    root = root_here()
    if foreign := root.foreign():
        root.close()
        raise OwnRootRefused(
            f"/ holds what is not of minibuild's image: {named(foreign)}",
            hint=f"keep files of yours on volumes, or below {root.home.path}",
        )
    return root


class Root:
    """ "/", as this process uses it. `live` is another directory in tests, and "/" only where
    `program_home` has made the home."""

    def __init__(self, home: ProgramHome, live: str) -> None:
        self.home = home
        self.live = live
        self.folder = f"{home.path}/roots"
        self._journal = f"{self.folder}/journal"
        self._original = f"{self.folder}/original"
        self._owners = f"{self.folder}/owners"
        for folder in (self.folder, self._owners):
            os.makedirs(folder, mode=0o700, exist_ok=True)
        self._claim = StoreClaim(self._owners)
        self._count = 0

    def new_name(self) -> str:
        """A path where nothing is, on the filesystem of "/". What is there when this process has
        died is removed by another."""
        self._count += 1
        return f"{self.folder}/{self._claim.name}.{self._count}"

    def sweep(self) -> None:
        """Mend what a dead process left: "/", if it is not in use, and its trees."""
        with hold(f"{self.folder}/lock", wait=False) as held:
            if held:
                self._mend()
        with abandoned(self._owners) as dead:
            for name in os.listdir(self.folder):
                if name.partition(".")[0] in dead:
                    remove_path(f"{self.folder}/{name}")

    def foreign(self) -> list[str]:
        """What "/" holds and must not lose. While another process has it for a step, that one has
        asked already."""
        with hold(f"{self.folder}/lock", wait=False) as held:
            return sorted(foreign_paths(self.live, self.home)) if held else []

    def close(self) -> None:
        """Remove what this process has left."""
        for name in os.listdir(self.folder):
            if name.partition(".")[0] == self._claim.name:
                remove_path(f"{self.folder}/{name}")
        self._claim.release()

    @contextmanager
    def turn(self, cancelled: threading.Event) -> Iterator[None]:
        """Have "/" for a while; raises `Cancelled` if it is not free before that is set."""
        while True:
            with hold(f"{self.folder}/lock", wait=False) as held:
                if held:
                    self._mend()
                    yield
                    return
            if cancelled.wait(_WAIT_S):
                raise Cancelled("the step was cancelled")

    @contextmanager
    def holding(self, tree: str, placed: "list[Placement]") -> Iterator["MovedTree"]:
        """The tree in "/" while the block runs; it is back in its folder when it ends. `placed` may
        grow by `MovedTree.note`."""
        if not os.path.isdir(self._original):
            exchange.make_frame(self.live, self._original, self.home.preserved())
        self._write("parking", tree, [])
        exchange.move_out(self.live, self._original, self.home.preserved())
        self._write("in", tree, placed)
        moved = MovedTree(self, tree, placed)
        try:
            moved.moved_in = exchange.move_in(tree, self.live, self.home.preserved())
            yield moved
            moved.moved_out = exchange.move_out(self.live, tree, self.home.preserved())
        except BaseException:
            self._mend()
            raise
        self._write("returning", tree, [])
        self._return()

    def wait_for_tick(self) -> None:
        """Let the clock that files get their times from move on: what changes from now on has
        another time than what was changed before. It ticks every few milliseconds."""
        before = self._touched_ns()
        while self._touched_ns() == before:
            time.sleep(_TICK_S)

    def _touched_ns(self) -> int:
        os.utime(self._journal)
        return os.stat(self._journal).st_ctime_ns

    def _write(self, phase: str, tree: str, placed: list[Placement]) -> None:
        text = json.dumps([phase, tree, placed])
        with replacing(self._journal, f"{self._journal}.new") as file:
            file.write(os.fsencode(text))

    def _mend(self) -> None:
        """Bring back what belongs into "/", if the last to use it did not."""
        try:
            with open(self._journal, encoding="utf-8", errors="surrogateescape") as file:
                phase, tree, placed = json.load(file)
        except FileNotFoundError:
            return
        if phase == "in":
            kept = self.home.preserved()
            end_leftovers(self.live, kept)
            for one in reversed(placed):
                put_back(Placement(*one), kept)
            trash = self.new_name()
            os.mkdir(trash, 0o700)
            exchange.move_out(self.live, trash, self.home.preserved())
            self._write("returning", tree, [])
            for path in (trash, tree):
                remove_path(path)
        self._return()

    def _return(self) -> None:
        if os.path.isdir(self._original):
            exchange.move_in(self._original, self.live, self.home.preserved())
            remove_path(self._original)
        os.unlink(self._journal)


class MovedTree:
    """The time that a tree is in "/": what moved there, and back."""

    def __init__(self, root: Root, tree: str, placed: list[Placement]) -> None:
        self._root = root
        self._tree = tree
        self._placed = placed
        self.moved_in: Moved = {}
        self.moved_out: Moved = {}

    def note(self, placement: Placement) -> None:
        """Note a mount down, before it is put in place."""
        self._placed.append(placement)
        self._root._write("in", self._tree, self._placed)
