"""`minibuild run IMAGE [COMMAND]`: a quick look inside an image.

Comes in: an image and a command. Goes out: what the command writes, and its exit code. It runs as
a step of a build runs, in a view that is thrown away afterwards; with a terminal on standard
input it gets a terminal of its own. Not a container runtime: no ports, no volumes, no background.
"""

import argparse
import sys
from collections.abc import Iterator

from minibuild.buildflags.resources import resources as limits_of
from minibuild.cli.build_flags import add_limits, limits
from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser
from minibuild.cli.registry_flags import access_of, add_registry_flags
from minibuild.cli.stores import find, open_images, open_store
from minibuild.cli.view import (
    OpenedImage,
    failed_view,
    output,
    raw_terminal,
    step_in,
    writable_view,
)
from minibuild.errors import ImageError, UsageError
from minibuild.executor.api import StepExit
from minibuild.graph.image import ContainerConfig
from minibuild.graph.reference import parse_reference
from minibuild.linux.resources import out_of_memory
from minibuild.rootless.enter import enter
from minibuild.worker.worker import Worker


def _flags(made: Parser) -> None:
    made.usage = "minibuild run [flags] IMAGE|--failed|--step STEP [COMMAND [ARGUMENT...]]"
    made.description = (
        "Run a command in a fresh, writable view of an image. Nothing it writes is "
        "kept. The exit code is that of the command."
    )
    made.epilog = (
        "With --step the tree is that of a step, cached or not: a line of the Dockerfile,\n"
        "or words such as 'RUN make'. It is one of the last build here; with an IMAGE before the\n"
        "command, of the build that made it; with a folder (./app, or .), of a build of that."
    )
    made.values("-e --env K[=V]", "variable; K alone: from the environment")
    made.value("-w --workdir DIR", "working directory")
    made.value("-u --user USER", "user, id, or USER:GROUP")
    made.value("--entrypoint PROGRAM", "replaces the image's", default=None)
    made.choice("--network MODE", ("default", "none", "host"), "default, none or host")
    made.platform("default: this machine's")
    add_limits(made)
    add_registry_flags(made)
    # Docker's habits: they ask for what is done anyway.
    for habit in ("--rm", "-i", "-t", "--interactive", "--tty"):
        made.habit(habit)
    made.switch("--failed", "instead of an image: what `build --on-error=keep` kept")
    made.value("--step STEP", "instead of an image: the files that a step left")
    made.word("[IMAGE]", "name, or oci-layout://DIR:TAG")
    made.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="what to run")


def _run(options: argparse.Namespace, session: Session) -> int:
    if options.failed and options.step:
        raise UsageError("--failed and --step are two trees", hint="leave one out")
    if options.failed or options.step:
        # There need be no image: then all words are the command.
        options.command = [word for word in (options.image, *options.command) if word]
        options.image = ""
    elif not options.image:
        raise UsageError(
            "no image to run", hint="minibuild run IMAGE [COMMAND], --failed, or --step STEP"
        )
    if options.step:
        return _in_step(options, session)
    name = _name(session.root, options.image) if options.image else ""
    platform = session.platform(options.platform)
    registries = access_of(options, session.environment, _domains(name))
    with open_store(session) as worker:
        opened = (
            writable_view(worker, name, platform, registries, session)
            if name
            else failed_view(worker, session)
        )
        with opened as view:
            return _inside(worker, view, options, session)


def _in_step(options: argparse.Namespace, session: Session) -> int:
    """A command in the tree of a step. The first word may be an image, or a folder to build."""
    enter()
    from minibuild.cli.run_step import build_of_image, in_context, is_context, step_view

    first = "".join(options.command[:1])
    if is_context(first):
        options.command = options.command[1:]
        access = access_of(options, session.environment, [])
        return in_context(
            first,
            options.step,
            access,
            session,
            lambda build, view: _inside(build.worker, view, options, session),
        )
    with open_store(session) as worker:
        build = build_of_image(worker, first) if first else None
        if build is not None:
            options.command = options.command[1:]
        with step_view(worker, build, options.step, session) as view:
            return _inside(worker, view, options, session)


def _inside(
    worker: Worker, view: OpenedImage, options: argparse.Namespace, session: Session
) -> int:
    """Run the command in a view. Returns its exit code."""
    resources = limits_of(limits(options))
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    args = arguments(view.config, options.entrypoint, options.command)
    term = (session.environment.term or "xterm") if interactive else ""
    step = step_in(worker, view, args, term, terminal=interactive)
    step = step._replace(
        env=tuple({**dict(step.env), **dict(_variables(options, session))}.items()),
        cwd=options.workdir or step.cwd,
        user=options.user or step.user,
        network=options.network,
        resources=resources,
        hostname=options.image.rpartition("/")[2].partition(":")[0][:63] or "minibuild",
    )
    executor = worker.executor(resources)
    for unkept in executor.unkept(resources):
        session.tell(f"note: {unkept} cannot be limited here (see `minibuild doctor`, cgroup)")
    with raw_terminal(interactive):
        ended: StepExit = executor.start(step, output, stdin=0).wait(session.cancelled)
    if ended.oom:
        session.tell(f"note: {out_of_memory(ended.peak_bytes, resources)}")
    return ended.code


def _domains(name: str) -> list[str]:
    """The registry that the name of an image leads to."""
    if not name or "://" in name:
        return []
    return [parse_reference(name).domain]


def _name(root: str, word: str) -> str:
    """What the word means: a name stays one; an id becomes the name that has it."""
    if "://" in word:
        return word
    with open_images(root) as images:
        try:
            name, descriptor = find(images, word)
        except ImageError:
            return word  # it may be in a registry
        if name is not None:
            return word
        for image in images.list():
            if image.descriptor.digest == descriptor.digest:
                return str(image.name)
    return word


def arguments(
    config: ContainerConfig, entrypoint: str | None, command: list[str]
) -> tuple[str, ...]:
    """What to execute: the entrypoint, and the command or the image's own."""
    if entrypoint is not None:
        before = [entrypoint] if entrypoint else []
        found = [*before, *command]
    else:
        found = [*(config.get("Entrypoint") or []), *(command or config.get("Cmd") or [])]
    if not found:
        raise UsageError(
            "the image says no command to run", hint="give one: minibuild run IMAGE COMMAND"
        )
    return tuple(found)


def _variables(options: argparse.Namespace, session: Session) -> Iterator[tuple[str, str]]:
    for text in options.env:
        name, equals, value = text.partition("=")
        if equals:
            yield name, value
        elif name in session.environment.variables:
            yield name, session.environment.variables[name]


COMMANDS = {"run": Command(_flags, _run)}
