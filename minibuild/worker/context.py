"""One build on an open worker: what its request brings, for everything that works on a vertex.

Comes in: a `Worker`, which is what is open, and a request. Goes out: a `BuildContext`, which is
what is asked. It is made once for each build and never changed. Read next: `source.source`,
`solver.solver`.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from minibuild.cache.results import Result
from minibuild.digest import Digest
from minibuild.errors import DefinitionError
from minibuild.events import Report, silent
from minibuild.graph.op import CacheMount, Exec
from minibuild.graph.vertex import Vertex
from minibuild.linux.resources import UNLIMITED, Resources
from minibuild.progress.writer import ProgressWriter
from minibuild.session.request import BuildRequest, Pull, RegistryAccess
from minibuild.session.secrets import AgentSocket, SecretReader, SshReader
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.worker import Worker

if TYPE_CHECKING:  # a cached build runs no step, and makes no tree
    from minibuild.cache.materialise import Materialiser
    from minibuild.executor.api import Executor
    from minibuild.snapshot.api import MergePolicy


class BuildContext(NamedTuple):
    """What one build works with.

    `directories` are those of this machine that the request names. `secret` returns the value of a
    secret, or None for an unknown id; `ssh` says where an agent listens. `registries` says how
    networks are reached, `pull` whether images are looked for there. `cache_mount_importer`
    may bring contents of cache mounts before a step uses them; `keep_failed` gets a step that
    failed, and the tree that it left. `resources` are the limits of each step. `revisions` are
    those of directories that have some (see `BuildRequest`). `merges` says how they are merged, if
    an old defect is to be shown; and the lab watches what trees and blobs are made.
    """

    worker: Worker
    report: Report
    cancelled: threading.Event
    directories: Mapping[str, str]
    secret: Callable[[str], bytes | None]
    ssh: Callable[[str], AgentSocket | None]
    registries: RegistryAccess
    pull: Pull
    cache_mount_importer: "CacheMountImporter | None" = None
    keep_failed: Callable[[Vertex, Exec, Result], None] | None = None
    resources: Resources = UNLIMITED
    revisions: Mapping[str, str] = {}
    merges: "MergePolicy | None" = None
    watched_materialiser: "Materialiser | None" = None

    @property
    def materialiser(self) -> "Materialiser":
        """What makes trees and blobs of results."""
        return self.watched_materialiser or self.worker.materialiser(self.cancelled, self.merges)

    def executor(self) -> "Executor":
        """What runs steps, started if it is not."""
        return self.worker.executor(self.resources)

    def directory(self, name: str) -> str:
        """The path of the directory that the request named `name`."""
        found = self.directories.get(name)
        if found is None:
            raise DefinitionError(f"there is no context {name!r}", hint="add --build-context")
        return found

    def progress(self, vertex: Digest) -> ProgressWriter:
        """What reports about a vertex."""
        return ProgressWriter(self.report, vertex)


CacheMountImporter = Callable[[BuildContext, Sequence[CacheMount]], None]


@contextmanager
def open_context(
    worker: Worker,
    request: BuildRequest,
    directories: Mapping[str, str],
    report: Report = silent,
    cancelled: threading.Event | None = None,
    cache_mount_importer: "CacheMountImporter | None" = None,
) -> Iterator[BuildContext]:
    """The context of a build that lasts as long as the block."""
    cancelled = cancelled or threading.Event()
    worker.attend(report, cancelled)
    with closing(SshReader(request.ssh)) as ssh:
        yield BuildContext(
            worker,
            report,
            cancelled,
            directories,
            SecretReader(request.secrets),
            ssh,
            request.registries,
            request.pull,
            cache_mount_importer,
            _keeper(worker) if request.keep_failed else None,
            request.resources,
            request.revisions,
            _policy(request),
        )


def _policy(request: BuildRequest) -> "MergePolicy | None":
    """How the build merges: as always, unless it is to show an old defect (docs/lab.md)."""
    if not request.lab:
        return None
    from minibuild.snapshot.defects import policy_for

    return policy_for(request.lab)


def _keeper(worker: Worker) -> Callable[[Vertex, Exec, Result], None]:
    from minibuild.cache.failed import FailedSteps

    return FailedSteps(worker.cache, worker.diffs, worker.snapshots).keep
