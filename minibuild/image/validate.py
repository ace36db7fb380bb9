"""Is an image what it claims to be? Everything that can be checked without running it.

Comes in: a descriptor and a source. Goes out: a sentence for each thing that is wrong; none means
sound. Checked are sizes and digests of all blobs, the diff ids of the layers, that the config and
the manifest have as many layers and as many history entries, and that the layers are tars.
"""

from collections.abc import Sequence

from minibuild.errors import BuildError
from minibuild.graph.image import History
from minibuild.layer.layer import Layer
from minibuild.oci.content import BlobSource, read_document
from minibuild.oci.document import MAX_DOCUMENT_BYTES
from minibuild.oci.model import Descriptor, Manifest, parse_config
from minibuild.oci.transfer import manifests_of

_MAX_STATEMENT_BYTES = 64 << 20


def validate(source: BlobSource, top: Descriptor) -> list[str]:
    """What is wrong with an image, or with all images of an index."""
    problems: list[str] = []
    try:
        for descriptor, manifest in manifests_of(source, top):
            problems += _manifest_problems(source, descriptor, manifest)
    except BuildError as error:
        problems.append(str(error))
    return problems


def _manifest_problems(source: BlobSource, descriptor: Descriptor, manifest: Manifest) -> list[str]:
    what = f"image {descriptor.digest}"
    try:
        data = read_document(source, manifest.config, MAX_DOCUMENT_BYTES)
        if descriptor.platform is not None and descriptor.platform.os == "unknown":
            return _blob_problems(source, manifest)
        config = parse_config(data, f"config {manifest.config.digest}", len(manifest.layers))
    except BuildError as error:
        return [f"{what}: {error}"]
    problems = _history_problems(config.image.history, len(config.diff_ids), what)
    for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
        problems += _layer_problems(Layer(diff_id, layer, source))
    return problems


def _blob_problems(source: BlobSource, manifest: Manifest) -> list[str]:
    """What an attestation holds are documents and no tars: only their digests can be wrong."""
    problems: list[str] = []
    for layer in manifest.layers:
        try:
            read_document(source, layer, _MAX_STATEMENT_BYTES)
        except BuildError as error:
            problems.append(str(error))
    return problems


def _history_problems(history: Sequence[History], layers: int, what: str) -> list[str]:
    if not history:
        return []
    entries = [entry for entry in history if not entry.get("empty_layer")]
    if len(entries) != layers:
        return [f"{what} has {layers} layers and {len(entries)} history entries with a layer"]
    return []


def _layer_problems(layer: Layer) -> list[str]:
    try:
        with layer.tar() as tar:
            for _ in tar:
                pass
    except BuildError as error:
        return [str(error)]
    return []
