"""What passes between the executor, the step server and a step: plain values as bytes.

Comes in: a `Request` or a `Reply`. Goes out: bytes, and back. Both ends are this program in one
version, so the format is `marshal`: built into the interpreter, no import, no parsing of text.
Nothing that a step wrote is ever read with it: its process closes the socket when it executes.
Read next: `server`.
"""

import marshal
from typing import Any

from minibuild.executor.api import BindContext, BindPath, BindTree, SecretFile, Step, Tmpfs
from minibuild.executor.cgroup_parent import CgroupParent
from minibuild.graph.op import Ulimit
from minibuild.linux.cgroup import Hierarchy
from minibuild.linux.resources import UNLIMITED, Resources
from minibuild.snapshot.api import Mount
from minibuild.startup.tuples import NamedTuple

MAX_REPLY_BYTES = 128 * 1024


class Setup(NamedTuple):
    """What a step server starts with: a folder for its few files, whether its steps are confined,
    and where their cgroups are made."""

    folder: str
    sandbox: bool
    place: CgroupParent = CgroupParent()


class Order(NamedTuple):
    """What the step server has to know of a step: whether it has a network of its own, and its
    limits. The kernel refuses to set those from inside of the step's cgroup namespace. After the
    `last` one nothing is made ready."""

    network: bool = False
    resources: Resources = UNLIMITED
    last: bool = False


class EndSteps(NamedTuple):
    """The step server is to end every step, say `StepsEnded`, close the descriptors that come with
    this message, the first of them last, and end."""


class StepsEnded(NamedTuple):
    """No step runs any more."""


class Request(NamedTuple):
    """A step, and what its process has to know besides.

    `seccomp` is the filter as BPF; empty for none.
    `watch` is one to take instead, if the kernel hands over the calls that it names.
    """

    step: Step
    seccomp: bytes = b""
    watch: bytes = b""


class CopiedUp(NamedTuple):
    """A directory that overlayfs copied up because a mount point was made somewhere in it, as it
    was before: the step may have changed it since."""

    path: str
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: tuple[tuple[str, bytes], ...] = ()


class Stub(NamedTuple):
    """A mount point that was made: a directory or an empty file. `on_whiteout`: the upperdir said
    that the path was deleted."""

    path: str
    is_dir: bool
    on_whiteout: bool = False


class Ready(NamedTuple):
    """The step is set up and about to execute its program; these traces are to be removed."""

    stubs: tuple[Stub, ...] = ()
    touched: tuple[CopiedUp, ...] = ()


class Failed(NamedTuple):
    """The step could not be set up. `kind` names the class of the error to raise."""

    kind: str
    message: str
    hint: str


class Exited(NamedTuple):
    """The process is gone, and every other one of the step with it. `status` is its exit status,
    or -N after signal N. The rest is that of `groups.MemoryUsage`."""

    status: int
    oom_kills: int = -1
    peak_bytes: int = -1


class Terminal(NamedTuple):
    """The step has a terminal; its controlling end comes with this message."""


class Watched(NamedTuple):
    """Calls of the step are handed over, on the first of the descriptors that come with this
    message; the others are the root of its tree, its mount namespace, its stderr."""


class Watching(NamedTuple):
    """What the listener of a step has to know. `tables` are those of the owners in its tree, and
    `special` says that one has a line. `rooted`: a process may have another root than the step
    without chroot(2). `guarded`: so are all calls that another user may be refused."""

    tables: tuple[str, ...]
    special: bool
    rooted: bool
    guarded: bool


Reply = Ready | Failed | Exited | Terminal | Watched
Message = Setup | Order | EndSteps | StepsEnded | Request | Reply | Watching

_TYPES: dict[str, type[Any]] = {
    cls.__name__: cls
    for cls in (
        *(Request, Step, Mount, BindTree, BindContext, BindPath, Tmpfs, SecretFile, Ulimit),
        *(Setup, Order, EndSteps, StepsEnded, CgroupParent, Hierarchy, Resources),
        *(Ready, Stub, CopiedUp, Terminal, Failed, Exited, Watched, Watching),
    )
}


def pack(value: Message) -> bytes:
    """The bytes of a message."""
    return marshal.dumps(_flat(value))


def unpack(data: bytes) -> Message:
    """The message in these bytes."""
    message: Message = _deep(marshal.loads(data))
    return message


def _flat(value: Any) -> Any:
    """Named tuples as plain ones that begin with the name of their type; others begin with ""."""
    if isinstance(value, tuple):
        name = type(value).__name__ if hasattr(value, "_fields") else ""
        return (name, *map(_flat, value))
    return value


def _deep(value: Any) -> Any:
    if isinstance(value, tuple):
        name, *items = value
        made = [_deep(item) for item in items]
        return _TYPES[name](*made) if name else tuple(made)
    return value
