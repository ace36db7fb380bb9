"""Doing an Exec: a new snapshot on the root filesystem, and a process that changes it.

Comes in: a vertex whose inputs are solved. Goes out: the base's result with one diff more.
Read next: `execmounts`, `prepared_steps`, `executor.api`.
"""

import json
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Protocol

from minibuild.cache.results import Result
from minibuild.errors import MAKE_ROOM, Cancelled, DefinitionError, StepFailed, located
from minibuild.executor.api import CannotShow, StartedStep, Step, StepExit, StepMount
from minibuild.graph.op import BindMount, Exec
from minibuild.graph.vertex import Vertex
from minibuild.linux.resources import Resources, out_of_memory
from minibuild.snapshot.api import SnapshotID
from minibuild.solver.execmounts import ExecMounts
from minibuild.solver.keys import ReadyVertex, outputs
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.context import BuildContext

TAIL_BYTES = 16 * 1024
"""How much of a step's output is kept for the message about its failure."""


def run_exec(
    build: BuildContext,
    ready: ReadyVertex,
    run: "ExecRun",
    meanwhile: "Callable[[SnapshotID], Following | None]",
) -> tuple[Result, Mapping[int, Result]]:
    """The result of the base with one diff more: what the process changed. And the same for each
    mount that is an output, by its index.

    `meanwhile` is called when `run` has its process. It may prepare a step on the root filesystem
    of this one, which is released when this one has ended well. Raises `StepFailed` if the process
    ended with another code than 0.
    """
    following = None
    try:
        with located(ready.vertex.note.span):
            run.begin(ready)
            following = meanwhile(run.root)
            while not run.ends_well():
                run.begin(ready)
        if following is not None:
            following.release()
        with build.worker.store.db.transaction():
            results = run.commit()
    except BaseException as error:
        if following is not None:
            following.drop()
        if isinstance(error, StepFailed) and build.keep_failed is not None:
            build.keep_failed(ready.vertex, run.op, run.commit_root())
        run.drop()
        raise
    return results[None], {n: result for n, result in results.items() if n is not None}


class Following(Protocol):
    """A step that is prepared on one that runs."""

    def release(self) -> None:
        """Let it run: the one below has ended well."""

    def drop(self) -> None:
        """Leave nothing of it."""


class _Tree(NamedTuple):
    """A tree that a step changes: a new snapshot on that of a result."""

    base: Result
    lower: SnapshotID | None
    active: SnapshotID


class ExecRun:
    """An Exec that is being done: the trees that it changes, and its process. After the `last` one
    no other is expected."""

    def __init__(self, build: BuildContext, vertex: Vertex, op: Exec, *, last: bool) -> None:
        self._build, self.op, self._last = build, op, last
        self._progress = build.progress(vertex.digest)
        self._tail = bytearray()
        self._trees: dict[int | None, _Tree] = {}
        self._mounts: tuple[StepMount, ...] = ()
        self._held = ExitStack()
        self._started: StartedStep | None = None

    @property
    def root(self) -> SnapshotID:
        """The snapshot of the root filesystem."""
        return self._trees[None].active

    def begin_early(self, ready: ReadyVertex, below: SnapshotID) -> bool:
        """Prepare the step on a root filesystem that another one still changes. False if that
        cannot be."""
        active = self._build.worker.snapshots.prepare_early(below)
        if active is None:
            return False
        self._trees[None] = _Tree((), below, active)
        self._start(ready, held=True)
        return True

    def release(self) -> bool:
        """Let a step go on that was begun early. False if it has to begin once more."""
        self._build.worker.snapshots.settle(self.root)
        return self._started is not None and self._started.release()

    def begin(self, ready: ReadyVertex) -> None:
        """Start the process, if that was not done early."""
        if self._started is not None:
            self._trees[None] = self._trees[None]._replace(base=ready.base)
            return
        if not self._trees:
            self._prepare(None, ready.base)
            for number in outputs(self.op):
                self._prepare(number, _written(ready, self.op, number))
        self._start(ready)

    def _prepare(self, number: int | None, base: Result) -> None:
        lower = self._build.materialiser.snapshot(base, self._progress.remark)
        self._trees[number] = _Tree(base, lower, self._build.worker.snapshots.prepare(lower))

    def _start(self, ready: ReadyVertex, *, held: bool = False) -> None:
        build, op = self._build, self.op
        actives = {number: tree.active for number, tree in self._trees.items()}
        env = {**dict(op.env), **dict(ready.vertex.note.proxy)}
        mounts = ExecMounts(build, ready, self._held, env, actives)
        self._mounts = mounts.all(op)
        step = Step(
            rootfs=build.worker.snapshots.mount(self.root, readonly=op.readonly),
            args=op.args,
            env=tuple(mounts.env.items()),
            cwd=op.cwd,
            user=op.user,
            mounts=self._mounts,
            network=op.network,
            security=op.security,
            hostname=op.hostname or Step._field_defaults["hostname"],
            etc_hosts=op.add_hosts,
            shm_size_bytes=op.shm_size_bytes,
            limits=op.ulimits,
            resources=build.resources,
        )
        self._started = build.executor().start(step, self._output, held=held, last=self._last)

    def _output(self, stream: int, data: bytes) -> None:
        self._tail.extend(data)
        del self._tail[:-TAIL_BYTES]
        self._progress.log(stream, data)

    def ends_well(self) -> bool:
        """Wait for the process. False if it has to be started once more, with a context that is
        shown in another way: nothing has run yet."""
        build, op, started = self._build, self.op, self._started
        assert started is not None
        self._started = None
        with self._held:
            try:
                ended = started.wait(build.cancelled)
            except CannotShow as error:
                if not build.worker.context_mounts().weaken(self._mounts):
                    raise
                self._progress.remark(f"{error.message}; so its files are copied")
                return False
        if ended.code not in op.exit_codes:
            # A signal for the whole group (Ctrl-C) may end the step before this process sees it.
            cancelled = build.cancelled.wait(_SIGNAL_S if ended.code in _BY_SIGNAL else 0)
            raise _failure(op, ended, self._tail, build.resources, cancelled=cancelled)
        return True

    def commit(self) -> dict[int | None, Result]:
        """The results, with what changed on top: of the root (None), and of mounts."""
        return {number: self._commit(tree) for number, tree in self._trees.items()}

    def commit_root(self) -> Result:
        """The same for the root alone."""
        return self._commit(self._trees.pop(None))

    def _commit(self, tree: _Tree) -> Result:
        worker = self._build.worker
        worker.snapshots.commit(tree.active)
        return (*tree.base, worker.diffs.add(tree.base, lower=tree.lower, upper=tree.active))

    def drop(self) -> None:
        """Leave nothing of the step."""
        if self._started is not None:
            self._started.drop()
        self._held.close()
        for tree in self._trees.values():
            self._build.worker.snapshots.remove(tree.active)


