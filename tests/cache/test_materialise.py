"""Results on disk: layers of which each stands on the one below it."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from minibuild.cache.results import DiffKey, Result
from minibuild.digest import DiffID
from minibuild.layer.layer import Layer
from minibuild.oci.model import OCI_LAYER, Descriptor
from minibuild.remotecache.exporter import DocumentWriter, KnownStep
from minibuild.worker.worker import Worker, open_worker
from tests.layer.tars import entry, tar

LAYERS = 90


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """A new store."""
    with open_worker(str(tmp_path / "store")) as opened:
        yield opened


@pytest.fixture
def shallow() -> Iterator[None]:
    """A little room for calls in calls, much less than one for each layer."""
    before, depth, frame = sys.getrecursionlimit(), 0, sys._getframe()
    while frame.f_back is not None:
        depth, frame = depth + 1, frame.f_back
    sys.setrecursionlimit(depth + LAYERS)
    yield
    sys.setrecursionlimit(before)


def stacked(worker: Worker, *, whole: bool) -> Result:
    """Layers with a file each, made on all below them, or on the one below alone."""
    made: Result = ()
    for number in range(LAYERS):
        data = tar(entry(f"f{number}", b"x", uid=os.getuid(), gid=os.getgid()))
        digest = worker.content.put(data)
        layer = Layer(DiffID(digest), Descriptor(OCI_LAYER, digest, len(data)), worker.content)
        key: DiffKey = worker.diffs.add(made if whole else made[-1:], layer=layer)
        made = (*made, key)
    return made


@pytest.mark.parametrize("whole", [True, False])
def test_any_number_of_layers_becomes_a_tree(worker: Worker, shallow: None, whole: bool) -> None:
    made = stacked(worker, whole=whole)
    result = made if whole else made[-1:]
    materialiser = worker.materialiser()
    snapshot = materialiser.snapshot(result, lambda remark: None)
    assert snapshot is not None and materialiser.is_here(result)
    with worker.snapshots.tree(snapshot) as tree:
        assert len([name for name in os.listdir(tree) if name[0] == "f"]) == len(result)


@pytest.mark.parametrize("whole", [True, False])
def test_any_number_of_layers_goes_into_a_cache(worker: Worker, shallow: None, whole: bool) -> None:
    made = stacked(worker, whole=whole)
    layers = {key: layer for key in made if (layer := worker.diffs.get(key).layer)}
    result = made if whole else made[-1:]
    writer = DocumentWriter(worker, layers, [result])
    digest = layers[made[0]].digest
    (step,) = writer.steps([KnownStep(digest, (digest,), "step", result)])
    assert step.layers == (tuple(range(LAYERS)) if whole else (LAYERS - 1,))
    assert [layer.parent for layer in writer.layers] == list(range(-1, LAYERS - 1))
    odd = [n for n, layer in enumerate(writer.layers) if layer.base is not None]
    assert odd == ([] if whole else list(range(2, LAYERS)))
