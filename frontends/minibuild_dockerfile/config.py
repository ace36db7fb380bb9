"""Instructions that change only the image's config, or the variables of the stage.

Comes in: a stage and an instruction. Goes out: the stage, changed, with an entry in its history.
The names of the config are Docker's; which value drops which other one is said where it happens.
Read next: `copy` and `run`, the instructions that make layers.
"""

import posixpath
from typing import cast

from minibuild.graph import image
from minibuild.graph.frontend import EPOCH
from minibuild.graph.op import File, Mkdir
from minibuild.graph.pattern import clean
from minibuild.graph.spelling import did_you_mean
from minibuild.graph.vertex import Vertex
from minibuild_dockerfile.checks import rules
from minibuild_dockerfile.checks.written import check_form, check_once, check_secret
from minibuild_dockerfile.errors import DockerfileError
from minibuild_dockerfile.history import healthcheck_text, plain_list, quoted, quoted_list
from minibuild_dockerfile.instructions import (
    Arg,
    Cmd,
    Command,
    Entrypoint,
    Env,
    ExecForm,
    Expose,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Shell,
    ShellForm,
    Stopsignal,
    User,
    Volume,
    Workdir,
)
from minibuild_dockerfile.paths import from_slashes
from minibuild_dockerfile.state import StageState

_SHELL = ("/bin/sh", "-c")
_WINDOWS_SHELL = ("cmd", "/S", "/C")
_SCAN_ARGUMENTS = "BUILDKIT_SBOM_SCAN_"
"""ARGs that begin so speak to the builder alone, and are no variables of a RUN: see `scans`."""


def with_shell(state: StageState, command: Command) -> list[str]:
    """The command line: as it is, or handed to the stage's shell."""
    if isinstance(command, ExecForm):
        return list(command.argv)
    default = _WINDOWS_SHELL if state.is_windows else _SHELL
    return [*(state.config.get("Shell") or default), command.text]


def arg(state: StageState, item: Arg) -> None:
    """Declare build arguments. Each one sees those before it in the same instruction."""
    given = state.conversion.request.build_args
    texts = []
    for name_item in item.names:
        name = name_item.name  # which is not expanded
        check_secret(item, name, state.conversion.checks)
        value = given.get(name)
        if value is None and name_item.default is not None:
            value = state.word(name_item.default, item.head, name_item.span)
        elif value is None:
            value = state.conversion.globals.get(name)
        if value is not None and not name.startswith(_SCAN_ARGUMENTS):
            state.declare(name, value)
        state.build_args[name] = value
        texts.append(name if value is None else f"{name}={value}")
    state.record(f"ARG {' '.join(texts)}")


def env(state: StageState, item: Env) -> None:
    """Set variables; all of them see the values from before the instruction."""
    pairs = _pairs(state, item)
    for name, value in pairs:
        check_secret(item, name, state.conversion.checks)
        state.set_env(name, value)
    state.record("ENV " + " ".join(f"{name}={value}" for name, value in pairs))


def label(state: StageState, item: Label) -> None:
    """Set labels, keeping those of the base."""
    pairs = _pairs(state, item)
    state.config.setdefault("Labels", {}).update(pairs)
    state.record("LABEL " + " ".join(f"{name}={value}" for name, value in pairs))


def _pairs(state: StageState, item: Env | Label) -> list[tuple[str, str]]:
    """Names and values, expanded; their form is checked."""
    pairs = [
        (state.word(p.key, item.head, p.span), state.word(p.value, item.head, p.span))
        for p in item.pairs
    ]
    check_form(item, state.conversion.checks)
    return pairs


def maintainer(state: StageState, item: Maintainer) -> None:
    """Set the author."""
    state.author = item.author
    state.record(f"MAINTAINER {item.author}")


def workdir(state: StageState, item: Workdir) -> None:
    """Change the working directory, and make it, as a layer of its own."""
    word = state.word(item.path, item.head)
    path = state.path(word, item.head)
    if not state.workdir_set and not path.startswith("/"):
        message = (
            f"Relative workdir {quoted(word)} can have unexpected results if the base image changes"
        )
        state.conversion.checks.report(rules.WORKDIR_RELATIVE_PATH, message, item.head)
    state.workdir_set = True
    path = path or state.workdir
    if not path.startswith("/"):
        path = clean(posixpath.join("/", state.workdir, path))
    state.config["WorkingDir"] = from_slashes(path, state.platform.os)
    if path != "/":  # as written: /a/.. makes a layer, too, as in BuildKit
        # The owner is the USER of this moment, by name: the solver looks it up in the base.
        epoch = state.conversion.request.build_args.get(EPOCH)
        time_ns = int(epoch) * 1_000_000_000 if epoch else None
        mkdir = Mkdir(clean("/" + path), 0o755, state.config.get("User") or "", time_ns=time_ns)
        state.vertex = Vertex(File((mkdir,)), (state.vertex,), state.note(item.head))
    state.record(f"WORKDIR {path}", layer=path != "/")


def user(state: StageState, item: User) -> None:
    """Change the user of later RUNs and of the container."""
    state.config["User"] = state.word(item.user, item.head)
    state.record(f"USER {state.config['User']}")


