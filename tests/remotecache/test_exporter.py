"""Results as a document: layers of which each stands on the one below it."""

from pathlib import Path

import pytest

from minibuild.remotecache.exporter import DocumentWriter, KnownStep
from minibuild.worker.worker import open_worker
from tests.cache.many_layers import LAYERS, shallow, stacked


@pytest.mark.parametrize("whole", [True, False])
def test_any_number_of_layers_goes_into_a_cache(tmp_path: Path, whole: bool) -> None:
    with open_worker(str(tmp_path / "store")) as worker:
        made = stacked(worker, whole=whole)
        layers = {key: layer for key in made if (layer := worker.diffs.get(key).layer)}
        result = made if whole else made[-1:]
        with shallow():
            writer = DocumentWriter(worker, layers, [result])
            digest = layers[made[0]].digest
            (step,) = writer.steps([KnownStep(digest, (digest,), "step", result)])
    assert step.layers == (tuple(range(LAYERS)) if whole else (LAYERS - 1,))
    assert [layer.parent for layer in writer.layers] == list(range(-1, LAYERS - 1))
    odd = [n for n, layer in enumerate(writer.layers) if layer.base is not None]
    assert odd == ([] if whole else list(range(2, LAYERS)))
