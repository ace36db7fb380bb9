"""A tree that a person looks into: a fresh, writable view of it, and a process in it.

Comes in: a worker, and the name of an image, or a result and the step that it is of. Goes out: an
active snapshot and a config, removed afterwards, or the exit code of a process: what it writes to
the tree is gone when it ends. Layers become trees the way a build does it, so a later build finds
them made.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from minibuild.cache.results import Result
from minibuild.cli.command import Session, writing
from minibuild.errors import UsageError
from minibuild.executor.api import Step
from minibuild.graph.image import DEFAULT_PATH, ContainerConfig
from minibuild.graph.platform import Platform
from minibuild.session.request import BuildRequest, RegistryAccess
from minibuild.snapshot.api import SnapshotID
from minibuild.source.source import Sources
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.context import open_context
from minibuild.worker.worker import Worker


class OpenedImage(NamedTuple):
    """An active snapshot with the files of an image, and how it is to be run."""

    snapshot: SnapshotID
    config: ContainerConfig


@contextmanager
def writable_view(
    worker: Worker, name: str, platform: Platform, registries: RegistryAccess, session: Session
) -> Iterator[OpenedImage]:
    """A view of the image `name`. What is written to it is gone when the block ends."""
    request = BuildRequest(registries=registries)
    with open_context(worker, request, {}, cancelled=session.cancelled) as build:
        sources = Sources(build)
        resolved = sources.finder.resolve(name, platform)
        result, _ = sources.image(resolved.source)
        active = worker.snapshots.prepare(build.materialiser.snapshot(result, session.tell))
    try:
        yield OpenedImage(active, resolved.config.config)
    finally:
        worker.snapshots.remove(active)


@contextmanager
def failed_view(worker: Worker, session: Session) -> Iterator[OpenedImage]:
    """A view of what the last failed step left, as that step saw itself: see `build --on-error`."""
    from minibuild.cache.failed import FailedSteps

    failed = FailedSteps(worker.cache, worker.diffs, worker.snapshots).last()
    if failed is None:
        raise UsageError(
            "no failed step is kept", hint="build with --on-error=keep, and it is the next to fail"
        )
    session.tell(f"in what {failed.name} left")
    like = {"env": failed.env, "cwd": failed.cwd, "user": failed.user}
    with tree_view(worker, failed.result, like, session.tell, session.cancelled) as view:
        yield view


@contextmanager
def tree_view(
    worker: Worker,
    result: Result,
    like: Mapping[str, Any],
    tell: Callable[[str], None],
    cancelled: threading.Event,
) -> Iterator[OpenedImage]:
    """A view of a result, as a step would see it that is `like` an Exec: with its variables, its
    working directory, its user."""
    env = [f"{name}={value}" for name, value in like.get("env", ())]
    config: ContainerConfig = {"Env": env, "WorkingDir": like.get("cwd", "/")}
    config["User"], config["Cmd"] = like.get("user", ""), ["sh"]
    active = worker.snapshots.prepare(worker.materialiser(cancelled).snapshot(result, tell))
    try:
        yield OpenedImage(active, config)
    finally:
        worker.snapshots.remove(active)


def step_in(
    worker: Worker, view: OpenedImage, args: Sequence[str], term: str, *, terminal: bool
) -> Step:
    """A program in a view, as a step of the image would run, at a terminal called `term`."""
    config = view.config
    env = {"PATH": DEFAULT_PATH, **({"TERM": term} if term else {})}
    env |= dict(text.partition("=")[::2] for text in config.get("Env") or [])
    return Step(
        rootfs=worker.snapshots.mount(view.snapshot, readonly=False),
        args=tuple(args),
        env=tuple(env.items()),
        cwd=config.get("WorkingDir") or "/",
        user=config.get("User") or "",
        tty=terminal,
        tty_size=terminal_size() if terminal else (0, 0),
    )


def output(stream: int, data: bytes) -> None:
    """Pass on what the process writes, byte by byte as it is. If standard error is a full disk, or
    has no reader, the process goes on, as a build does."""
    view = memoryview(data)
    with writing() if stream == 1 else suppress(OSError):
        while view:
            view = view[os.write(stream, view) :]


def terminal_size() -> tuple[int, int]:
    """Rows and columns of the terminal on standard input."""
    columns, rows = os.get_terminal_size(0)
    return rows, columns


@contextmanager
def raw_terminal(interactive: bool) -> Iterator[None]:
    """Let the terminal in the step do the editing of lines and the meaning of Ctrl-C."""
    if not interactive:
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
