"""An `ExecOp` as an Exec.

Comes in: an op and its inputs. Goes out: the vertex, and which of its mounts are outputs.
Rules: moby/buildkit `solver/pb/ops.proto`, `solver/llbsolver/ops/exec.go`.
Read next: `decode_file`.
"""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from minibuild.buildkit.decode_file import as_tree, pick
from minibuild.buildkit.definition import SCRATCH, platform_in
from minibuild.errors import DefinitionError
from minibuild.graph import op
from minibuild.graph.vertex import Note, Vertex

_BIND, _SECRET, _SSH, _CACHE, _TMPFS = range(5)
_NETWORKS = ("default", "host", "none")
_SECURITIES = ("sandbox", "insecure")
_SHARINGS = ("shared", "private", "locked")
_SEED = "/cache"
_AGENT = "SSH_AUTH_SOCK"


def decode_exec(message: Any, inputs: Sequence[Vertex | None], note: Note) -> Mapping[int, Vertex]:
    """The vertex of an Exec, and those of mounts that are outputs, by the numbers of the outputs.
    Raises `DefinitionError`."""
    body = message.exec
    roots = [mount for mount in body.mounts if mount.dest == "/"]
    if len(roots) != 1 or roots[0].mountType != _BIND or roots[0].selector not in ("", "/"):
        raise DefinitionError("a step needs one root, which is all of a tree")
    root = roots[0]
    mounts = _Mounts(inputs, as_tree(pick(inputs, root.input)), body.meta.cwd or "/")
    for mount in body.mounts:
        if mount.dest != "/":
            mounts.add(mount)
    for secret in body.secretenv:
        mounts.made.append(op.SecretMount(secret.ID, env=secret.name, required=not secret.optional))
    vertex = Vertex(_exec(message, mounts, readonly=root.readonly), mounts.inputs, note)
    outputs = {
        number: Vertex(op.MountOutput(index), (vertex,), note)
        for number, index in mounts.outputs.items()
    }
    if root.output != SCRATCH:
        outputs[root.output] = vertex
    return outputs


def _exec(message: Any, mounts: "_Mounts", *, readonly: bool) -> op.Exec:
    body = message.exec
    meta = body.meta
    if body.cdiDevices:
        raise DefinitionError("devices of the host are not possible here")
    return op.Exec(
        args=tuple(meta.args),
        env=tuple(_environment(meta.env, mounts.made)),
        cwd=meta.cwd or "/",
        user=meta.user,
        mounts=tuple(mounts.made),
        network=_choice(_NETWORKS, body.network),
        security=_choice(_SECURITIES, body.security),
        hostname=meta.hostname,
        add_hosts=tuple((host.Host, host.IP) for host in meta.extraHosts),
        ulimits=tuple(op.Ulimit(limit.Name, limit.Soft, limit.Hard) for limit in meta.ulimit),
        platform=platform_in(message.platform),
        readonly=readonly,
        exit_codes=tuple(meta.validExitCodes) or (0,),
    )


def _choice(known: Sequence[Any], number: int) -> Any:
    if number >= len(known):
        raise DefinitionError(f"a step has a setting {number} that is not known here")
    return known[number]


def _environment(env: Sequence[str], mounts: Sequence[op.ExecMount]) -> Iterator[tuple[str, str]]:
    """The variables; that of an agent's socket comes with the mount."""
    agents = [mount.target for mount in mounts if isinstance(mount, op.SshMount)]
    for item in env:
        name, _, value = item.partition("=")
        if not (agents and name == _AGENT and value == agents[0]):
            yield name, value


class _Mounts:
    """The mounts of a step, and the inputs that they need: first the root."""

    def __init__(self, given: Sequence[Vertex | None], root: Vertex | None, cwd: str) -> None:
        self.inputs: list[Vertex | None] = [root]
        self.made: list[op.ExecMount] = []
        self.outputs: dict[int, int] = {}
        self._given = given
        self._cwd = cwd

    def _index(self, vertex: Vertex | None) -> int:
        for at, known in enumerate(self.inputs[1:], 1):
            if known == vertex:
                return at
        self.inputs.append(vertex)
        return len(self.inputs) - 1

    def add(self, mount: Any) -> None:
        """Take one mount."""
        target = posixpath.normpath(posixpath.join(self._cwd, mount.dest))
        self.made.append(self._mount(mount, target))

    def _mount(self, mount: Any, target: str) -> op.ExecMount:
        kind = mount.mountType
        if kind == _BIND:
            return self._bind(mount, target)
        if kind == _CACHE:
            return self._cache(mount, target)
        if kind == _TMPFS:
            return op.TmpfsMount(target, mount.TmpfsOpt.size, mount.readonly)
        if kind not in (_SECRET, _SSH):
            raise DefinitionError(f"mounts of the kind {kind} are not possible here")
        lent = mount.secretOpt if kind == _SECRET else mount.SSHOpt
        rest = not lent.optional, lent.mode, lent.uid, lent.gid
        if kind == _SECRET:
            return op.SecretMount(lent.ID, target, "", *rest)
        return op.SshMount(lent.ID or "default", target, *rest)

    def _bind(self, mount: Any, target: str) -> op.BindMount:
        source, is_output = pick(self._given, mount.input), mount.output != SCRATCH
        if is_output:
            self.outputs[mount.output] = len(self.made)
            source = as_tree(source)
        selector = mount.selector or "/"
        return op.BindMount(target, self._index(source), selector, mount.readonly, is_output)

    def _cache(self, mount: Any, target: str) -> op.CacheMount:
        """A cache. One with an owner starts from a directory that is made for it."""
        seed, source = pick(self._given, mount.input), mount.selector or "/"
        mode = uid = gid = None
        if source == _SEED and seed is not None and _is_owned_seed(seed):
            (made,) = seed.op.actions  # type: ignore[union-attr]
            user, _, group = made.owner.partition(":")  # type: ignore[union-attr]
            mode, uid, gid = made.mode, int(user or 0), int(group or 0)  # type: ignore[union-attr]
            seed, source = seed.inputs[0], "/"
        return op.CacheMount(
            target,
            mount.cacheOpt.ID.removeprefix("/"),
            _choice(_SHARINGS, mount.cacheOpt.sharing),
            mount.readonly,
            SCRATCH if seed is None else self._index(seed),
            source,
            mode,
            uid,
            gid,
        )


def _is_owned_seed(vertex: Vertex) -> bool:
    match vertex.op:
        case op.File(actions=(op.Mkdir(path=path, owner=owner),)):
            return path == _SEED and owner.replace(":", "").isdecimal()
    return False