def _written(ready: ReadyVertex, op: Exec, number: int) -> Result:
    """What the mount of this number holds before the step."""
    mount = op.mounts[number]
    assert isinstance(mount, BindMount)
    if ready.is_context(mount.input):
        raise DefinitionError(
            f"the context at {mount.target} can only be read",
            hint="copy it first, and mount the copy",
        )
    found = ready.input(mount.input)
    return found.result if found is not None else ()


_BY_SIGNAL = tuple(128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM))
_SIGNAL_S = 0.1


def _failure(
    op: Exec, ended: StepExit, tail: bytearray, resources: Resources, *, cancelled: bool
) -> Exception:
    if cancelled:
        return Cancelled("the step was cancelled")
    hint = ""
    if ended.oom:
        hint = out_of_memory(ended.peak_bytes, resources)
    elif _foreign(tail):
        hint = (
            f"a program for another machine than {os.uname().machine}: install emulation for it "
            "(qemu-user-static and binfmt-support, or the like), or let this stage run here with "
            "FROM --platform=$BUILDPLATFORM and cross-compile"
        )
    elif b"No space left on device" in tail:
        hint = f"{MAKE_ROOM}; /dev/shm has --shm-size"
    elif ended.code == 127 and f'exec: "{op.args[0]}"'.encode() in tail:
        hint = f"the image has no {op.args[0]}: a RUN in shell form needs a shell, see SHELL"
        if op.args[0] not in ("/bin/sh", "/bin/bash"):
            hint = f"the image has no {op.args[0]}: is it installed, is PATH right?"
    elif ended.code == 127:
        hint = "the shell found no such command in the image: is it installed, is PATH right?"
    elif ended.code == 126 and b"arguments and environment are too long" in tail:
        hint = "one argument has 128 KiB at most, all of them 2 MiB (execve(2)): COPY the data"
    elif ended.code == 126:
        hint = "the file is there but cannot be executed: its mode, or its platform"
    args = json.dumps(" ".join(op.args), ensure_ascii=False)  # in one line
    return StepFailed(
        f"process {args} did not complete successfully: exit code: {ended.code}",
        code=ended.code,
        hint=hint,
        detail=tail.decode("utf-8", "replace"),
    )


def _foreign(output: bytes | bytearray) -> bool:
    """Whether a step said that it could not run a binary.

    A shell takes a file that the kernel refuses for a script, and complains of its first bytes.
    """
    return b"exec format error" in output.lower() or b"\x7fELF" in output
