"""The config of an image: the times in its history, and its own."""

import json
from typing import cast

import pytest

from minibuild.digest import DiffID, Digest, digest_bytes
from minibuild.events import rfc3339
from minibuild.graph.image import ContainerConfig, History, ImageConfig
from minibuild.graph.platform import Platform
from minibuild.oci.config import ImageLayer, assemble, store_documents
from minibuild.oci.content import ContentStore
from minibuild.oci.model import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
)
from minibuild.store.layout import Store

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
        # What a base says of a layer that is not there is no longer the base's.
        ((*BASE, {"created": rfc3339(40)}), [30], 20, [30, 20], 20),
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


@pytest.mark.parametrize(
    ("epoch", "times"), [(None, [30, 20, 20]), (90, [30, 20, 20]), (10, [30, 10, 10])]
)
def test_new_entries_have_the_time_of_the_build_but_none_after_the_epoch_of_the_output(
    epoch: int | None, times: list[float]
) -> None:
    """However old the base is: that of a build of its last commit, say."""
    image, layers = ImageConfig(Platform("linux", "amd64"), {}, BASE + NEW), [layer(0, 5)] * 2
    history = assemble(image, layers, made=20, epoch=epoch).image.history
    assert [entry.get("created") for entry in history] == list(map(rfc3339, times))


@pytest.mark.parametrize(
    ("created", "epoch", "expected"),
    [
        ("2020-01-01T00:00:00Z", None, "2020-01-01T00:00:00Z"),
        ("2020-01-01T00:00:00Z", 20, "1970-01-01T00:00:20Z"),
        ("1970-01-01T00:00:10Z", 20, "1970-01-01T00:00:10Z"),
        ("", None, "1970-01-01T00:00:30Z"),
    ],
)
def test_an_image_that_says_when_it_was_made(
    created: str, epoch: int | None, expected: str
) -> None:
    image = ImageConfig(Platform("linux", "amd64"), {}, BASE, created=created)
    assert assemble(image, [layer(0, 30)], epoch=epoch).image.created == expected


def test_the_names_of_docker_have_no_annotations_of_layers(store: Store) -> None:
    described = layer(7, 30)
    described = described._replace(
        descriptor=described.descriptor._replace(annotations={"a": "b"}, size=1000)
    )
    image = ImageConfig(Platform("linux", "amd64"), {}, BASE)
    for oci, kinds, annotations in (
        (True, (OCI_LAYER, OCI_CONFIG, OCI_MANIFEST), {"a": "b"}),
        (False, (DOCKER_LAYER, DOCKER_CONFIG, DOCKER_MANIFEST), {}),
    ):
        made = assemble(image, [described], oci_mediatypes=oci)
        (found,) = made.layers
        assert found.descriptor.annotations == annotations
        types = found.descriptor.media_type, made.config.media_type, made.manifest.media_type
        assert types == kinds
        assert made.digest == digest_bytes(made.manifest_bytes)
        sizes = 1000 + len(made.config_bytes) + len(made.manifest_bytes)
        assert made.size_bytes == sizes
        content = ContentStore(store)
        store_documents(content, made)
        assert content.read(made.digest) == made.manifest_bytes
        assert content.read(made.config.digest) == made.config_bytes


@pytest.mark.parametrize(
    ("history", "layers", "empty"),
    [
        (NEW, 1, [True, False]),
        (BASE + NEW, 1, [False, True, True]),  # as with BuildKit
        (NEW, 3, [True, False, False, False]),
        ((), 1, [False]),
    ],
)
def test_the_history_has_an_entry_for_each_layer(
    history: tuple[History, ...], layers: int, empty: list[bool]
) -> None:
    image = ImageConfig(Platform("linux", "amd64"), {}, history)
    made = assemble(image, [layer(number, 50) for number in range(layers)]).image.history
    assert [entry.get("empty_layer", False) for entry in made] == empty
    assert [bool(entry.get("comment")) for entry in made[len(history) :]] == [True] * (
        len(made) - len(history)
    )


def test_a_config_is_written_as_buildkit_writes_it() -> None:
    """Members of a container in the order of Go's fields, others behind them; and text as it is."""
    unknown = {"Zebra": "é", "Apple": {"b": 1, "a": 2}}
    container = cast(ContainerConfig, {**unknown, "Cmd": [], "Env": ["A=b"]})
    image = ImageConfig(Platform("linux", "amd64"), container, extra={"another": 1})
    text = assemble(image, []).config_bytes.decode()
    value = json.loads(text)
    assert list(value) == sorted(value) and value["another"] == 1
    assert '"config":{"Env":["A=b"],"Cmd":[],"Apple":{"a":2,"b":1},"Zebra":"é"}' in text
