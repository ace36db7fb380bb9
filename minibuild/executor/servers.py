"""The step servers of an executor: one for each kind of steps.

Comes in: a step. Goes out: a running server for it. Confined steps and others need servers of
their own, because a server gives up what its steps must not have; so do steps whose limits take
other controllers, because the cgroups of steps are made below one place for each server.
Read next: `server`, then `cgroup_parent`.
"""

import threading

from minibuild.executor.api import Step
from minibuild.executor.cgroup_parent import Claim, claim
from minibuild.executor.server import StepServer
from minibuild.executor.wire import Setup
from minibuild.linux import resources as limits
from minibuild.linux.resources import Resources
from minibuild.startup.tuples import NamedTuple


class _Kind(NamedTuple):
    sandbox: bool
    controllers: frozenset[str]


class _ClaimedServer(NamedTuple):
    server: StepServer
    claim: Claim


class Servers:
    """The servers. The first is there from the start, others come with the first step that needs
    one. Safe to use from many threads."""

    __slots__ = ("_folder", "_lock", "_root", "_started")

    def __init__(self, folder: str, resources: Resources, *, root: bool) -> None:
        self._folder = folder
        self._root = root
        self._lock = threading.Lock()
        self._started: dict[_Kind, _ClaimedServer] = {}
        self._get(_Kind(True, limits.controllers(resources)))

    def for_step(self, step: Step) -> StepServer:
        """The server for steps like this one."""
        sandbox = step.security != "insecure"
        with self._lock:
            return self._get(_Kind(sandbox, limits.controllers(step.resources))).server

    def unkept(self, resources: Resources) -> list[str]:
        """Those of these limits that cannot be kept here, by their names."""
        with self._lock:
            started = self._get(_Kind(True, limits.controllers(resources)))
        return limits.names(resources, kept_by=started.claim.place.controllers)

    def _get(self, kind: _Kind) -> _ClaimedServer:
        found = self._started.get(kind)
        if found is None:
            # The memory controller also counts, and says what was killed for want of memory.
            wanted = kind.controllers | {"memory"}
            claimed = claim(wanted, insist=bool(kind.controllers), root=self._root)
            try:
                server = StepServer.start(Setup(self._folder, kind.sandbox, claimed.place))
            except BaseException:
                claimed.release()
                raise
            found = self._started[kind] = _ClaimedServer(server, claimed)
        return found

    def close(self, held: list[int]) -> None:
        """Kill every step, stop the servers, and remove their cgroups. A server closes what is
        `held`, see `StepServer.leave`."""
        with self._lock:
            for server, claimed in self._started.values():
                server.leave(held)
                held = []
                claimed.release()
            self._started.clear()
