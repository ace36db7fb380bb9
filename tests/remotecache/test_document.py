"""Documents about caches: written and read again, and what is refused of those of strangers."""

import copy
import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibuild.digest import DiffID, Digest, digest_bytes
from minibuild.errors import ImageError
from minibuild.layer.layer import Layer
from minibuild.oci.document import parse_document
from minibuild.oci.model import OCI_CONFIG, OCI_LAYER_GZIP, Descriptor, Manifest
from minibuild.oci.multi import MultiSource
from minibuild.remotecache.chains import ChainRecord
from minibuild.remotecache.document import (
    CREATED_AT,
    UNCOMPRESSED,
    CachedLayer,
    CacheDocument,
    CachedStep,
    document_bytes,
    document_value,
    layers_of,
    parse_cache,
    parse_config,
    parse_inline,
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


# --- Records of BuildKit ---

RECORDS = (
    ChainRecord(named(200)),
    ChainRecord(named(201), (((("", 0), ("/a", 0)), (("", 3),))), (0, 1)),
    ChainRecord(named(202), ((("", 1),),), (0, 2)),  # what is no chain is listed
    ChainRecord(named(203), (), (0,)),
    ChainRecord(named(204), ((("", 2),), ()), (0, 1, 2, 3, 4)),
)


@pytest.mark.parametrize("steps", [1, 5])
def test_records_there_and_back(steps: int) -> None:
    """Behind the steps, which are not counted in their links."""
    document = DOCUMENT._replace(steps=DOCUMENT.steps[:steps], records=RECORDS)
    value = document_value(document)
    assert [record.get("chains") is None for record in value["records"][steps:]] == [
        *(True, True, False, True, False)
    ]
    links = [link for links in value["records"][steps + 1]["inputs"] for link in links]
    assert links == [{"link": steps}, {"selector": "/a", "link": steps}, {"link": steps + 3}]
    read = parsed(document_bytes(document))
    assert [(r.digest, r.inputs) for r in read.records] == [(r.digest, r.inputs) for r in RECORDS]
    found = [layers_of(read.layers, record) for record in read.records]
    assert found == [[DOCUMENT.layers[n] for n in record.layers] for record in RECORDS]
    assert read.steps == document.steps


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ({}, ((), False)),
        ({"layers": [(1, "2020")]}, ((1,), True)),
        ({"layers": [(1, "2020"), (2, "2021"), (3, "2019")]}, ((2,), True)),
        ({"layers": [(1, "2020")], "chains": [([0, 2], "2021")]}, ((0, 2), False)),
        ({"layers": [(1, "2022")], "chains": [([0, 2], "2021")]}, ((1,), True)),
    ],
)
def test_the_newest_result_of_a_record(
    results: dict[str, list[tuple[Any, str]]], expected: tuple[tuple[int, ...], bool]
) -> None:
    value: dict[str, Any] = {"digest": named(1)}
    for kind, name in (("layers", "layer"), ("chains", "layers")):
        value[kind] = [
            {name: what, "createdAt": f"{year}-01-01T00:00:00Z"}
            for what, year in results.get(kind, [])
        ]
    data = json.dumps({"records": [value]}).encode()
    (record,) = parse_config(parse_document(data, "x"), {}, SOURCE).records
    assert (record.layers, record.stack) == expected


@pytest.mark.parametrize(("link", "fine"), [(0, True), (1, True), (2, False), (-1, False)])
def test_links_stay_in_the_document(link: int, fine: bool) -> None:
    records = [{"digest": named(1)}, {"digest": named(2), "inputs": [[{"link": link}]]}]
    config = parse_document(json.dumps({"records": records}).encode(), "x")
    with nullcontext() if fine else pytest.raises(ImageError, match="link"):
        assert parse_config(config, {}, SOURCE).records[1].inputs == ((("", link),),)


def test_layers_that_are_not_there_are_none() -> None:
    """Wherever a record names one; nor is there a stack with a hole, or one that goes round."""
    layers = (layer(0), CachedLayer(None, 0), layer(2, 1), layer(3, 3), layer(4, 9))
    for numbers, is_stack in [
        *(((1,), False), ((0, 1), False), ((0, 7), False), ((-1,), False)),
        *(((2,), True), ((3,), True), ((4,), True), ((9,), True)),
    ]:
        assert layers_of(layers, ChainRecord(named(1), (), numbers, is_stack)) == []
    assert layers_of(layers, ChainRecord(named(1), (), (0,), True)) == [layers[0]]
    assert layers_of(layers, ChainRecord(named(1), (), (0, 2), False)) == [layers[0], layers[2]]


# --- Documents that BuildKit wrote ---


def test_a_config_of_buildkit() -> None:
    """Go leaves out a parent that is 0. A layer that the manifest does not have, or does not say
    enough of, is none."""
    annotations = {UNCOMPRESSED: named(-5), CREATED_AT: "2020-01-01T00:00:00Z"}
    known = Descriptor(OCI_LAYER_GZIP, named(5), 50, annotations)
    blobs = {named(5): known, named(6): known._replace(digest=named(6), annotations={})}
    layers = [
        *({"blob": named(5), "parent": -1}, {"blob": named(5)}),
        *({"blob": named(6), "parent": 1}, {"blob": named(7), "parent": 1}),
    ]
    config = parse_document(json.dumps({"layers": layers, "records": []}).encode(), "x")
    found = parse_config(config, blobs, SOURCE)
    assert found.is_foreign and found.steps == ()
    assert [one.parent for one in found.layers] == [-1, 0, 1, 1]
    assert [one.layer is None for one in found.layers] == [False, False, True, True]
    (first, *_) = found.layers
    assert first.layer is not None and first.created == 1577836800
    assert (first.layer.diff_id, first.layer.digest) == (named(-5), named(5))
    wrong = parse_document(b'{"layers": [{"blob": "sha256:%s", "parent": -2}]}' % (b"0" * 64), "x")
    with pytest.raises(ImageError, match="parent"):
        parse_config(wrong, {}, SOURCE)


def inline(text: str, layers: int = 2, diff_ids: int = 2) -> CacheDocument:
    """The cache in an image whose config says this."""
    member = parse_document(json.dumps({"cache": text}).encode(), "x")["cache"]
    blobs = tuple(Descriptor(OCI_LAYER_GZIP, named(n), 10) for n in range(layers))
    manifest = Manifest(Descriptor(OCI_CONFIG, named(99), 1), blobs)
    return parse_inline(member, manifest, [named(-n) for n in range(diff_ids)], SOURCE)


def test_a_cache_in_an_image() -> None:
    records = json.dumps([{"digest": named(1), "layers": [{"layer": 1, "createdAt": ""}]}])
    found = inline(b64encode(records.encode()).decode())
    assert found.is_foreign and [one.parent for one in found.layers] == [-1, 0]
    assert [one.layer and one.layer.diff_id for one in found.layers] == [named(0), named(-1)]
    assert layers_of(found.layers, found.records[0]) == list(found.layers)
    assert len(inline(b64encode(b"[]").decode(), layers=3).layers) == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("W10=!", "is no base64"),
        ("W", "is no base64"),
        ("é", "is no base64"),
        (b64encode(b"{").decode(), "the cache in the config of an image is not JSON"),
        (b64encode(b"{}").decode(), "is an object, not a list"),
    ],
)
def test_what_is_no_cache_in_an_image(text: str, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        inline(text)


def test_names_are_written_as_they_are() -> None:
    steps = (CachedStep(named(1), (named(1),), "RUN é", ()),)
    assert "RUN é".encode() in document_bytes(CacheDocument((), steps))


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
