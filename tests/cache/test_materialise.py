"""Results on disk: layers of which each stands on the one below it."""

import os
from pathlib import Path

import pytest

from minibuild.worker.worker import open_worker
from tests.cache.many_layers import shallow, stacked


@pytest.mark.parametrize("whole", [True, False])
def test_any_number_of_layers_becomes_a_tree(tmp_path: Path, whole: bool) -> None:
    with open_worker(str(tmp_path / "store")) as worker:
        made = stacked(worker, whole=whole)
        result = made if whole else made[-1:]
        materialiser = worker.materialiser()
        with shallow():
            snapshot = materialiser.snapshot(result, lambda remark: None)
            assert snapshot is not None and materialiser.is_here(result)
        with worker.snapshots.tree(snapshot) as tree:
            assert len([name for name in os.listdir(tree) if name[0] == "f"]) == len(result)
