"""Is an image what it claims to be? Everything that can be checked without running it.

Comes in: a descriptor and a source. Goes out: a sentence for each thing that is wrong; none means
sound. Checked are sizes and digests of all blobs, the diff ids of the layers, that the config and
the manifest have as many layers and as many history entries, and that the layers are tars.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from minibuild.errors import BuildError
from minibuild.layer.layer import Layer
from minibuild.oci.content import BlobSource, read_document
from minibuild.oci.model import Descriptor, Manifest, parse_config
from minibuild.oci.transfer import manifests_of

_MAX_STATEMENT_BYTES = 64 << 20


def validate(source: BlobSource, top: Descriptor) -> list[str]:
    """What is wrong with an image, or with all images of an index."""
    problems: list[str] = []
    with _noted(problems):
        for descriptor, manifest in manifests_of(source, top):
            with _noted(problems, f"image {descriptor.digest}: "):
                _validate(source, descriptor, manifest, problems)
    return problems


@contextmanager
def _noted(problems: list[str], what: str = "") -> Iterator[None]:
    """Add what is raised to the problems."""
    try:
        yield
    except BuildError as error:
        problems.append(f"{what}{error}")


def _validate(
    source: BlobSource, descriptor: Descriptor, manifest: Manifest, problems: list[str]
) -> None:
    data = read_document(source, manifest.config)
    if descriptor.platform is not None and descriptor.platform.os == "unknown":
        # What an attestation holds are documents and no tars: only their digests can be wrong.
        for layer in manifest.layers:
            with _noted(problems):
                read_document(source, layer, _MAX_STATEMENT_BYTES)
        return
    config = parse_config(data, f"config {manifest.config.digest}", len(manifest.layers))
    entries = [entry for entry in config.image.history if not entry.get("empty_layer")]
    if config.image.history and len(entries) != len(config.diff_ids):
        said = f"{len(config.diff_ids)} layers and {len(entries)} history entries with a layer"
        problems.append(f"image {descriptor.digest} has {said}")
    for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
        with _noted(problems), Layer(diff_id, layer, source).tar() as tar:
            for _ in tar:
                pass
