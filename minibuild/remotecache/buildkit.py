"""A cache that BuildKit wrote: its records, and the layers that they name.

Comes in: the documents of such a cache, which may be a name of its own or the config of an image.
Goes out: a `BuildkitCache`, in which a build finds its steps.
Any account that can write to the place can have written it. So numbers are checked when they are
followed, and a result that names layers which are not there counts as none.
Read next: `importer`.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import datetime

from minibuild.buildkit.definition import OpOutput
from minibuild.digest import DiffID, Digest, InvalidDigest, parse_digest
from minibuild.layer.layer import Layer
from minibuild.oci.content import BlobSource
from minibuild.oci.document import Member, parse_value
from minibuild.oci.model import Descriptor, Manifest, as_oci
from minibuild.remotecache.chains import Chains, parse_records
from minibuild.remotecache.keys import BuildkitKeys
from minibuild.startup.tuples import NamedTuple

UNCOMPRESSED = "containerd.io/uncompressed"
"""The annotation of a layer that says its diff id."""
CREATED_AT = "buildkit/createdat"


class StackedLayer(NamedTuple):
    """A layer, and the number of that below it; -1 if there is none. `layer` is None if it is not
    there."""

    layer: Layer | None
    parent: int = -1
    created: float | None = None


class BuildkitCache:
    """A cache as a build reads it."""

    def __init__(self, layers: Sequence[StackedLayer], chains: Chains) -> None:
        self.layers = layers
        self.chains = chains

    def find(self, keys: BuildkitKeys, output: OpOutput) -> list[StackedLayer] | None:
        """The layers of the result of an output, lowest first; none if they were not kept, None if
        nothing is known of it."""
        numbers = self.chains.find(keys, output)
        found = (self._result(number) for number in sorted(numbers))
        return next(filter(None, found), []) if numbers else None

    def _result(self, number: int) -> list[StackedLayer]:
        record = self.chains.records[number]
        numbers = self._below(record.layers[0]) if record.stack else record.layers
        if not all(0 <= n < len(self.layers) for n in numbers):
            return []
        found = [self.layers[n] for n in numbers]
        return found if all(stacked.layer for stacked in found) else []

    def _below(self, number: int) -> list[int]:
        """A layer and all that it stands on, lowest first; nothing if that has no end."""
        found: list[int] = []
        while number != -1:
            if not 0 <= number < len(self.layers) or len(found) == len(self.layers):
                return []
            found.append(number)
            number = self.layers[number].parent
        return found[::-1]


def parse_config(
    config: Member, blobs: Mapping[Digest, Descriptor], source: BlobSource
) -> BuildkitCache:
    """A cache that has a name of its own; `blobs` are the layers of its manifest. Raises
    `ImageError`."""
    layers = []
    for member in config["layers"].items():
        # Go leaves out a number that is 0.
        parent = 0 if member["parent"].value is None else member["parent"].whole(-1)
        layers.append(_stacked(blobs.get(member["blob"].digest()), source, parent))
    return BuildkitCache(layers, Chains(parse_records(list(config["records"].items()))))


def parse_inline(
    text: Member, manifest: Manifest, diff_ids: Sequence[Digest], source: BlobSource
) -> BuildkitCache:
    """The cache in the config of an image: its records as base64, about the image's layers. Raises
    `ImageError`."""
    try:
        data = base64.b64decode(text.text(), validate=True)
    except (binascii.Error, ValueError):
        raise text.wrong("is no base64") from None
    layers = [
        _stacked(descriptor._replace(annotations={UNCOMPRESSED: diff_id}), source, number - 1)
        for number, (descriptor, diff_id) in enumerate(zip(manifest.layers, diff_ids, strict=False))
    ]
    records = parse_value(data, "the cache in the config of an image")
    return BuildkitCache(layers, Chains(parse_records(list(records.items()))))


def _stacked(blob: Descriptor | None, source: BlobSource, parent: int) -> StackedLayer:
    if blob is None:
        return StackedLayer(None, parent)
    try:
        diff_id = DiffID(parse_digest(blob.annotations.get(UNCOMPRESSED, "")))
    except InvalidDigest:
        return StackedLayer(None, parent)
    descriptor = Descriptor(as_oci(blob.media_type), blob.digest, blob.size)
    layer = Layer(diff_id, descriptor, source)
    return StackedLayer(layer, parent, _moment(blob.annotations.get(CREATED_AT, "")))


def _moment(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
