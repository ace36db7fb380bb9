"""The executor of a container that may make no namespaces: one step at a time, in "/".

Comes in: a `Step`, whose rootfs is the directory of a snapshot in the making. Goes out: its output,
a `StepExit`, and the snapshot's layer with what the step changed. The working trees stay for the
next steps: one that goes on where another ended copies what that changed and no more, and one of
another stage takes the tree that has most layers in common with its own.
Read next: `root`, `working_tree`, `keeper`.
"""

import os
import threading
from contextlib import suppress

from minibuild.errors import Cancelled, HostError
from minibuild.executor.api import OnOutput, Step, StepExit
from minibuild.executor.oom import OomWatch
from minibuild.executor.ownroot.keeper import KeeperClient
from minibuild.executor.ownroot.root import Root
from minibuild.executor.ownroot.step_mounts import StepMounts
from minibuild.executor.ownroot.working_tree import LayerDir, WorkingTree, layers_of
from minibuild.executor.running import Running
from minibuild.executor.wire import Exited, Request
from minibuild.linux import resources as limits
from minibuild.linux.resources import Resources
from minibuild.startup.tuples import NamedTuple

_MOST_TREES = 4
_LASTING = ("proc", "dev", "sys")
"""Directories that runtimes make for their mounts, and leave in the layer."""


class OwnRootExecutor:
    """An `api.Executor`. Safe to use from many threads, which take turns."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._keeper = KeeperClient.begin()
        self._trees: list[WorkingTree] = []
        self._oom = OomWatch()
        self._closed = False

    def start(
        self,
        step: Step,
        output: OnOutput,
        stdin: int | None = None,
        *,
        held: bool = False,
        last: bool = False,
    ) -> "OwnRootStep":
        """See `api.Executor.start`."""
        return OwnRootStep(self, step, output, stdin)

    def run(
        self, step: Step, output: OnOutput, cancelled: threading.Event, stdin: int | None = None
    ) -> StepExit:
        """Run one step to its end."""
        _check(step)
        with self._root.turn(cancelled):
            if cancelled.is_set() or self._closed:
                raise Cancelled("the step was cancelled")
            exited = self._run(step, output, cancelled, stdin)
        if cancelled.is_set() or self._closed:
            raise Cancelled("the step was cancelled")
        return self._oom.exit_of(exited)

    def _run(
        self, step: Step, output: OnOutput, cancelled: threading.Event, stdin: int | None
    ) -> Exited:
        layers = layers_of(step.rootfs)
        tree = self._tree_like(layers)
        try:
            tree.follow(layers, cancelled)
            mounts = StepMounts(self._root, step, cancelled)
            try:
                mounts.prepare()
                with self._root.holding(tree.folder, []) as moved:
                    try:
                        mounts.put(moved)
                        self._root.wait_for_tick()
                        exited = self._process(step, output, cancelled, stdin)
                    finally:
                        mounts.take_away()
            finally:
                mounts.close()
            if step.rootfs.upper:
                _make_lasting(tree.folder, step)
                tree.hand_over((moved.moved_in, moved.moved_out), cancelled)
                self._trees.append(tree)
            else:
                tree.remove()  # A step may have written to what it was only to read.
        except BaseException:
            # What it is like now is not known.
            tree.remove()
            raise
        return exited

    def _tree_like(self, layers: list[LayerDir]) -> WorkingTree:
        """The tree from which there is least to do, taken out of those that are kept."""
        likeness = {tree.folder: tree.likeness(layers) for tree in self._trees}
        best = max(self._trees, key=lambda tree: likeness[tree.folder], default=None)
        if best is not None and likeness[best.folder] > 0:
            self._trees.remove(best)
            return best
        while len(self._trees) >= _MOST_TREES:
            self._trees.pop(0).remove()
        return WorkingTree(self._root.new_name())

    def _process(
        self, step: Step, output: OnOutput, cancelled: threading.Event, stdin: int | None
    ) -> Exited:
        running = Running(output, stdin)
        try:
            running.start(self._keeper, Request(step))
            exited = running.wait(cancelled)
        except BaseException:
            running.kill()
            raise
        finally:
            running.close()
        if exited is None:
            raise HostError(
                "the keeper of the step died", hint="was it killed, or out of memory? See `dmesg`"
            )
        return exited

    def unkept(self, resources: Resources) -> list[str]:
        """None is kept: a container may make no cgroups."""
        return limits.names(resources, kept_by=frozenset())

    def close(self) -> None:
        """Stop the keeper, and with it a step, and remove the trees."""
        self._closed = True
        self._keeper.close()
        self._root.close()


class OwnRootStep(NamedTuple):
    """An `api.StartedStep` that starts when it is waited for: it may have to wait for its turn."""

    executor: OwnRootExecutor
    step: Step
    output: OnOutput
    stdin: int | None

    def release(self) -> bool:
        """See `api.StartedStep.release`."""
        return True

    def drop(self) -> None:
        """See `api.StartedStep.drop`."""

    def wait(self, cancelled: threading.Event) -> StepExit:
        """See `api.StartedStep.wait`."""
        return self.executor.run(self.step, self.output, cancelled, self.stdin)


def _check(step: Step) -> None:
    """Raise `HostError` for what a step would be given in a namespace alone."""
    wanted = {
        "without a network": (step.network == "none", "--network=none"),
        "with all privileges": (step.security == "insecure", "--security=insecure"),
        "with /dev/shm of another size": (step.shm_size_bytes > 0, "--shm-size"),
    }
    for what, (asked, flag) in wanted.items():
        if asked:
            raise HostError(
                f"a RUN {what} needs namespaces, which this container refuses",
                hint=f"leave out {flag}, or see `minibuild doctor` for what allows namespaces",
            )


def _make_lasting(tree: str, step: Step) -> None:
    for name in _LASTING:
        if any(mount.target.startswith(f"/{name}/") for mount in step.mounts):
            continue  # On the way to a mount point, it goes with it.
        with suppress(FileExistsError):
            os.mkdir(f"{tree}/{name}", 0o755)
            os.chmod(f"{tree}/{name}", 0o755)
