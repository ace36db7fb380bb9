"""Doing an Exec: a new snapshot on the root filesystem, and a process that changes it.

Everything the op names is turned into something of this machine here: results into mounts, caches
into directories, secrets into bytes. What the process then sees is the executor's business.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack

from minibuild.cache.results import Result, VertexResult
from minibuild.errors import Cancelled, DefinitionError, StepFailed, located
from minibuild.executor.api import (
    BindPath,
    BindTree,
    CannotShow,
    Limit,
    SecretFile,
    Step,
    StepExit,
    StepMount,
    Tmpfs,
)
from minibuild.graph.op import (
    BindMount,
    CacheMount,
    Exec,
    SecretMount,
    SshMount,
    TmpfsMount,
)
from minibuild.graph.vertex import Vertex
from minibuild.progress.writer import ProgressWriter
from minibuild.snapshot.api import SnapshotID
from minibuild.solver.cachemounts import cache_directories, with_full_id
from minibuild.solver.seeds import Seeds
from minibuild.solver.trees import input_of, open_input
from minibuild.worker.context import BuildContext

TAIL_BYTES = 16 * 1024
"""How much of a step's output is kept for the message about its failure."""


def run_exec(
    build: BuildContext,
    vertex: Vertex,
    op: Exec,
    inputs: Sequence[VertexResult | None],
    progress: ProgressWriter,
) -> Result:
    """The result of input 0 with one diff more: what the process changed.

    Raises `StepFailed` if the process ended with another code than 0.
    """
    base: Result = inputs[0].result if inputs and inputs[0] else ()
    parent = build.materialiser.snapshot(base, progress.remark)
    active = build.worker.snapshots.prepare(parent)
    try:
        with located(vertex.note.span):
            while not _run(build, vertex, op, inputs, progress, active):
                pass
        with build.worker.store.db.transaction():
            build.worker.snapshots.commit(active)
            made = build.worker.diffs.add(base, lower=parent, upper=active)
    except BaseException as error:
        if isinstance(error, StepFailed) and build.keep_failed is not None:
            build.worker.snapshots.commit(active)
            failed = build.worker.diffs.add(base, lower=parent, upper=active)
            build.keep_failed(vertex, op, (*base, failed))
        else:
            build.worker.snapshots.remove(active)
        raise
    return (*base, made)


def _run(
    build: BuildContext,
    vertex: Vertex,
    op: Exec,
    inputs: Sequence[VertexResult | None],
    progress: ProgressWriter,
    active: SnapshotID,
) -> bool:
    """Run the process in the snapshot `active`. False if that has to be tried once more, with a
    context that is shown in another way: nothing has run yet."""
    tail = bytearray()

    def output(stream: int, data: bytes) -> None:
        tail.extend(data)
        del tail[:-TAIL_BYTES]
        progress.log(stream, data)

    with ExitStack() as stack:
        env = dict(op.env)
        mounts = _mounts(build, vertex, op, inputs, progress, stack, env)
        for name, value in vertex.note.proxy:
            env.setdefault(name, value)
        step = Step(
            rootfs=tuple(build.worker.snapshots.mounts(active, readonly=False)),
            args=op.args,
            env=tuple(env.items()),
            cwd=op.cwd,
            user=op.user,
            mounts=mounts,
            network=op.network,
            security=op.security,
            hostname=op.hostname or Step._field_defaults["hostname"],
            etc_hosts=op.add_hosts,
            shm_size_bytes=op.shm_size_bytes,
            limits=tuple(Limit(*limit) for limit in op.ulimits),
        )
        try:
            ended = build.worker.executor().run(step, output, build.cancelled)
        except CannotShow as error:
            if not build.worker.context_mounts().weaken(mounts):
                raise
            progress.remark(f"{error.message}; so its files are copied")
            return False
    if ended.code:
        raise _failure(op, ended, tail, cancelled=build.cancelled.is_set())
    return True


def _failure(op: Exec, ended: StepExit, tail: bytearray, *, cancelled: bool) -> Exception:
    if cancelled:
        return Cancelled("the step was cancelled")
    hint = ""
    if ended.oom:
        hint = "the kernel ran out of memory and killed it"
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


