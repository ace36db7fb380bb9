"""Documents about caches: written and read again, and what is refused of those of strangers."""

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibuild.digest import DiffID, Digest, digest_bytes
from minibuild.errors import ImageError
from minibuild.layer.layer import Layer
from minibuild.oci.document import parse_document
from minibuild.oci.model import OCI_LAYER_GZIP, Descriptor
from minibuild.oci.multi import MultiSource
from minibuild.remotecache.document import (
    CachedLayer,
    CacheDocument,
    CachedStep,
    document_bytes,
    document_value,
    parse_cache,
    stack,
)

SOURCE = MultiSource()


def parsed(data: bytes, blobs: Mapping[Digest, Descriptor] | None = None) -> CacheDocument:
    blobs = BLOBS if blobs is None else blobs
    return parse_cache(parse_document(data, "x"), blobs, SOURCE, "x")


def blobs_of(document: CacheDocument) -> dict[Digest, Descriptor]:
    return {item.layer.digest: item.layer.descriptor for item in document.layers if item.layer}


def named(number: int) -> Digest:
    return digest_bytes(str(number).encode())


def layer(number: int, parent: int = -1, *base: int, created: float | None = 1.5) -> CachedLayer:
    descriptor = Descriptor(OCI_LAYER_GZIP, named(number), 10 + number)
    made = Layer(DiffID(named(-number)), descriptor, SOURCE)
    return CachedLayer(made, parent, base or None, created)


DOCUMENT = CacheDocument(
    # A base, a RUN on it, a link layer, and a RUN on all three.
    (layer(0, created=None), layer(1, 0), layer(2), layer(3, 2, 0, 1, 2), layer(4, 3)),
    (
        CachedStep(named(100), (named(100), named(101)), "RUN a", (0, 1)),
        CachedStep(named(102), (named(102),), "COPY", (2,)),
        CachedStep(named(103), (named(103),), "", (0, 1, 2, 3, 4)),
        CachedStep(named(104), (named(104),), "RUN elsewhere", None),
        CachedStep(named(105), (named(105),), "nothing changed", ()),
    ),
)
BLOBS = blobs_of(DOCUMENT)


def test_there_and_back() -> None:
    assert parsed(document_bytes(DOCUMENT)) == DOCUMENT


def test_only_what_a_parent_does_not_say_is_said() -> None:
    """BuildKit's `parent` is enough for chains."""
    assert [stack(DOCUMENT.layers, n)[:-1] for n in (1, 3, 4)] == [(0,), (0, 1, 2), (0, 1, 2, 3)]
    layers = document_value(DOCUMENT)["layers"]
    assert [raw["parent"] for raw in layers] == [-1, 0, -1, 2, 3]
    assert [raw.get("base") for raw in layers] == [None, None, None, [0, 1, 2], None]


def test_a_chain_takes_no_more_than_its_length() -> None:
    """A stranger's document of 4 MiB has 20,000 layers, each on all before it."""
    chain = CacheDocument(tuple(layer(number, number - 1) for number in range(100)))
    read = parsed(document_bytes(chain), blobs_of(chain))
    assert not any(one.base for one in read.layers)
    assert stack(read.layers, 99) == tuple(range(100))


@st.composite
def documents(draw: st.DrawFn) -> CacheDocument:
    layers: list[CachedLayer] = []
    for number in range(draw(st.integers(0, 8))):
        base = draw(st.lists(st.integers(0, number - 1), unique=True)) if number else []
        created = draw(st.none() | st.floats(0, 4e9))
        layers.append(layer(number, base[-1] if base else -1, *base, created=created))
    chains = st.lists(st.integers(0, len(layers) - 1)).map(tuple) if layers else st.just(())
    steps = draw(st.lists(st.none() | chains, max_size=5))
    return CacheDocument(
        tuple(layers),
        tuple(
            CachedStep(named(number), (named(number),), "step", chain)
            for number, chain in enumerate(steps)
        ),
    )


@given(documents())
def test_any_there_and_back(document: CacheDocument) -> None:
    assert parsed(document_bytes(document), blobs_of(document)) == document


def set_in(*path: str | int) -> Callable[[Any], Callable[[dict[str, Any]], None]]:
    def to(value: Any) -> Callable[[dict[str, Any]], None]:
        def change(document: dict[str, Any]) -> None:
            place: Any = document
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = value

        return change

    return to


@pytest.mark.parametrize(
    "change",
    [
        set_in("layers")(None),
        set_in("layers")([3]),
        set_in("records")(None),
        set_in("records")(7),
        set_in("layers", 0, "blob")(named(999)),  # not of this manifest
        set_in("layers", 0, "blob")("sha512:" + "0" * 128),
        set_in("layers", 0, "parent")(0),  # itself
        set_in("layers", 0, "parent")(-2),
        set_in("layers", 1, "parent")(4),  # later ones: a ring, perhaps
        set_in("layers", 3, "base")([4]),
        set_in("layers", 3, "base")([-1]),
        set_in("layers", 3, "base")([True]),
        set_in("layers", 3, "base")("abc"),
        set_in("layers", 0, "annotations")(None),
        set_in("layers", 0, "annotations", "diffID")("../../etc/passwd"),
        set_in("layers", 1, "created")("soon"),
        set_in("layers", 1, "created")(1e300),
        set_in("records", 0, "name")(5),
        set_in("records", 0, "digest")("no digest"),
        set_in("records", 0, "keys")(["no digest"]),
        set_in("records", 0, "keys")(5),
        set_in("records", 0, "chains")([{}]),
        set_in("records", 0, "chains")([{"layers": [99]}]),
        set_in("records", 0, "chains")([{"layers": ["0"]}]),
        set_in("records", 0, "chains")("x"),
    ],
)
def test_what_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    value = copy.deepcopy(document_value(DOCUMENT))
    change(value)
    with pytest.raises(ImageError, match=r"^x: (layers|records)\W"):
        parsed(json.dumps(value).encode())


def test_what_a_newer_minibuild_wrote() -> None:
    value = document_value(DOCUMENT)
    value["minibuild"] = 2
    with pytest.raises(ImageError, match="newer minibuild"):
        parsed(json.dumps(value).encode())
