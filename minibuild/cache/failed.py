"""What a failed step left, kept for people who want to look around in it.

Comes in: the step, and its root filesystem as the process left it. Goes out: both, later. One is
kept, the last, as a record of the cache under a key that no step has; so `prune` knows how to be
rid of it. Nothing is moved or packed for it. Secrets are not in it: they were mounts.
"""

from minibuild.cache.records import Cache, Record
from minibuild.cache.results import Diffs, Result
from minibuild.digest import Digest
from minibuild.errors import StoreError
from minibuild.graph.op import Exec
from minibuild.graph.vertex import Vertex
from minibuild.snapshot.snapshotter import Snapshotter
from minibuild.startup.tuples import NamedTuple

_KEY = Digest("failed-step")


class FailedStep(NamedTuple):
    """A step that failed: its name in progress, what it ran as, and the tree that it left."""

    name: str
    env: tuple[tuple[str, str], ...]
    cwd: str
    user: str
    result: Result


class FailedSteps:
    """The failed step that a store keeps."""

    def __init__(self, cache: Cache, diffs: Diffs, snapshots: Snapshotter) -> None:
        self._cache = cache
        self._diffs = diffs
        self._snapshots = snapshots

    def keep(self, vertex: Vertex, op: Exec, result: Result) -> None:
        """Keep a step in place of the one before."""
        self.forget()
        name = f"failed: {vertex.note.name}"
        self._cache.save({_KEY}, Record(_KEY, result), name)
        parts = {"env": op.env, "cwd": op.cwd, "user": op.user, "name": vertex.note.name}
        self._cache.save_parts(_KEY, name, parts)

    def last(self) -> FailedStep | None:
        """The step that is kept, if one is."""
        record, parts = self._cache.lookup(_KEY), self._cache.parts(_KEY)
        if record is None or parts is None:
            return None
        env = tuple((key, value) for key, value in parts["env"])
        return FailedStep(parts["name"], env, parts["cwd"], parts["user"], record.result)

    def forget(self) -> None:
        """Remove the files of the step that is kept, unless they are being looked at."""
        record = self._cache.lookup(_KEY)
        if record is None:
            return
        upper = self._diffs.get(record.result[-1]).upper
        try:
            if upper is not None:
                self._snapshots.remove(upper)
        except StoreError:
            pass  # It goes with a prune.
