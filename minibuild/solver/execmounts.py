"""The mounts of an Exec as something of this machine.

Results become trees, caches directories, secrets bytes. What a process sees of them is the
executor's business.
Comes in: a vertex whose inputs are solved. Goes out: mounts for the executor.
Read next: `cachemounts`, `executor.api`.
"""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from typing import assert_never

from minibuild.errors import DefinitionError
from minibuild.executor.api import BindPath, BindTree, SecretFile, StepMount, Tmpfs
from minibuild.graph.op import BindMount, CacheMount, Exec, SecretMount, SshMount, TmpfsMount
from minibuild.snapshot.api import SnapshotID
from minibuild.solver.cachemounts import cache_directories, with_full_id
from minibuild.solver.inputs import open_input
from minibuild.solver.keys import ReadyVertex
from minibuild.worker.context import BuildContext

_PERMISSIONS = 0o777
"""Of the mode of a secret or a socket nothing else counts, as in BuildKit: a file that is lent to a
step gives it no other identity."""

Actives = Mapping[int | None, SnapshotID]
"""The snapshots that a step changes: its root filesystem (None), and mounts by their index."""


class ExecMounts:
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
                    # That of a seed was copied, and is all that the cache has.
                    source = "/" if mount.input >= 0 else mount.source
                    path = caches[mount.id]
                    made.append(BindPath(mount.target, path, mount.readonly, source))
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
                self._set(mount.env, "")
            return []
        if mount.env:
            self._set(mount.env, value.decode("utf-8", "surrogateescape"))
        if not mount.target:
            return []
        return [SecretFile(mount.target, value, mount.mode & _PERMISSIONS, mount.uid, mount.gid)]

    def _set(self, name: str, value: str) -> None:
        """As BuildKit has it, what follows a `=` in the name begins the value."""
        name, _, value = f"{name}={value}".partition("=")
        self.env[name] = value

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
        mode = mount.mode & _PERMISSIONS
        self._stack.enter_context(forwarded(agent, socket, mode, mount.uid, mount.gid))
        return [BindPath(mount.target, socket)]