def _mounts(
    build: BuildContext,
    vertex: Vertex,
    op: Exec,
    inputs: Sequence[VertexResult | None],
    progress: ProgressWriter,
    stack: ExitStack,
    env: dict[str, str],
) -> tuple[StepMount, ...]:
    """What the mounts of the op are on this machine, held by the stack; secrets may set variables
    in `env` too."""
    wanted = [
        with_full_id(mount, vertex, inputs) if isinstance(mount, CacheMount) else mount
        for mount in op.mounts
    ]
    cache_mounts = [mount for mount in wanted if isinstance(mount, CacheMount)]
    if build.cache_mount_importer is not None:
        # Before any of them is held: two steps with the same mounts must not wait for each other.
        build.cache_mount_importer(build, cache_mounts)
    caches: dict[str, str] = {}
    if cache_mounts:
        seeds = Seeds(build, vertex, inputs, progress)
        caches = stack.enter_context(cache_directories(build, cache_mounts, seeds.of))
    made: list[StepMount] = []
    for mount in wanted:
        if isinstance(mount, CacheMount):
            made.append(BindPath(mount.target, caches[mount.id], readonly=mount.readonly))
        else:
            made += _mount(build, vertex, mount, inputs, progress, stack, env)
    return tuple(made)


def _mount(
    build: BuildContext,
    vertex: Vertex,
    mount: BindMount | TmpfsMount | SecretMount | SshMount,
    inputs: Sequence[VertexResult | None],
    progress: ProgressWriter,
    stack: ExitStack,
    env: dict[str, str],
) -> list[StepMount]:
    """What one mount of the op is on this machine; secrets may only set a variable."""
    match mount:
        case BindMount():
            return [_bind(build, vertex, mount, inputs, progress, stack)]
        case TmpfsMount():
            return [Tmpfs(mount.target, mount.size_bytes)]
        case SecretMount():
            return _secret(build, mount, env)
        case SshMount():
            return _ssh(build, mount, env, stack)


def _bind(
    build: BuildContext,
    vertex: Vertex,
    mount: BindMount,
    inputs: Sequence[VertexResult | None],
    progress: ProgressWriter,
    stack: ExitStack,
) -> StepMount:
    solved = input_of(vertex, mount.input, inputs)
    if solved is not None and solved.local is not None:
        path = os.path.realpath(build.directory(solved.local.name))
        with open_input(build, vertex, mount.input, inputs, progress) as tree:
            return build.worker.context_mounts().mount(tree, path, mount, build.cancelled)
    found = build.materialiser.snapshot(solved.result if solved else (), progress.remark)
    if found is None:
        found = build.worker.snapshots.prepare(None)
        stack.callback(build.worker.snapshots.remove, found)
    mounts = tuple(build.worker.snapshots.mounts(found, readonly=True))
    discard = not mount.readonly
    return BindTree(
        mount.target, mounts, mount.source, readonly=mount.readonly, writable_discard=discard
    )


def _secret(build: BuildContext, mount: SecretMount, env: dict[str, str]) -> list[StepMount]:
    value = build.secret(mount.id)
    if value is None:
        if mount.required:
            raise DefinitionError(
                f"secret {mount.id}: not found",
                hint=f"give it with --secret id={mount.id},src=FILE",
            )
        if mount.env:
            env[mount.env] = ""
        return []
    if mount.env:
        env[mount.env] = value.decode("utf-8", "surrogateescape")
    if not mount.target:
        return []
    return [SecretFile(mount.target, value, mount.mode, mount.uid, mount.gid)]


def _ssh(
    build: BuildContext, mount: SshMount, env: dict[str, str], stack: ExitStack
) -> list[StepMount]:
    agent = build.ssh(mount.id)
    if agent is None:
        if mount.required:
            raise DefinitionError(
                f"ssh agent {mount.id}: not found", hint=f"give it with --ssh {mount.id}"
            )
        return []
    from minibuild.session.ssh_agent import forwarded

    env.setdefault("SSH_AUTH_SOCK", mount.target)
    # Among the files in the making, which are swept should we be killed.
    socket = build.worker.store.ingest_path()
    stack.enter_context(forwarded(agent, socket, mount.mode, mount.uid, mount.gid))
    return [BindPath(mount.target, socket)]
