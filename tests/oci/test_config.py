"""The config of an image: the times in its history, and its own."""

import pytest

from minibuild.digest import DiffID, Digest
from minibuild.events import rfc3339
from minibuild.graph.image import History, ImageConfig
from minibuild.graph.platform import Platform
from minibuild.oci.config import ImageLayer, assemble
from minibuild.oci.model import OCI_LAYER, Descriptor

BASE: tuple[History, ...] = ({"created": "1970-01-01T00:00:30Z", "created_by": "base"},)
NEW: tuple[History, ...] = ({"created_by": "ENV", "empty_layer": True}, {"created_by": "COPY"})


def layer(number: int, created: float | None) -> ImageLayer:
    digest = Digest(f"sha256:{number:064x}")
    return ImageLayer(DiffID(digest), Descriptor(OCI_LAYER, digest, 1), created)


@pytest.mark.parametrize(
    ("history", "made", "epoch", "times", "created"),
    [
        # Without an epoch: each its time, and what has none that of the first new layer.
        (BASE + NEW, [30, 50], None, [30, 50, 50], 50),
        (BASE, [30], None, [30], 30),
        # Nothing new is after the epoch. What a base says stays, be it all of the image.
        (BASE + NEW, [30, 50], 20, [30, 20, 20], 20),
        (BASE, [30], 20, [30], 30),
        (NEW, [50], 20, [20, 20], 20),
        # It is no later than the epoch, and so an epoch to come changes nothing.
        (BASE + NEW, [30, 50], 90, [30, 50, 50], 50),
        (BASE + NEW, [30, 50.5], 50, [30, 50, 50], 50),
        (BASE + NEW, [30, 50], -5, [30, -5, -5], -5),
        # A time that is not known.
        (NEW, [None], 20, [20, 20], 20),
        (NEW, [None], None, [None, None], None),
        ((), [], 20, [], None),
    ],
)
def test_times_of_an_image(
    history: tuple[History, ...],
    made: list[float | None],
    epoch: int | None,
    times: list[float | None],
    created: float | None,
) -> None:
    layers = [layer(number, time) for number, time in enumerate(made)]
    image = assemble(ImageConfig(Platform("linux", "amd64"), {}, history), layers, epoch=epoch)
    texts = [None if time is None else rfc3339(time) for time in times]
    assert [entry.get("created") for entry in image.image.history] == texts
    assert image.image.created == ("" if created is None else rfc3339(created))
