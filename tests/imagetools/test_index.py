"""Images of several platforms as one index: which members it has, whatever came before."""

import json
from typing import Any

import pytest

from minibuild.errors import ImageError
from minibuild.graph.platform import Platform
from minibuild.imagetools.index import IndexBuilder
from minibuild.oci.content import ContentStore
from minibuild.oci.model import (
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    REFERENCE_DIGEST,
    Descriptor,
    Manifest,
    describe,
    index_bytes,
    manifest_bytes,
    parse_index,
)
from minibuild.oci.model import Index as Listed
from minibuild.store.layout import Store


@pytest.fixture
def content(store: Store) -> ContentStore:
    return ContentStore(store)


def image(
    content: ContentStore, platform: str, text: str = "", kind: str = OCI_MANIFEST
) -> Descriptor:
    """An image without layers."""
    system, _, machine = platform.partition("/")
    config: dict[str, Any] = {"os": system, "architecture": machine, "author": text}
    config["rootfs"] = {"type": "layers", "diff_ids": []}
    data = json.dumps(config).encode()
    content.put(data)
    document = manifest_bytes(Manifest(describe(OCI_CONFIG, data), (), {}, kind))
    content.put(document)
    return describe(kind, document)


def index(content: ContentStore, *members: Descriptor) -> Descriptor:
    data = index_bytes(Listed(members, {}, OCI_INDEX))
    content.put(data)
    return describe(OCI_INDEX, data)


def members(builder: IndexBuilder) -> list[str]:
    top = builder.finish({})
    with builder.blobs.open(top) as file:
        return [child.digest for child in parse_index(file.read()).manifests]


def test_the_later_one_of_a_platform_counts(content: ContentStore) -> None:
    one, two, new = (
        image(content, "linux/amd64"),
        image(content, "linux/arm64"),
        image(content, "linux/amd64", "new"),
    )
    builder = IndexBuilder()
    for top in (one, two, new):
        builder.add(content, top)
    assert members(builder) == [two.digest, new.digest]


def test_attestations_go_along_with_their_image(content: ContentStore) -> None:
    one, two, other = (image(content, f"linux/{name}") for name in ("amd64", "arm64", "s390x"))
    notes = [
        image(content, "unknown/unknown", about.digest)._replace(
            annotations={REFERENCE_DIGEST: about.digest}
        )
        for about in (one, two)
    ]
    old = IndexBuilder()
    old.add(content, index(content, *notes))
    assert members(old) == []  # what they are about is not there

    listed = index(
        content,
        one._replace(platform=Platform("linux", "amd64")),
        two._replace(platform=Platform("linux", "arm64")),
        *notes,
    )
    builder = IndexBuilder()
    builder.add(content, listed)
    builder.add(content, other)
    assert set(members(builder)) == {d.digest for d in (one, two, other, *notes)}
    builder.add(content, image(content, "linux/arm64", "new"))
    assert notes[0].digest in members(builder)
    assert notes[1].digest not in members(builder)


def test_the_media_type_is_that_of_the_images(content: ContentStore) -> None:
    builder = IndexBuilder()
    builder.add(content, image(content, "linux/amd64", kind=DOCKER_MANIFEST))
    assert "docker" in builder.finish({}).media_type
    builder.add(content, image(content, "linux/arm64"))
    assert builder.finish({}).media_type == OCI_INDEX


def test_an_image_for_no_platform_is_refused(content: ContentStore) -> None:
    with pytest.raises(ImageError, match="names no platform"):
        IndexBuilder().add(content, image(content, ""))
