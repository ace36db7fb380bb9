"""A process in a tree, for a person who looks around: its output, and its terminal.

Comes in: a tree, and what to run. Goes out: the exit code. What the process writes to the tree is
gone when it ends.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from minibuild.cli.command import writing
from minibuild.executor.api import Step
from minibuild.graph.image import DEFAULT_PATH
from minibuild.graph.op import Exec
from minibuild.snapshot.api import SnapshotID
from minibuild.worker.worker import Worker


def run_inside(
    worker: Worker,
    tree: SnapshotID | None,
    args: Sequence[str],
    like: Exec | None,
    cancelled: threading.Event,
    *,
    terminal: bool,
) -> int:
    """Run a program in a tree as a step would be, with the variables, the folder and the user of
    the one that it is `like`. Without a `terminal` it has no input."""
    active = worker.snapshots.prepare(tree)
    try:
        env = {"PATH": DEFAULT_PATH, "TERM": "xterm", **(dict(like.env) if like else {})}
        step = Step(
            rootfs=worker.snapshots.mount(active, readonly=False),
            args=tuple(args),
            env=tuple(env.items()),
            cwd=like.cwd if like else "/",
            user=like.user if like else "",
            tty=terminal,
            tty_size=terminal_size() if terminal else (0, 0),
        )
        with raw_terminal(terminal):
            stdin = 0 if terminal else None
            return worker.executor().run(step, output, cancelled, stdin=stdin).code
    finally:
        worker.snapshots.remove(active)


def output(stream: int, data: bytes) -> None:
    """Pass on what the process writes, byte by byte as it is."""
    view = memoryview(data)
    with writing():
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
