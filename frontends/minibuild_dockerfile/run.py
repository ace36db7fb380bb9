"""RUN: an Exec with its mounts.

Comes in: a stage and a RUN. Goes out: the stage, its tree now what the command leaves behind. The
environment is that of the stage, declared ARGs included; proxies ride along unhashed, so that
moving to another network does not run everything again.
Read next: `minibuild.graph.op`, class `Exec`.
"""

import posixpath
from typing import TYPE_CHECKING

from minibuild.graph import op
from minibuild.graph.pattern import clean
from minibuild.graph.vertex import Vertex
from minibuild_dockerfile.config import with_shell
from minibuild_dockerfile.errors import DockerfileError
from minibuild_dockerfile.history import run_text
from minibuild_dockerfile.instructions import ExecForm, Head, MountSpec, Run, ShellForm
from minibuild_dockerfile.names import run_step_text
from minibuild_dockerfile.scope import proxy_variables
from minibuild_dockerfile.state import Conversion, StageState

if TYPE_CHECKING:
    from minibuild_dockerfile.mounts import Resolved

_SCRIPTS = "/dev/pipes"
"""Where a script with its own `#!` line is put, as in BuildKit: the path is in the history."""

_NO_DEVICES = "device feature is only supported in Dockerfile frontend 1.14.0-labs or later"
_NO_DEVICES_HINT = "a step gets no devices of this machine (CDI); --security=insecure has those"

Inputs = list[Vertex | None]
"""The inputs of an Exec: the root, then what mounts read."""


def _index(inputs: Inputs, vertex: Vertex | None) -> int:
    """The place of what a mount reads among the inputs."""
    if vertex not in inputs[1:]:
        inputs.append(vertex)
    return inputs.index(vertex, 1)


def run(state: StageState, item: Run) -> None:
    """Run a command and keep what it changes."""
    if any(flag.name == "device" for flag in item.head.flags):
        raise DockerfileError(_NO_DEVICES, item.head.flag_span("device"), hint=_NO_DEVICES_HINT)
    inputs = [state.vertex]
    args, script = _command(state, item, inputs)
    all_mounts = [*script, *_mounts(state, item, inputs)]
    request = state.conversion.request
    hostname = request.build_args.get("BUILDKIT_SANDBOX_HOSTNAME", "")
    exec_op = op.Exec(
        args=tuple(args),
        env=state.environment,
        cwd=state.workdir,
        user=state.config.get("User") or "",
        mounts=tuple(all_mounts),
        network=_network(state, item),
        security=_security(state, item),
        hostname=hostname,
        add_hosts=request.add_hosts,
        shm_size_bytes=request.shm_size_bytes,
        ulimits=request.ulimits,
        platform=state.platform,
    )
    secrets = [mount.env for mount in all_mounts if isinstance(mount, op.SecretMount)]
    text = run_step_text(item, state.env, secrets, state.conversion.escape)
    note = state.note(item.head, text)
    note = note._replace(proxy=proxy_variables(request.build_args))
    state.vertex = Vertex(exec_op, inputs, note)
    declared = {name: state.env.get(name, value or "") for name, value in state.build_args.items()}
    text = run_text(args, declared)
    state.spend(len(text), item.head)
    state.record(text, layer=True, mark=True)


def _command(state: StageState, item: Run, inputs: Inputs) -> tuple[list[str], list[op.ExecMount]]:
    """The command line, and the mount of the script it runs, if that is a file of its own."""
    if isinstance(item.command, ExecForm):
        if not item.command.argv:
            hint = 'name a program, as in RUN ["make"]'
            raise DockerfileError("arguments are required", item.head.span, hint=hint)
        return list(item.command.argv), []
    is_file = item.script and item.heredocs[0].text.startswith("#!") and not state.is_windows
    if not is_file:
        return with_shell(state, ShellForm(item.shell_text)), []
    heredoc = item.heredocs[0]
    index = _index(inputs, state.inline_file(heredoc, heredoc.text, 0o755))
    command = with_shell(state, ShellForm(f"{_SCRIPTS}/{heredoc.name}"))
    return command, [op.BindMount(_SCRIPTS, index)]


def _network(state: StageState, item: Run) -> op.Network:
    """The network of the step: its own choice, else that of the whole build."""
    network = item.network if item.network != "default" else state.conversion.request.network
    if network == "host":
        _entitled(state, "network.host", item.head, "network")
    return network


def _security(state: StageState, item: Run) -> op.Security:
    if item.security == "insecure":
        _entitled(state, "security.insecure", item.head, "security")
    return item.security


def _entitled(state: StageState, entitlement: str, head: Head, flag: str) -> None:
    if entitlement not in state.conversion.request.allow:
        raise DockerfileError(
            f"{entitlement} is not allowed",
            head.flag_span(flag),
            hint=f"grant it with --allow {entitlement}, if you trust this Dockerfile",
        )


# --- mounts -------------------------------------------------------------------------------------


def _mounts(state: StageState, item: Run, inputs: Inputs) -> list[op.ExecMount]:
    made: list[op.ExecMount] = []
    if item.mounts:
        from minibuild_dockerfile.mounts import resolve
    for spec in item.mounts:
        found = resolve(spec, lambda text: state.word(text, item.head))
        agents = sum(isinstance(other, op.SshMount) for other in made)
        made.append(_placed(state, spec, found, inputs, agents))
    return made


def _placed(
    state: StageState, spec: MountSpec, found: "Resolved", inputs: Inputs, agents: int
) -> op.ExecMount:
    """A mount with its place and its input. `agents` counts the ssh mounts before it."""
    mount, from_ = found
    if isinstance(mount, op.SecretMount) and not mount.target:
        return mount  # a variable
    if isinstance(mount, op.SshMount) and not mount.target:
        mount = mount._replace(target=f"/run/buildkit/ssh_agent.{agents}")
    mount = mount._replace(target=_target(state, spec, mount.target))
    if isinstance(mount, op.BindMount):
        tree = _index(inputs, _tree(state.conversion, spec, from_))
        return mount._replace(input=tree, source=clean("/" + mount.source))
    if isinstance(mount, op.CacheMount):
        seed = _index(inputs, _tree(state.conversion, spec, from_)) if from_ else -1
        id = _cache_id(state, mount.id or clean(found.mount.target))
        return mount._replace(id=id, input=seed, source=clean("/" + mount.source))
    return mount


def _tree(conversion: Conversion, spec: MountSpec, name: str) -> Vertex | None:
    """What a mount reads; numbers are names."""
    return conversion.tree(name, conversion.table.by_name(name), spec.span)


def _target(state: StageState, spec: MountSpec, target: str) -> str:
    path = clean(posixpath.join("/", state.workdir, target))
    if path == "/":
        raise DockerfileError(
            'invalid mount target "/"',
            spec.span,
            hint="say where to mount: target=/some/path; without a target it is the WORKDIR",
        )
    return path


def _cache_id(state: StageState, name: str) -> str:
    """The name of a cache, with the namespace that the caller may set."""
    namespace = state.conversion.request.build_args.get("BUILDKIT_CACHE_MOUNT_NS", "")
    return f"{namespace}/{name}" if namespace else name
