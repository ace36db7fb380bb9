"""An Exec as LLB: what is run, and a mount for each tree, secret and socket.

Comes in: a vertex with an Exec, and the outputs of its inputs. Goes out: its `ExecOp`. BuildKit's
client sorts mounts by their target, with those of secrets and agents behind. This order is part of
the bytes, and so is that of the inputs, which are numbered in the order in which mounts name them.
Rules: moby/buildkit `client/llb/exec.go` and `frontend/dockerfile/dockerfile2llb`.
Read next: `encode_file`.
"""

from collections.abc import Iterator, Sequence
from typing import Any, assert_never

from minibuild.buildkit.definition import SCRATCH, DefinitionWriter, Inputs, OpOutput
from minibuild.graph import op
from minibuild.graph.vertex import Note, Vertex
from minibuild.startup.tuples import NamedTuple

_NETWORKS = {"default": "UNSET", "host": "HOST", "none": "NONE"}
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
    numbers, caps = Inputs(), _caps(exec_op)
    body = definition.types["ExecOp"](meta=_meta(definition, vertex.note, exec_op))
    root = body.mounts.add(dest="/", input=numbers.index(inputs[0]), readonly=exec_op.readonly)
    root.output = SCRATCH if exec_op.readonly else 0
    outputs: dict[int, int] = {}
    for index, mount in _sorted_mounts(exec_op):
        message = _mount(definition, mount, inputs, numbers, caps)
        if isinstance(mount, op.CacheMount):
            # BuildKit joins namespace and id also where there is no namespace.
            inside = cache_namespace and mount.id.startswith(f"{cache_namespace}/")
            message.cacheOpt.ID = mount.id if inside else f"/{mount.id}"
        if isinstance(mount, op.BindMount) and mount.output:
            message.output = outputs[index] = len(outputs) + 1
        body.mounts.append(message)
    body.network = _NETWORKS[exec_op.network]
    body.security = exec_op.security.upper()
    for mount in exec_op.mounts:
        if isinstance(mount, op.SecretMount) and mount.env:
            body.secretenv.add(ID=mount.id, name=mount.env, optional=not mount.required)
            caps.add("exec.secretenv")
    root = definition.append(
        "exec", body, numbers, vertex.note, caps=caps, platform=exec_op.platform
    )
    return EncodedExec(root, {i: OpOutput(root.digest, output) for i, output in outputs.items()})


def _meta(definition: DefinitionWriter, note: Note, exec_op: op.Exec) -> Any:
    env = [f"{name}={value}" for name, value in exec_op.env]
    agents = [mount for mount in exec_op.mounts if isinstance(mount, op.SshMount)]
    if agents:
        env.append(f"SSH_AUTH_SOCK={agents[0].target}")
    meta = definition.types["Meta"](
        args=exec_op.args,
        env=env,
        cwd=exec_op.cwd,
        user=exec_op.user,
        hostname=exec_op.hostname,
        validExitCodes=[] if exec_op.exit_codes == (0,) else exec_op.exit_codes,
        removeMountStubsRecursive=True,
    )
    proxy = {name.lower(): value for name, value in note.proxy}
    if proxy:
        meta.proxy_env.CopyFrom(definition.types["ProxyEnv"](**proxy))
    for host, address in exec_op.add_hosts:
        meta.extraHosts.add(Host=host, IP=address)
    for name, soft, hard in exec_op.ulimits:
        meta.ulimit.add(Name=name, Soft=soft, Hard=hard)
    return meta


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
    numbers: Inputs,
    caps: set[str],
) -> Any:
    """A mount as a message; `caps` gets what a daemon has to understand for it."""
    message = definition.types["Mount"](dest=mount.target, input=SCRATCH)
    if isinstance(mount, op.BindMount | op.CacheMount | op.TmpfsMount):
        message.output, message.readonly = SCRATCH, mount.readonly
    match mount:
        case op.BindMount():
            message.input = numbers.index(inputs[mount.input])
            message.selector = _selector(mount.source)
            caps.update(["exec.mount.selector"] if mount.source != "/" else ())
            if mount.target == _SCRIPTS:
                message.dest, message.selector = f"{_SCRIPTS}/", "/"
        case op.CacheMount():
            message.mountType = "CACHE"
            seed = inputs[mount.input] if mount.input >= 0 else None
            source = mount.source
            if source == "/" and (mount.mode, mount.uid, mount.gid) != (None, None, None):
                seed, source = _owned_seed(definition, mount, seed), _SEED
            caps.update(("exec.mount.cache", "exec.mount.cache.sharing"))
            caps.update(["exec.mount.selector"] if source != "/" else ())
            message.input, message.selector = numbers.index(seed), _selector(source)
            message.cacheOpt.sharing = mount.sharing.upper()
        case op.TmpfsMount():
            message.mountType = "TMPFS"
            message.TmpfsOpt.size = mount.size_bytes
            caps.add("exec.mount.tmpfs")
            caps.update(["exec.mount.tmpfs.size"] if mount.size_bytes else ())
        case op.SecretMount():
            message.mountType = "SECRET"
            caps.add("exec.mount.secret")
            _agent(message.secretOpt, mount)
        case op.SshMount():
            message.mountType = "SSH"
            caps.add("exec.mount.ssh")
            _agent(message.SSHOpt, mount)
            # The agent without a name is the default one.
            message.SSHOpt.ID = "" if mount.id == "default" else mount.id
        case _ as unknown:
            assert_never(unknown)
    return message


def _selector(path: str) -> str:
    return "" if path == "/" else path


def _agent(options: Any, mount: op.SecretMount | op.SshMount) -> None:
    options.ID, options.optional = mount.id, not mount.required
    options.uid, options.gid, options.mode = mount.uid, mount.gid, mount.mode


def _owned_seed(
    definition: DefinitionWriter, mount: op.CacheMount, seed: OpOutput | None
) -> OpOutput:
    """The directory that a cache with an owner starts as, made on the tree that seeds it."""
    body = definition.types["FileOp"]()
    inputs = Inputs()
    action = body.actions.add(input=inputs.index(seed), secondaryInput=SCRATCH)
    action.mkdir.path, action.mkdir.timestamp = _SEED, -1
    action.mkdir.mode = 0o755 if mount.mode is None else mount.mode
    action.mkdir.owner.user.byID = mount.uid or 0
    action.mkdir.owner.group.byID = mount.gid or 0
    note = Note("[internal] setting cache mount permissions")
    return definition.append("file", body, inputs, note, caps=["file.base"])


def _caps(exec_op: op.Exec) -> set[str]:
    """What a daemon has to understand for this op, whatever its mounts are."""
    wanted = {
        "exec.meta.base": True,
        "exec.meta.setsdefaultpath": True,
        "exec.mount.bind": True,
        "exec.meta.network": exec_op.network != "default",
        "exec.meta.security": exec_op.security != "sandbox",
        "exec.meta.ulimit": bool(exec_op.ulimits),
    }
    return {cap for cap, is_wanted in wanted.items() if is_wanted}
