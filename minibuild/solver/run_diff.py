"""Doing a Diff: what one result adds to another, as diffs of its own."""

from collections.abc import Sequence

from minibuild.cache.results import Result, VertexResult
from minibuild.progress.writer import ProgressWriter
from minibuild.worker.context import BuildContext


def run_diff(
    build: BuildContext, inputs: Sequence[VertexResult | None], progress: ProgressWriter
) -> Result:
    """The diffs of input 1 that are not in input 0.

    If the upper result is the lower one with more on top, that "more" is the answer: the diffs
    are known and their blobs are used again. Otherwise the two trees are compared, which makes
    one new diff (see "Diff" in BuildKit's merge and diff design).
    """
    lower, upper = ((i.result if i else ()) for i in inputs)
    if upper[: len(lower)] == lower:
        return upper[len(lower) :]
    lower_snapshot = build.materialiser.snapshot(lower, progress.remark)
    upper_snapshot = build.materialiser.snapshot(upper, progress.remark)
    if upper_snapshot is None:
        # Everything of the lower result is deleted: the upper side is a tree without entries.
        upper_snapshot = build.worker.snapshots.prepare(None)
        build.worker.snapshots.commit(upper_snapshot)
    return (build.worker.diffs.add(lower, lower=lower_snapshot, upper=upper_snapshot),)
