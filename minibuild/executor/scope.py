"""Asking systemd for a cgroup of our own, in which we may make others.

Comes in: the group of this process. Goes out: this process is in a scope unit, delegated to it
(systemd.resource-control(5), "Delegate="). An ordinary user asks the manager of the session. It is
asked over D-Bus by busctl(1), which is part of systemd, because a library for one call at one
place would have to be installed. Read next: `unified`.
"""

import os
import time

from minibuild.linux.descriptors import read_text
from minibuild.linux.idmap import parse_id_map

_MANAGER = (
    *("org.freedesktop.systemd1", "/org/freedesktop/systemd1"),
    *("org.freedesktop.systemd1.Manager", "StartTransientUnit", "ssa(sv)a(sa(sv))"),
)
_PATIENCE_S = 3
_BUSCTL = ("busctl", f"--timeout={_PATIENCE_S}", "--quiet")
_LOOK_S = 0.005


def enter(own: str, *, root: bool) -> bool:
    """Have systemd move this process, whose group is `own`, into a scope; False if it does not."""
    name = f"minibuild-{os.getpid()}.scope"
    bus = ["--system"] if root else [f"--address=unix:path={_session_bus()}"]
    if not _asked([*_BUSCTL, *bus, *_request(name, _slice(own) if root else "")]):
        return False
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        # The answer says that it was begun, not that it was done.
        if f"/{name}\n" in read_text("/proc/self/cgroup"):
            return True
        time.sleep(_LOOK_S)
    return False


def _slice(own: str) -> str:
    """The slice that this process is in: the limits of that one are to hold on."""
    return next((part for part in reversed(own.split("/")) if part.endswith(".slice")), "")


def _session_bus() -> str:
    """The socket on which the user's manager listens. Not taken from the environment, which
    programs that start builds do not always hand on."""
    return f"/run/user/{_outer_uid()}/bus"


def _outer_uid() -> int:
    """The user id outside of the user namespace that this process may be in."""
    own = os.geteuid()
    for ids in parse_id_map(read_text("/proc/self/uid_map")):
        if ids.inside <= own < ids.inside + ids.size:
            return ids.outside + own - ids.inside
    return own


def _request(name: str, slice_: str) -> list[str]:
    """The call, as busctl takes it: each property has its name, its type and its value."""
    properties = [("PIDs", "au", "1", str(os.getpid())), ("Delegate", "b", "true")]
    properties.append(("Description", "s", "Steps of minibuild"))
    if slice_:
        properties.append(("Slice", "s", slice_))
    return [
        *("call", *_MANAGER, name, "fail", str(len(properties))),
        *(word for words in properties for word in words),
        "0",
    ]


def _asked(command: list[str]) -> bool:
    import subprocess

    null = subprocess.DEVNULL
    try:
        done = subprocess.run(command, stdin=null, stdout=null, stderr=null, check=False)
    except OSError:
        return False
    return done.returncode == 0
