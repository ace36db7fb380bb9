"""One step: a process to run in a root filesystem, as data, and how it ended.

Comes in: a `Step` made by the solver, with every mount resolved to something on this machine.
Goes out: a `StepExit`. The executor knows no vertex, no cache and no Dockerfile.
Read next: `server`, which runs steps, and `rootfs`, which builds what they see.
"""

import threading
from collections.abc import Callable
from typing import Protocol

from minibuild.errors import HostError
from minibuild.graph.op import Network, Security, Ulimit
from minibuild.linux.resources import UNLIMITED, Resources
from minibuild.snapshot.api import Mount
from minibuild.startup.tuples import NamedTuple


class BindTree(NamedTuple):
    """A tree, or what is at the path `source` inside it, at `target`.

    `writable_discard` stacks a throw-away upper layer on it: the step may write, and what it wrote
    is dropped.
    """

    target: str
    tree: Mount
    source: str = "/"
    readonly: bool = True
    writable_discard: bool = False


class BindContext(NamedTuple):
    """A directory of this machine, or a file in it, at `target`, as part of a build context.

    `source` is its real path below `path`: no symlink in it is followed. Files of `owner`, a user
    and a group, are shown as those of root. `mask` is a layer of overlayfs over the
    directory. `writable_discard` is as for `BindTree`.
    """

    target: str
    path: str
    source: str = ""
    owner: tuple[int, int] = (0, 0)
    mask: str = ""
    writable_discard: bool = False


class BindPath(NamedTuple):
    """A directory, file or socket of this machine, or `source` inside it, at `target` (cache
    mounts, ssh agents)."""

    target: str
    path: str
    readonly: bool = False
    source: str = "/"


class Tmpfs(NamedTuple):
    """An empty filesystem in memory at `target`."""

    target: str
    size_bytes: int = 0
    readonly: bool = False


class SecretFile(NamedTuple):
    """Bytes that appear as a file at `target`, kept in memory only."""

    target: str
    data: bytes
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


StepMount = BindTree | BindContext | BindPath | Tmpfs | SecretFile


class Step(NamedTuple):
    """What to run. `user` is looked up in the rootfs; `env` gets HOME from there if it has none.

    `etc_hosts` are extra (name, address) pairs. `rootfs` is writable if it has an upper layer.
    With `tty` the step has a terminal of its own, of `tty_size` (rows, columns) at first.
    """

    rootfs: Mount
    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    cwd: str = "/"
    user: str = ""
    mounts: tuple[StepMount, ...] = ()
    network: Network = "default"
    security: Security = "sandbox"
    hostname: str = "buildkitsandbox"
    etc_hosts: tuple[tuple[str, str], ...] = ()
    shm_size_bytes: int = 0
    limits: tuple[Ulimit, ...] = ()
    resources: Resources = UNLIMITED
    tty: bool = False
    tty_size: tuple[int, int] = (0, 0)


class StepExit(NamedTuple):
    """How the process ended: its exit status, or 128 + N after signal N.

    `oom`: the kernel killed a process of the step because memory ran out. `peak_bytes` is the most
    memory that the step had then; 0 where that is not known.
    """

    code: int
    signal: int = 0
    oom: bool = False
    peak_bytes: int = 0


OnOutput = Callable[[int, bytes], None]
"""Called with the stream (1 or 2) and the bytes a process wrote, in the caller's thread."""


class CannotShow(HostError):
    """A `BindContext` that this kernel or a filesystem refuses. Nothing of the step has run."""


class StartedStep(Protocol):
    """A step on its way. Call `wait` or `drop`: after either, no process of it is alive."""

    def release(self) -> bool:
        """Let a step that is held mount its root. False if it needs other preparations now."""

    def drop(self) -> None:
        """Kill it."""

    def wait(self, cancelled: threading.Event) -> StepExit:
        """Serve a step to its end.

        Raises `HostError` if the step could not be set up, and `CannotShow` if a context is why;
        `DefinitionError` if what it names is not there (user, working directory, program: code
        127 or 126 is an exit, not an error); `Cancelled` soon after `cancelled` is set.
        """


class Executor(Protocol):
    """Runs steps; safe to call from many threads at once."""

    def start(
        self,
        step: Step,
        output: OnOutput,
        stdin: int | None = None,
        *,
        held: bool = False,
        last: bool = False,
    ) -> StartedStep:
        """Start one step. One that is `held` does not touch its root until it is released: what
        that stands on may still change. After the `last` one no other is expected. Raises as
        `StartedStep.wait` does."""

    def unkept(self, resources: Resources) -> list[str]:
        """Those of these limits that this host cannot keep, by their names; steps run without."""

    def close(self) -> None:
        """Stop every step and the server behind them."""
