"""Which files the copies just below a copy put there.

Comes in: a vertex whose base is solved. Goes out: whether a path is new in one of the copies that
it follows. A file that is there already, equal in all, is not written again (see `fileop.tree`).
Its time counts, as with BuildKit, unless the copies just before put it there: times are no part of
their keys, so they may come from the cache with the times of other days, and what a layer holds
must not depend on that. Read next: `last_copy`.
"""

import os
from collections.abc import Callable

from minibuild.cache.results import DiffRow
from minibuild.graph.op import File, Mkdir
from minibuild.linux.beneath import lstat
from minibuild.linux.descriptors import closing_fd
from minibuild.solver.keys import ReadyVertex
from minibuild.solver.last_copy import own_snapshots
from minibuild.worker.context import BuildContext
from minibuild.worker.worker import Worker


def copied_before(build: BuildContext, ready: ReadyVertex) -> Callable[[str], bool] | None:
    """Tells whether a path was put there by the run of copies just below this one; None if there
    are none."""
    ops, base = list[File](), ready.base
    below = ready.vertex.inputs[0] if ready.vertex.inputs else None
    while below is not None and isinstance(below.op, File):
        ops.append(below.op)
        below = below.inputs[0] if below.inputs else None
    if all(isinstance(action, Mkdir) for op in ops for action in op.actions):
        return None

    def copied(path: str) -> bool:
        rows = [build.worker.diffs.get(key) for key in base[len(base) - len(ops) :]]
        return any(_is_new(build.worker, row, path) for row in rows)

    return copied


def _is_new(worker: Worker, row: DiffRow, path: str) -> bool:
    """Whether a path is one of those that a diff has, as far as its tree tells."""
    snapshots = worker.snapshots
    if row.upper is None:
        return False
    if snapshots.whiteouts == "plain" and row.lower is not None:
        # The directory is a whole copy: what is as below is not new in it.
        upper, lower = (snapshots.layer_dir(one) for one in (row.upper, row.lower))
        return _status(upper, path) != _status(lower, path)
    own = own_snapshots(worker, row.upper, row.lower)
    return any(_status(snapshots.layer_dir(one), path) is not None for one in own)


def _status(folder: str, path: str) -> tuple[int, ...] | None:
    """What a copy of a file has in common with it, as far as lstat(2) tells; None for no file."""
    with closing_fd(os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
        found = lstat(fd, path)
    if found is None:
        return None
    return found.st_mode, found.st_uid, found.st_gid, found.st_size, found.st_mtime_ns
