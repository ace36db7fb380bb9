"""`--squash`: what a build adds to its base as one layer.

Comes in: the layers of a result, of which the lowest belong to the base. Goes out: the same ones
of the base, and one with the difference; and the history that goes with it, whose entries all stay.
What one step wrote and a later one removed is gone then; the base stays shared.
Read next: `minibuild.imagetools.squash`.
"""

from collections.abc import Sequence
from typing import cast

from minibuild.graph.image import History
from minibuild.imagetools.edit import entries_below, without_layers
from minibuild.imagetools.squash import squash_layers
from minibuild.layer.layer import Layer
from minibuild.oci.config import ImageLayer, complete_history
from minibuild.oci.content import ContentStore
from minibuild.oci.model import Compression

CREATED_BY = "minibuild build --squash"


def squashed(
    content: ContentStore,
    layers: Sequence[Layer],
    dated: Sequence[ImageLayer],
    keep: int,
    history: Sequence[History],
    compression: Compression,
    epoch: int | None,
) -> tuple[list[ImageLayer], tuple[History, ...]]:
    """The layers and the history, with all but the lowest `keep` layers as one."""
    if len(layers) - keep < 2:
        return list(dated), tuple(history)
    entries = complete_history(history, dated, epoch)
    made = squash_layers(content, layers, keep, compression)
    seam = entries_below(entries, keep)
    last: History = {"created_by": CREATED_BY, "comment": f"{len(layers) - keep} layers in one"}
    after = cast(list[History], without_layers(entries[seam:]))
    descriptor = made.descriptor._replace(annotations=dated[-1].descriptor.annotations)
    top = ImageLayer(made.diff_id, descriptor, dated[-1].created)
    return [*dated[:keep], top], (*entries[:seam], *after, last)
