"""An open store with everything that works on it: what a build, and every other command, needs.

Comes in: the folder of a store. Goes out: a `Worker`. It must run with the privileges that its
files need: as root, or inside a user namespace (see `linux.namespace`).
Read next: `context`, one build on it.
"""

import _sqlite3 as sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from minibuild.cache.layers import LayerStore
from minibuild.cache.records import Cache
from minibuild.cache.results import Diffs
from minibuild.events import Report
from minibuild.fileop.digest_cache import DigestCache
from minibuild.image.store import ImageStore
from minibuild.linux.namespace import needs_user_namespace
from minibuild.linux.resources import UNLIMITED, Resources
from minibuild.oci.content import ContentStore
from minibuild.session.request import Isolation
from minibuild.snapshot.sweep import sweep
from minibuild.store.database import explained
from minibuild.store.flock import hold
from minibuild.store.layout import Store

if TYPE_CHECKING:  # a cached build looks into no tree
    from minibuild.cache.materialise import Materialiser
    from minibuild.executor.api import Executor
    from minibuild.snapshot.api import MergePolicy
    from minibuild.snapshot.snapshotter import Snapshotter
    from minibuild.worker.context_mounts import ContextMounts


class Worker:
    """What a process has open. The snapshotter is opened when there is something to do, and the
    step server is started when the first step runs."""

    def __init__(self, store: Store, *, own_root: bool = False) -> None:
        self.store = store
        self.own_root = own_root
        self.content = ContentStore(store)
        self.images = ImageStore(self.content)
        self.layers = LayerStore(self.content, lambda: self.snapshots)
        self.diffs = Diffs(store.db, self.layers)
        self.cache = Cache(store.db, self.diffs)
        self.digests = DigestCache(store.db)
        self._cancelled: threading.Event | None = None
        self._snapshots: Snapshotter | None = None
        self._opening = threading.Lock()
        self._executor: Executor | None = None
        self._context_mounts: ContextMounts | None = None
        self._starting = threading.Lock()

    @property
    def snapshots(self) -> "Snapshotter":
        """The snapshotter, opened if it is not."""
        with self._opening:
            if self._snapshots is None:
                from minibuild.snapshot.select import open_snapshotter

                name: Literal["stacked", "auto"] = "stacked" if self.own_root else "auto"
                self._snapshots = open_snapshotter(self.store, name)
                self._snapshots.cancelled = self._cancelled
            return self._snapshots

    def attend(self, report: Report, cancelled: threading.Event) -> None:
        """From now on report transfers here, and stop them, copies and merges when `cancelled` is
        set."""
        self.layers.attend(report, cancelled)
        with self._opening:
            self._cancelled = cancelled
            if self._snapshots is not None:
                self._snapshots.cancelled = cancelled

    def executor(self, resources: Resources = UNLIMITED) -> "Executor":
        """The executor, started if it is not. `resources` are the limits of the steps to come."""
        with self._starting:
            if self._executor is None:
                from minibuild.executor.isolation import start_executor

                folder = self.store.path("run")
                self._executor = start_executor(
                    folder, resources, self.snapshots.unmounts, own_root=self.own_root
                )
            return self._executor

    def context_mounts(self) -> "ContextMounts":
        """What steps mount of build contexts."""
        with self._starting:
            if self._context_mounts is None:
                from minibuild.worker.context_mounts import ContextMounts

                # In the container's own root nothing is mounted over a context.
                whiteouts = "plain" if self.own_root else self.snapshots.whiteouts
                self._context_mounts = ContextMounts(self.store, whiteouts)
            return self._context_mounts

    def materialiser(
        self,
        cancelled: threading.Event | None = None,
        policy: "MergePolicy | None" = None,
    ) -> "Materialiser":
        """What makes trees and blobs of results, until `cancelled` is set."""
        from minibuild.cache.materialise import Materialiser

        parts = (self.store, self.snapshots, self.diffs, self.layers)
        return Materialiser(*parts, policy=policy, cancelled=cancelled)

    def close(self) -> None:
        """Stop transfers and the step server, and release this process's claim on the store."""
        self.layers.close()
        if self._executor is not None:
            self._executor.close()
        if self._context_mounts is not None:
            self._context_mounts.close()
        self.store.close()


@contextmanager
def open_worker(
    root: str, *, alone: bool = False, isolation: Isolation = "auto"
) -> Iterator[Worker]:
    """A worker on the store in `root`, which is made if need be and swept of what crashes left.

    Many can be open at once. One that is `alone`, as pruning needs, waits for the others to end,
    and others wait for it.
    """
    store = Store(root)
    try:
        with hold(store.path("locks", "prune"), shared=not alone):
            sweep(store)
            worker = Worker(store, own_root=_takes_own_root(isolation))
            try:
                yield worker
            finally:
                worker.close()
    except BaseException as error:
        store.claim.release()
        if isinstance(error, sqlite3.DatabaseError):
            # Wherever it happened: the disk is full, or the file is damaged.
            raise explained(error, store.db.path) from error
        raise


def _takes_own_root(isolation: Isolation) -> bool:
    """Whether steps get the container's own root. A process that can have a user namespace is in it
    by now."""
    if isolation == "auto" and not needs_user_namespace():
        return False
    from minibuild.executor.isolation import takes_own_root

    return takes_own_root(isolation)
