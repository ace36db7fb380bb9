"""What the work on a vertex may use: one value with all collaborators of a build.

Made once for each build by `build`, handed to every operation. Nothing in it changes during the
build but what is kept in the store.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from minibuild.cache.materialise import Materialiser
from minibuild.cache.records import Elsewhere
from minibuild.cache.results import Diffs, Result
from minibuild.digest import Digest
from minibuild.errors import DefinitionError
from minibuild.events import Log, Remark, Report, Status
from minibuild.fileop.digest_cache import DigestMemo
from minibuild.graph.op import CacheMount, Exec
from minibuild.graph.vertex import Vertex
from minibuild.oci.content import ContentStore
from minibuild.session.request import RegistryAccess
from minibuild.snapshot.api import MergeSnapshotter
from minibuild.startup.tuples import NamedTuple
from minibuild.store.layout import Store

if TYPE_CHECKING:  # a cached build runs no step
    from minibuild.executor.api import Executor


class LocalTree(NamedTuple):
    """A directory that the request named. `ignore_name` and `ignore_lines` explain patterns:
    the ignore file, and the line of each of its patterns."""

    path: str
    ignore_name: str = ""
    ignore_lines: tuple[int, ...] = ()


class LeftOut(NamedTuple):
    """What a vertex has no more: the patterns of an ignore file, its name, and their lines."""

    patterns: tuple[str, ...]
    ignore_name: str
    ignore_lines: tuple[int, ...]


class AgentSocket(NamedTuple):
    """Where an ssh agent listens. `raw` is some other server, whose protocol is its own affair."""

    path: str
    raw: bool = False


class Voice:
    """Tells about one vertex."""

    __slots__ = ("_report", "vertex")

    def __init__(self, report: Report, vertex: Digest) -> None:
        self._report = report
        self.vertex = vertex

    def remark(self, text: str) -> None:
        """A sentence worth showing."""
        self._report(Remark(self.vertex, text, time.time()))

    def log(self, stream: int, data: bytes) -> None:
        """Output of the step's process."""
        self._report(Log(self.vertex, stream, data, time.time()))

    def status(
        self, part: str, current: int, total: int, unit: str, started: float, *, done: bool = False
    ) -> None:
        """How far a measured part is."""
        completed = time.time() if done else None
        self._report(Status(self.vertex, part, current, total, unit, started, completed))


class Workbench(NamedTuple):
    """The collaborators of a build. `secret` returns a secret's value, or None if unknown; `ssh`
    where an agent listens. `fill` may bring cache mounts from elsewhere before a step uses
    them. `left_out` says of vertices, by their digests, what an ignore file took from them.
    `elsewhere` are the caches of other machines, `access` the settings for networks. `keep` is told
    of a step that failed, and of the tree that it left."""

    store: Store
    content: ContentStore
    snapshots: MergeSnapshotter
    diffs: Diffs
    materialiser: Materialiser
    executor: "Callable[[], Executor]"
    memo: DigestMemo
    locals: Mapping[str, LocalTree]
    secret: Callable[[str], bytes | None]
    ssh: Callable[[str], AgentSocket | None]
    report: Report
    cancelled: threading.Event
    fill: Callable[[Sequence[CacheMount]], None] | None = None
    left_out: Mapping[Digest, LeftOut] = {}
    elsewhere: Elsewhere | None = None
    access: RegistryAccess = RegistryAccess()
    keep: Callable[[Vertex, Exec, Result], None] | None = None

    def local(self, name: str) -> LocalTree:
        """The directory that the request named `name`."""
        found = self.locals.get(name)
        if found is None:
            raise DefinitionError(f"there is no context {name!r}", hint="add --build-context")
        return found
