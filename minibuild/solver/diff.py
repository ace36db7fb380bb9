"""Doing a Diff: what one result adds to another, as diffs of its own."""

from minibuild.cache.results import Result
from minibuild.solver.keys import ReadyVertex
from minibuild.worker.context import BuildContext


def run_diff(build: BuildContext, ready: ReadyVertex) -> Result:
    """The diffs of input 1 that are not in input 0.

    If the upper result is the lower one with more on top, that "more" is the answer: the diffs
    are known and their blobs are used again. Otherwise the two trees are compared, which makes
    one new diff (see "Diff" in BuildKit's merge and diff design).
    """
    lower, upper = ((found.result if found else ()) for found in ready.inputs)
    if upper[: len(lower)] == lower:
        return upper[len(lower) :]
    tell, snapshots = build.progress(ready.vertex.digest).remark, build.worker.snapshots
    lower_snapshot = build.materialiser.snapshot(lower, tell)
    upper_snapshot = build.materialiser.snapshot(upper, tell)
    if upper_snapshot is None:
        # Everything of the lower result is deleted: the upper side is a tree without entries.
        upper_snapshot = snapshots.prepare(None)
        snapshots.commit(upper_snapshot)
    return (build.worker.diffs.add(lower, lower=lower_snapshot, upper=upper_snapshot),)