def cmd(state: StageState, item: Cmd) -> None:
    """Set the default arguments or command."""
    _note_use(state, item)
    _check_shell(state, item)
    args = with_shell(state, item.command)
    state.config["Cmd"] = args
    # Meant for Windows, and set for every image since.
    state.config["ArgsEscaped"] = True
    state.record(f"CMD {quoted_list(args)}")


def entrypoint(state: StageState, item: Entrypoint) -> None:
    """Set the command. A CMD of the base was meant for another one, and goes."""
    _note_use(state, item)
    _check_shell(state, item)
    args = with_shell(state, item.command)
    state.config["Entrypoint"] = args
    if "Cmd" not in state.used:
        state.config.pop("Cmd", None)
    state.record(f"ENTRYPOINT {quoted_list(args)}")


def _note_use(state: StageState, item: Cmd | Entrypoint | Healthcheck) -> None:
    """Of these the last one of a stage counts."""
    kind = type(item).__name__
    check_once(item, state.used.get(kind), state.conversion.checks)
    state.used[kind] = item.head


def _check_shell(state: StageState, item: Cmd | Entrypoint) -> None:
    """A shell form is worth a word, unless a SHELL was chosen for it."""
    if isinstance(item.command, ShellForm) and not state.config.get("Shell"):
        message = (
            f"JSON arguments recommended for {item.head.keyword} to prevent "
            "unintended behavior related to OS signals"
        )
        state.conversion.checks.report(rules.JSON_ARGS_RECOMMENDED, message, item.head)


def shell(state: StageState, item: Shell) -> None:
    """Change what runs shell forms."""
    state.config["Shell"] = list(item.argv)
    state.record(f"SHELL {plain_list(item.argv)}")


def expose(state: StageState, item: Expose) -> None:
    """Declare ports."""
    from minibuild_dockerfile.ports import container_ports

    ports: list[str] = []
    for text in sorted(item.ports):
        for spec in state.words(text, item.head):
            _check_port(state, item, spec)
            try:
                ports += container_ports(spec)
            except ValueError as error:
                raise DockerfileError(
                    str(error), item.head.span, hint="write EXPOSE 80, 53/udp or 8000-8010"
                ) from None
    exposed = state.config.setdefault("ExposedPorts", {})
    exposed.update((port, {}) for port in ports)
    state.record(f"EXPOSE {plain_list(ports)}")


def _check_port(state: StageState, item: Expose, spec: str) -> None:
    from minibuild_dockerfile.ports import split_host

    report = state.conversion.checks.report
    protocol = spec.partition("/")[2]
    if protocol != protocol.lower():
        message = f"Defined protocol '{spec}' in EXPOSE instruction should be lowercase"
        report(rules.EXPOSE_PROTO_CASING, message, item.head)
    if split_host(spec)[0]:
        message = (
            "EXPOSE instruction should not define an IP address or host-port mapping, "
            f"found '{spec}'"
        )
        report(rules.EXPOSE_INVALID_FORMAT, message, item.head)


def volume(state: StageState, item: Volume) -> None:
    """Declare mount points."""
    paths = [state.word(path, item.head) for path in item.paths]
    if "" in paths:
        raise DockerfileError(
            "VOLUME specified can not be an empty string",
            item.head.span,
            hint="a variable in it may have no value",
        )
    state.config.setdefault("Volumes", {}).update((path, {}) for path in paths)
    state.record(f"VOLUME {plain_list(paths)}")


def stopsignal(state: StageState, item: Stopsignal) -> None:
    """Set the signal that asks a container to stop."""
    from minibuild_dockerfile.signals import is_signal, signal_names

    signal = state.word(item.signal, item.head)
    if not is_signal(signal):
        raise DockerfileError(
            f"invalid signal: {signal}{did_you_mean(signal, signal_names())}",
            item.head.span,
            hint="write a name such as SIGTERM, or a number",
        )
    state.config["StopSignal"] = signal
    state.record(f"STOPSIGNAL {signal}")


def healthcheck(state: StageState, item: Healthcheck) -> None:
    """Set or disable the health check. Values of 0 are left out: they stand for the default."""
    _note_use(state, item)
    if item.command is None:
        test = ["NONE"]
    elif isinstance(item.command, ExecForm):
        test = ["CMD", *item.command.argv]
    else:
        test = ["CMD-SHELL", item.command.text]
    members = {
        "Test": test,
        "Interval": item.interval_ns,
        "Timeout": item.timeout_ns,
        "StartPeriod": item.start_period_ns,
        "StartInterval": item.start_interval_ns,
        "Retries": item.retries,
    }
    given = {name: value for name, value in members.items() if value}
    check = state.config["Healthcheck"] = cast(image.Healthcheck, given)
    state.record(healthcheck_text(check))


def onbuild(state: StageState, item: Onbuild) -> None:
    """Leave an instruction to images built on this one. BuildKit writes no history for it."""
    state.config["OnBuild"] = [*(state.config.get("OnBuild") or ()), item.trigger]
