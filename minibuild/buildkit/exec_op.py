"""An Exec as LLB, and back: what is run, and a mount for each tree, secret and socket.

Comes in: a vertex with an Exec, and the outputs of its inputs; or an `ExecOp` with its inputs. Goes
out: the op; or the vertex, and which of its mounts are outputs. BuildKit's client sorts mounts by
their target, with those of secrets and agents behind. This order is part of the bytes, and so is
that of the inputs, which are numbered in the order in which mounts name them.
Rules: moby/buildkit `solver/pb/ops.proto`, `client/llb/exec.go`,
`frontend/dockerfile/dockerfile2llb`, `solver/llbsolver/ops/exec.go`.
Read next: `file_op`.
"""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, assert_never

from minibuild.buildkit.definition import (
    SCRATCH,
    DefinitionWriter,
    OpBody,
    OpInputs,
    OpOutput,
    platform_in,
)
from minibuild.buildkit.file_op import as_tree, pick
from minibuild.errors import DefinitionError
from minibuild.graph import op
from minibuild.graph.vertex import Note, Vertex
from minibuild.startup.tuples import NamedTuple

# The names of enums, in the order of their numbers.
_BIND, _SECRET, _SSH, _CACHE, _TMPFS = range(5)
_NETWORKS = ("default", "host", "none")
_SECURITIES = ("sandbox", "insecure")
_SHARINGS = ("shared", "private", "locked")

_AGENT = "SSH_AUTH_SOCK"
_SEED = "/cache"
_SCRIPTS = "/dev/pipes"
"""Where the script of a heredoc is mounted. BuildKit's frontend writes this mount differently."""


class EncodedExec(NamedTuple):
    """What an Exec gives: its root filesystem, and the outputs that are mounts, by the index that
    the mount has in the graph."""

    root: OpOutput
    mounts: dict[int, OpOutput]


def encode_exec(
    definition: DefinitionWriter,
    vertex: Vertex,
    exec_op: op.Exec,
    inputs: Sequence[OpOutput | None],
    cache_namespace: str,
) -> EncodedExec:
    """Append the op of an Exec. `inputs` are the outputs of the vertex's inputs."""
    numbers, caps = OpInputs(), _caps(exec_op, vertex.note)
    root = {
        "input": numbers.index(inputs[0]),
        "dest": "/",
        "output": SCRATCH if exec_op.readonly else 0,
        "readonly": exec_op.readonly,
    }
    mounts, outputs = [root], dict[int, int]()
    for index, mount in _sorted_mounts(exec_op):
        message = _mount(definition, mount, inputs, numbers, caps)
        if isinstance(mount, op.CacheMount):
            # BuildKit joins namespace and id also where there is no namespace.
            inside = cache_namespace and mount.id.startswith(f"{cache_namespace}/")
            message["cacheOpt"]["ID"] = mount.id if inside else f"/{mount.id}"
        if isinstance(mount, op.BindMount) and mount.output:
            message["output"] = outputs[index] = len(outputs) + 1
        mounts.append(message)
    secrets = [m for m in exec_op.mounts if isinstance(m, op.SecretMount) and m.env]
    caps.update(["exec.mount.secret", "exec.secretenv"] if secrets else ())
    body = {
        "meta": _meta(vertex.note, exec_op),
        "mounts": mounts,
        "network": _NETWORKS.index(exec_op.network),
        "security": _SECURITIES.index(exec_op.security),
        "secretenv": [{"ID": m.id, "name": m.env, "optional": not m.required} for m in secrets],
    }
    done = definition.append(
        "exec", body, numbers, vertex.note, caps=caps, platform=exec_op.platform
    )
    return EncodedExec(done, {i: OpOutput(done.digest, output) for i, output in outputs.items()})


def _meta(note: Note, exec_op: op.Exec) -> OpBody:
    env = [f"{name}={value}" for name, value in exec_op.env]
    agents = [mount for mount in exec_op.mounts if isinstance(mount, op.SshMount)]
    if agents:
        env.append(f"{_AGENT}={agents[0].target}")
    return {
        "args": exec_op.args,
        "env": env,
        "cwd": exec_op.cwd,
        "user": exec_op.user,
        "proxy_env": {name.lower(): value for name, value in note.proxy} or None,
        "extraHosts": [{"Host": host, "IP": address} for host, address in exec_op.add_hosts],
        "hostname": exec_op.hostname,
        "ulimit": [{"Name": n, "Soft": soft, "Hard": hard} for n, soft, hard in exec_op.ulimits],
        "removeMountStubsRecursive": True,
        "validExitCodes": () if exec_op.exit_codes == (0,) else exec_op.exit_codes,
    }


