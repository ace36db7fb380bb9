"""Which build made an image, and which step made each of its layers.

Comes in: the digests of an image. Goes out: a build and its last step; steps, and where layers come
from. Only records are read. Read next: `blame`.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from minibuild.digest import Digest
from minibuild.errors import ImageError
from minibuild.imagetools.edit import Image, read_image
from minibuild.imagetools.waste import LayerOrigin, kind_of
from minibuild.oci.content import ContentStore
from minibuild.oci.model import OCI_MANIFEST, Descriptor
from minibuild.record.blame import makers
from minibuild.record.records import BuildRecord, BuildRecords, RecordedStep


def build_of(
    records: BuildRecords, digests: Collection[str]
) -> tuple[BuildRecord, RecordedStep] | None:
    """The newest build that made an image with one of these digests (of its manifest, its config,
    or an index with it), and the step of which it is the result."""
    for build in records.all():
        for output in build.outputs:
            number = output.get("vertex")
            if number is not None and not set(digests).isdisjoint(output.get("digests", ())):
                return build, build.steps[number]
    return None


def image_of(content: ContentStore, output: Mapping[str, Any]) -> Image | None:
    """The image that a record names as an output, if the store has it."""
    digest = next(map(Digest, output.get("digests", ())), None)
    if digest is None or not content.has(digest):
        return None
    try:
        return read_image(content, Descriptor(OCI_MANIFEST, digest, content.size(digest)))
    except ImageError:
        return None


def layers_of(
    image: Image, found: tuple[BuildRecord, RecordedStep] | None
) -> Iterator[tuple[RecordedStep | None, LayerOrigin]]:
    """The layers of an image that a build made, with its last step: which step made each, and where
    it comes from. Each layer is a diff of the result, unless the image was squashed."""
    steps: list[RecordedStep | None] = [None] * len(image.layers)
    if found is not None and len(found[1].result) == len(steps):
        made_by = makers(found[0])
        steps = [made_by.get(diff) for diff in found[1].result]
    for said, step in zip(image.instructions, steps, strict=True):
        yield step, _origin(said, step)


def _origin(said: str, step: RecordedStep | None) -> LayerOrigin:
    """By the step that made a layer, else by what the history says."""
    if step is None:
        return LayerOrigin(kind_of(said), said)
    if step.kind == "image":
        return LayerOrigin("base", said or step.text, step.line)
    return LayerOrigin("run" if step.kind == "exec" else kind_of(said), step.text, step.line)
