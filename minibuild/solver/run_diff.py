"""Doing a Diff: what one result adds to another, as diffs of its own."""

from collections.abc import Sequence

from minibuild.cache.results import Result
from minibuild.solver.trees import Solved
from minibuild.solver.workbench import Voice, Workbench


def run_diff(bench: Workbench, inputs: Sequence[Solved | None], voice: Voice) -> Result:
    """The diffs of input 1 that are not in input 0.

    If the upper result is the lower one with more on top, that "more" is the answer: the diffs
    are known and their blobs are used again. Otherwise the two trees are compared, which makes
    one new diff (see "Diff" in BuildKit's merge and diff design).
    """
    lower, upper = ((i.result if i else ()) for i in inputs)
    if upper[: len(lower)] == lower:
        return upper[len(lower) :]
    lower_snapshot = bench.materialiser.snapshot(lower, voice.remark)
    upper_snapshot = bench.materialiser.snapshot(upper, voice.remark)
    if upper_snapshot is None:
        # Everything of the lower result is deleted: the upper side is a tree without entries.
        upper_snapshot = bench.snapshots.prepare(None)
        bench.snapshots.commit(upper_snapshot)
    return (bench.diffs.add(lower, lower=lower_snapshot, upper=upper_snapshot),)
