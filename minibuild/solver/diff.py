"""Doing a Diff: what one result adds to another, as diffs of its own."""

from minibuild.cache.materialise import Materialiser, Tell
from minibuild.cache.results import Result
from minibuild.solver.keys import ReadyVertex
from minibuild.worker.context import BuildContext
from minibuild.worker.worker import Worker


def run_diff(build: BuildContext, ready: ReadyVertex) -> Result:
    """The diffs of input 1 that are not in input 0."""
    lower, upper = ((found.result if found else ()) for found in ready.inputs)
    tell = build.progress(ready.vertex.digest).remark
    return difference(lower, upper, build.worker, build.materialiser, tell)


def difference(
    lower: Result, upper: Result, worker: Worker, materialiser: Materialiser, tell: Tell
) -> Result:
    """The diffs that lead from one result to the other.

    If the upper result is the lower one with more on top, that "more" is the answer: the diffs
    are known and their blobs are used again. Otherwise the two trees are compared, which makes
    one new diff (see "Diff" in BuildKit's merge and diff design).
    """
    if upper[: len(lower)] == lower:
        return upper[len(lower) :]
    lower_snapshot = materialiser.snapshot(lower, tell)
    upper_snapshot = materialiser.snapshot(upper, tell)
    if upper_snapshot is None:
        # Everything of the lower result is deleted: the upper side is a tree without entries.
        upper_snapshot = worker.snapshots.prepare(None)
        worker.snapshots.commit(upper_snapshot)
    return (worker.diffs.add(lower, lower=lower_snapshot, upper=upper_snapshot),)
