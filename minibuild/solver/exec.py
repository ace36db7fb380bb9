"""Doing an Exec: a new snapshot on the root filesystem, and a process that changes it.

Everything the op names is turned into something of this machine here: results into mounts, caches
into directories, secrets into bytes. What the process then sees is the executor's business.
Comes in: a vertex whose inputs are solved. Goes out: the base's result with one diff more.
Read next: `cachemounts`, `executor.api`.
"""

import os
import signal
from collections.abc import Mapping
from contextlib import ExitStack
from typing import assert_never

from minibuild.cache.results import Result
from minibuild.errors import Cancelled, DefinitionError, StepFailed, located
from minibuild.executor.api import (
    BindPath,
    BindTree,
    CannotShow,
    SecretFile,
    Step,
    StepExit,
    StepMount,
    Tmpfs,
)
from minibuild.graph.op import BindMount, CacheMount, Exec, SecretMount, SshMount, TmpfsMount
from minibuild.linux.resources import Resources, out_of_memory
from minibuild.snapshot.api import SnapshotID
from minibuild.solver.cachemounts import cache_directories, with_full_id
from minibuild.solver.inputs import open_input
from minibuild.solver.keys import ReadyVertex, outputs
from minibuild.worker.context import BuildContext

TAIL_BYTES = 16 * 1024
"""How much of a step's output is kept for the message about its failure."""


def run_exec(
    build: BuildContext, ready: ReadyVertex, op: Exec
) -> tuple[Result, Mapping[int, Result]]:
    """The result of the base with one diff more: what the process changed. And the same for each
    mount that is an output, by its index.

    Raises `StepFailed` if the process ended with another code than 0.
    """
    trees: dict[int | None, _Tree] = {}
    try:
        trees[None] = _Tree(build, ready, ready.base)
        with located(ready.vertex.note.span):
            for number in outputs(op):
                trees[number] = _Tree(build, ready, _written(ready, op, number))
            while not _run(build, ready, op, {n: tree.active for n, tree in trees.items()}):
                pass
        with build.worker.store.db.transaction():
            results = {number: tree.commit() for number, tree in trees.items()}
    except BaseException as error:
        if isinstance(error, StepFailed) and build.keep_failed is not None:
            build.keep_failed(ready.vertex, op, trees.pop(None).commit())
        for tree in trees.values():
            build.worker.snapshots.remove(tree.active)
        raise
    return results[None], {n: result for n, result in results.items() if n is not None}


class _Tree:
    """A tree that a step changes: a new snapshot on that of a result."""

    __slots__ = ("_base", "_build", "_parent", "active")

    def __init__(self, build: BuildContext, ready: ReadyVertex, base: Result) -> None:
        self._build = build
        self._base = base
        self._parent = build.materialiser.snapshot(base, build.progress(ready.vertex.digest).remark)
        self.active = build.worker.snapshots.prepare(self._parent)

    def commit(self) -> Result:
        """The result with what changed on top, when the step has ended."""
        worker = self._build.worker
        worker.snapshots.commit(self.active)
        made = worker.diffs.add(self._base, lower=self._parent, upper=self.active)
        return (*self._base, made)


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

Actives = Mapping[int | None, SnapshotID]
"""The snapshots that a step changes: its root filesystem (None), and mounts by their index."""


def _run(build: BuildContext, ready: ReadyVertex, op: Exec, actives: Actives) -> bool:
    """Run the process in its snapshots. False if that has to be tried once more, with a
    context that is shown in another way: nothing has run yet."""
    progress, tail = build.progress(ready.vertex.digest), bytearray()

    def output(stream: int, data: bytes) -> None:
        tail.extend(data)
        del tail[:-TAIL_BYTES]
        progress.log(stream, data)

    with ExitStack() as stack:
        held = _Mounts(build, ready, stack, dict(op.env), actives)
        mounts = held.all(op)
        for name, value in ready.vertex.note.proxy:
            held.env.setdefault(name, value)
        step = Step(
            rootfs=build.worker.snapshots.mount(actives[None], readonly=op.readonly),
            args=op.args,
            env=tuple(held.env.items()),
            cwd=op.cwd,
            user=op.user,
            mounts=mounts,
            network=op.network,
            security=op.security,
            hostname=op.hostname or Step._field_defaults["hostname"],
            etc_hosts=op.add_hosts,
            shm_size_bytes=op.shm_size_bytes,
            limits=op.ulimits,
            resources=build.resources,
        )
        try:
            ended = build.executor().run(step, output, build.cancelled)
        except CannotShow as error:
            if not build.worker.context_mounts().weaken(mounts):
                raise
            progress.remark(f"{error.message}; so its files are copied")
            return False
    if ended.code not in op.exit_codes:
        # A signal for the whole group (Ctrl-C) may end the step before this process has seen it.
        turn = _SIGNAL_S if ended.code in _BY_SIGNAL else 0
        raise _failure(op, ended, tail, build.resources, cancelled=build.cancelled.wait(turn))
    return True


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
    return StepFailed(
        f'process "{" ".join(op.args)}" did not complete successfully: exit code: {ended.code}',
        code=ended.code,
        hint=hint,
        detail=tail.decode("utf-8", "replace"),
    )