def _sorted_mounts(exec_op: op.Exec) -> Iterator[tuple[int, op.ExecMount]]:
    """The mounts in BuildKit's order, each with its index in the graph."""
    mounts = list(enumerate(exec_op.mounts))
    if exec_op.shm_size_bytes:
        mounts.append((SCRATCH, op.TmpfsMount("/dev/shm", exec_op.shm_size_bytes)))
    trees = (op.BindMount, op.CacheMount, op.TmpfsMount)
    yield from sorted(
        ((i, m) for i, m in mounts if isinstance(m, trees)), key=lambda item: item[1].target
    )
    yield from ((i, m) for i, m in mounts if isinstance(m, op.SecretMount) and m.target)
    yield from ((i, m) for i, m in mounts if isinstance(m, op.SshMount))


def _mount(
    definition: DefinitionWriter,
    mount: op.ExecMount,
    inputs: Sequence[OpOutput | None],
    numbers: OpInputs,
    caps: set[str],
) -> OpBody:
    """A mount as a message; `caps` gets what a daemon has to understand for it."""
    made: OpBody = {"input": SCRATCH, "selector": "", "dest": mount.target}
    if isinstance(mount, op.BindMount | op.CacheMount | op.TmpfsMount):
        made |= {"output": SCRATCH, "readonly": mount.readonly}
    match mount:
        case op.BindMount():
            made |= {"input": numbers.index(inputs[mount.input]), **_selected(mount.source, caps)}
            if mount.target == _SCRIPTS:
                made |= {"dest": f"{_SCRIPTS}/", "selector": "/"}
        case op.CacheMount():
            seed = inputs[mount.input] if mount.input >= 0 else None
            source = mount.source
            if source == "/" and (mount.mode, mount.uid, mount.gid) != (None, None, None):
                seed, source = _owned_seed(definition, mount, seed), _SEED
            caps.update(("exec.mount.cache", "exec.mount.cache.sharing"))
            made |= {"input": numbers.index(seed), **_selected(source, caps), "mountType": _CACHE}
            made["cacheOpt"] = {"ID": mount.id, "sharing": _SHARINGS.index(mount.sharing)}
        case op.TmpfsMount():
            made |= {"mountType": _TMPFS, "TmpfsOpt": {"size": mount.size_bytes}}
            caps.add("exec.mount.tmpfs")
            caps.update(["exec.mount.tmpfs.size"] if mount.size_bytes else ())
        case op.SecretMount():
            made |= {"mountType": _SECRET, "secretOpt": _agent(mount)}
            caps.add("exec.mount.secret")
        case op.SshMount():
            made |= {"mountType": _SSH, "SSHOpt": _agent(mount)}
            caps.add("exec.mount.ssh")
        case _ as unknown:
            assert_never(unknown)
    return made


def _selected(path: str, caps: set[str]) -> OpBody:
    """Which path of its input a mount is."""
    if path == "/":
        return {}
    caps.add("exec.mount.selector")
    return {"selector": path}


def _agent(mount: op.SecretMount | op.SshMount) -> OpBody:
    # The agent without a name is the default one.
    is_default = isinstance(mount, op.SshMount) and mount.id == "default"
    return {
        "ID": "" if is_default else mount.id,
        "uid": mount.uid,
        "gid": mount.gid,
        "mode": mount.mode,
        "optional": not mount.required,
    }


def _owned_seed(
    definition: DefinitionWriter, mount: op.CacheMount, seed: OpOutput | None
) -> OpOutput:
    """The directory that a cache with an owner starts as, made on the tree that seeds it."""
    inputs = OpInputs()
    made = {
        "path": _SEED,
        "mode": 0o755 if mount.mode is None else mount.mode,
        "owner": {"user": {"byID": mount.uid or 0}, "group": {"byID": mount.gid or 0}},
        "timestamp": -1,
    }
    action = {"input": inputs.index(seed), "secondaryInput": SCRATCH, "output": 0, "mkdir": made}
    note = Note("[internal] setting cache mount permissions")
    return definition.append("file", {"actions": [action]}, inputs, note, caps=["file.base"])


def _caps(exec_op: op.Exec, note: Note) -> set[str]:
    """What a daemon has to understand for this op, whatever its mounts are."""
    wanted = {
        "exec.meta.base": True,
        "exec.meta.setsdefaultpath": True,
        "exec.mount.bind": True,
        "exec.meta.proxyenv": bool(note.proxy),
        "exec.meta.network": exec_op.network != "default",
        "exec.meta.security": exec_op.security != "sandbox",
        "exec.meta.ulimit": bool(exec_op.ulimits),
    }
    return {cap for cap, is_wanted in wanted.items() if is_wanted}


# --- And back ---


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
    if not 0 <= number < len(known):
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
