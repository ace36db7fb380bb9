"""What an image export consists of: a top document, its names, and everything below it.

Comes in: the manifests of a build. Goes out: a `Bundle`: for one image its manifest, for several
an index of them. The exporters of layouts and archives write the same files from it, in the same
order, so the same image always gives the same archive. Read next: `oci`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence

from minibuild.errors import UsageError
from minibuild.exporter.annotations import Annotation, annotations_for
from minibuild.graph.reference import Reference
from minibuild.oci.content import BlobSource, ContentStore
from minibuild.oci.model import (
    CONTAINERD_NAME,
    DOCKER_INDEX,
    OCI_INDEX,
    REF_NAME,
    Descriptor,
    Index,
    describe,
    index_bytes,
)
from minibuild.oci.transfer import blobs_of, manifests_of
from minibuild.startup.tuples import NamedTuple


class Bundle(NamedTuple):
    """`top` is a manifest or an index that `blobs` can read, like everything below it."""

    top: Descriptor
    names: tuple[Reference, ...]
    blobs: BlobSource


def make_bundle(
    content: ContentStore,
    manifests: Sequence[Descriptor],
    names: Sequence[Reference],
    annotations: Sequence[Annotation] = (),
    *,
    oci_mediatypes: bool = True,
    index: bool = False,
) -> Bundle:
    """The bundle of a build's images, whose documents and layers are in the store: with `index`
    an index of them, even of one.

    Each descriptor has its platform. Annotations of manifests themselves are in them already.
    """
    described = [
        m._replace(
            annotations={
                **m.annotations,
                **annotations_for(annotations, "manifest-descriptor", m.platform),
            }
        )
        if m.platform is None or m.platform.os != "unknown"  # what is said of an image is none
        else m
        for m in manifests
    ]
    of_index = annotations_for(annotations, "index")
    if len(described) == 1 and not index:
        if of_index or annotations_for(annotations, "index-descriptor"):
            raise UsageError(
                "annotations of an index need an index",
                hint="one is written for several platforms: --platform linux/amd64,linux/arm64",
            )
        return Bundle(described[0], tuple(names), content)
    media_type = OCI_INDEX if oci_mediatypes else DOCKER_INDEX
    data = index_bytes(Index(tuple(described), of_index, media_type))
    content.put(data)
    top = describe(media_type, data)._replace(
        annotations=annotations_for(annotations, "index-descriptor")
    )
    return Bundle(top, tuple(names), content)


def layout_index(bundles: Sequence[Bundle], others: Sequence[Descriptor] = ()) -> bytes:
    """The `index.json` of a layout: one descriptor for each name, after the `others` in it."""
    described = [one for bundle in bundles for one in (_named(bundle) or [bundle.top])]
    return index_bytes(Index((*others, *described)))


def _named(bundle: Bundle) -> list[Descriptor]:
    """The top document once for each of its names."""
    return [
        bundle.top._replace(
            annotations={
                **bundle.top.annotations,
                CONTAINERD_NAME: str(name._replace(digest=None)),
                REF_NAME: name.tag,
            }
        )
        for name in bundle.names
        if name.tag
    ]


def docker_manifest(bundles: Sequence[Bundle]) -> bytes:
    """The `manifest.json` by which `docker load` and `podman load` find their way."""
    images: list[Mapping[str, object]] = [
        {
            "Config": blob_name(manifest.config),
            "RepoTags": [name.familiar for name in bundle.names if name.tag],
            "Layers": [blob_name(layer) for layer in manifest.layers],
        }
        for bundle in bundles
        for _, manifest in manifests_of(bundle.blobs, bundle.top)
    ]
    return json.dumps(images, separators=(",", ":"), ensure_ascii=False).encode()


def blob_name(descriptor: Descriptor) -> str:
    """The name of a blob in a layout."""
    return "blobs/" + descriptor.digest.replace(":", "/")


def blobs_in_order(bundles: Sequence[Bundle]) -> Iterator[tuple[Descriptor, BlobSource]]:
    """All blobs of bundles, each once and with where it can be read, sorted by digest."""
    found = {d.digest: (d, b.blobs) for b in bundles for d in blobs_of(b.blobs, b.top)}
    return (found[digest] for digest in sorted(found))