def _foreign(output: bytes | bytearray) -> bool:
    """Whether a step said that it could not run a binary.

    A shell takes a file that the kernel refuses for a script, and complains of its first bytes.
    """
    return b"exec format error" in output.lower() or b"\x7fELF" in output


class _Mounts:
    """The mounts of a step on this machine, held by `stack` while the step runs. Secrets and ssh
    agents may set variables in `env`."""

    def __init__(
        self,
        build: BuildContext,
        ready: ReadyVertex,
        stack: ExitStack,
        env: dict[str, str],
        actives: Actives,
    ) -> None:
        self._build = build
        self._actives = actives
        self._ready = ready
        self._stack = stack
        self.env = env

    def all(self, op: Exec) -> tuple[StepMount, ...]:
        """What the mounts of the op are here."""
        build = self._build
        wanted = [
            with_full_id(mount, self._ready) if isinstance(mount, CacheMount) else mount
            for mount in op.mounts
        ]
        cache_mounts = [mount for mount in wanted if isinstance(mount, CacheMount)]
        if build.cache_mount_importer is not None:
            # Before any of them is held: two steps with the same mounts must not wait for each
            # other.
            build.cache_mount_importer(build, cache_mounts)
        caches: dict[str, str] = {}
        if cache_mounts:
            held = cache_directories(build, self._ready, cache_mounts)
            caches = self._stack.enter_context(held)
        made: list[StepMount] = []
        for number, mount in enumerate(wanted):
            match mount:
                case CacheMount():
                    path = caches[mount.id]
                    made.append(BindPath(mount.target, path, readonly=mount.readonly))
                case BindMount(output=True):
                    tree = build.worker.snapshots.mount(self._actives[number], readonly=False)
                    made.append(BindTree(mount.target, tree, mount.source, readonly=False))
                case BindMount():
                    made.append(self._bind(mount))
                case TmpfsMount():
                    made.append(Tmpfs(mount.target, mount.size_bytes, mount.readonly))
                case SecretMount():
                    made += self._secret(mount)
                case SshMount():
                    made += self._ssh(mount)
                case _ as unknown:
                    assert_never(unknown)
        return tuple(made)

    def _bind(self, mount: BindMount) -> StepMount:
        build, found = self._build, self._ready.input(mount.input)
        if found is not None and found.local is not None:
            path = os.path.realpath(build.directory(found.local.name))
            with open_input(build, self._ready, mount.input) as tree:
                return build.worker.context_mounts().mount(tree, path, mount, build.cancelled)
        snapshots, tell = build.worker.snapshots, build.progress(self._ready.vertex.digest).remark
        snapshot = build.materialiser.snapshot(found.result if found else (), tell)
        if snapshot is None:
            snapshot = snapshots.prepare(None)
            self._stack.callback(snapshots.remove, snapshot)
        shown, discard = snapshots.mount(snapshot, readonly=True), not mount.readonly
        return BindTree(mount.target, shown, mount.source, mount.readonly, discard)

    def _secret(self, mount: SecretMount) -> list[StepMount]:
        value = self._build.secret(mount.id)
        if value is None:
            if mount.required:
                raise DefinitionError(
                    f"secret {mount.id}: not found",
                    hint=f"give it with --secret id={mount.id},src=FILE",
                )
            if mount.env:
                self.env[mount.env] = ""
            return []
        if mount.env:
            self.env[mount.env] = value.decode("utf-8", "surrogateescape")
        if not mount.target:
            return []
        return [SecretFile(mount.target, value, mount.mode, mount.uid, mount.gid)]

    def _ssh(self, mount: SshMount) -> list[StepMount]:
        agent = self._build.ssh(mount.id)
        self.env.setdefault("SSH_AUTH_SOCK", mount.target)
        if agent is None:
            if mount.required:
                raise DefinitionError(
                    f"ssh agent {mount.id}: not found", hint=f"give it with --ssh {mount.id}"
                )
            return []
        from minibuild.session.ssh_agent import forwarded

        # Among the files in the making, which are swept should we be killed.
        socket = self._build.worker.store.ingest_path()
        self._stack.enter_context(forwarded(agent, socket, mount.mode, mount.uid, mount.gid))
        return [BindPath(mount.target, socket)]
