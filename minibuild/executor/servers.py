"""The step servers of an executor: one for each kind of steps.

Comes in: a step. Goes out: a running server for it. Confined steps and others need servers of
their own, because a server gives up what its steps must not have; so do steps whose limits take
other controllers, because the cgroups of steps are made below one place for each server.
Read next: `server`, then `cgroup_parent`.
"""

import os
import threading

from minibuild.executor.api import BindContext, Step
from minibuild.executor.cgroup_parent import CgroupParent, Claim, claim
from minibuild.executor.server import StepServer
from minibuild.executor.wire import Setup
from minibuild.linux import resources as limits
from minibuild.linux.owner import maps_single_id
from minibuild.linux.resources import Resources
from minibuild.startup.tuples import NamedTuple


class _Kind(NamedTuple):
    sandbox: bool
    controllers: frozenset[str]
    threads: bool


class _Started(NamedTuple):
    server: StepServer
    claim: Claim
    threads: bool


class Servers:
    """The servers. The first is there from the start, others come with the first step that needs
    one. Safe to use from many threads."""

    __slots__ = ("_folder", "_lock", "_root", "_started", "_threads")

    def __init__(self, folder: str, resources: Resources, *, root: bool) -> None:
        self._folder = folder
        self._root = root
        self._lock = threading.Lock()
        self._started: dict[_Kind, _Started] = {}
        self._threads = may_have_threads() and not maps_single_id()
        self._get(self._kind(resources))

    def for_step(self, step: Step) -> StepServer:
        """The server for steps like this one."""
        sandbox = step.security != "insecure"
        threads = sandbox and _fits_a_thread(step)
        with self._lock:
            return self._get(self._kind(step.resources, sandbox=sandbox, threads=threads)).server

    def _kind(self, resources: Resources, *, sandbox: bool = True, threads: bool = True) -> _Kind:
        return _Kind(sandbox, limits.controllers(resources), self._threads and threads)

    def unkept(self, resources: Resources) -> list[str]:
        """Those of these limits that cannot be kept here, by their names."""
        with self._lock:
            started = self._get(self._kind(resources))
        return limits.names(resources, kept_by=started.claim.place.controllers)

    def _get(self, kind: _Kind) -> _Started:
        found = self._started.get(kind)
        if found is None:
            # The memory controller also counts, and says what was killed for want of memory.
            wanted = kind.controllers | {"memory"}
            claimed = claim(wanted, insist=bool(kind.controllers), root=self._root)
            threads = kind.threads and _is_shared(claimed.place)
            setup = Setup(self._folder, kind.sandbox, claimed.place, threads)
            try:
                server = StepServer.start(setup)
            except BaseException:
                claimed.release()
                raise
            found = self._started[kind] = _Started(server, claimed, threads)
        return found

    def close(self, held: list[int]) -> None:
        """Kill every step, stop the servers, and remove their cgroups. A server closes what is
        `held`, see `StepServer.leave`."""
        with self._lock:
            for server, claimed, threads in self._started.values():
                # One that is in the group has to be gone before that.
                server.leave(held, wait=threads and bool(claimed.place.hierarchies))
                held = []
                claimed.release()
            self._started.clear()


def may_have_threads() -> bool:
    """Whether this kernel may be new enough to set steps up in threads (6.17); a server tries."""
    words = os.uname().release.split(".")
    return [int(word) for word in words[:2] if word.isdigit()] >= [6, 17]


def _is_shared(place: CgroupParent) -> bool:
    """Whether a group is one that all steps can share: without controllers nothing of it counts for
    each of them."""
    return not place.controllers and all(tree.version == 2 for tree in place.hierarchies)


def _fits_a_thread(step: Step) -> bool:
    """Whether a step needs nothing that only a process can have or do before its program starts. To
    show a context under other owners takes one more process, and to copy a mask takes modules."""
    if any(isinstance(m, BindContext) and (m.mask or m.owner != (0, 0)) for m in step.mounts):
        return False
    paths = [mount.target for mount in step.mounts] + [step.cwd]
    under_proc = any(f"/{path.strip('/')}/".startswith("/proc/") for path in paths)
    on_dev = any(path.strip("/") in ("dev", "dev/.start") for path in paths)
    return not (step.tty or step.limits or under_proc or on_dev)
