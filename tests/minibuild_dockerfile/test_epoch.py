"""What SOURCE_DATE_EPOCH means: numbers, contexts, stages."""

from collections.abc import Mapping
from typing import Any

import pytest
from minibuild_dockerfile.convert import convert
from minibuild_dockerfile.epoch import epoch_of

from minibuild.errors import DefinitionError, SourceText
from minibuild.graph.frontend import (
    ArchiveContext,
    Context,
    Epoch,
    FrontendRequest,
    ImageContext,
    LocalContext,
    RemoteContext,
)
from minibuild.graph.op import File, GitSource, HttpSource
from minibuild.graph.platform import Platform
from tests.support.resolver import FakeResolver

AMD64 = Platform("linux", "amd64")
CONTEXTS: dict[str, Context] = {
    "files": LocalContext("files"),
    "image": ImageContext("docker-image://busybox"),
    "repo": RemoteContext("https://h/r.git#v1"),
    "tar": ArchiveContext("tar", "a.tar"),
}


def request(text: str, given: Mapping[str, str] = {}, **fields: Any) -> FrontendRequest:
    source = SourceText("Dockerfile", text)
    return FrontendRequest(source, (AMD64,), AMD64, build_args=given, contexts=CONTEXTS, **fields)


def epoch(value: str, **fields: Any) -> Epoch:
    return epoch_of(request("FROM scratch\n", {"SOURCE_DATE_EPOCH": value}, **fields))


def source_of(found: Epoch) -> Any:
    assert found.seconds is None and found.source is not None
    return found.source.op


def test_numbers_and_nothing() -> None:
    assert epoch("12") == Epoch(12)
    assert epoch("") == epoch_of(request("FROM scratch\n")) == Epoch()
    text = "ARG N=7\nARG SOURCE_DATE_EPOCH=1$N\nFROM scratch\n"
    assert epoch_of(request(text)) == Epoch(17)
    assert epoch_of(request(text, {"SOURCE_DATE_EPOCH": "3"})) == Epoch(3)


def test_contexts() -> None:
    assert epoch("context") == epoch("files") == epoch("image") == Epoch()
    assert source_of(epoch("repo")) == GitSource("https://h/r.git", "v1")
    assert isinstance(source_of(epoch("tar")), File)
    main = RemoteContext("https://h/m.git")
    assert source_of(epoch("context", context=main)) == GitSource("https://h/m.git")


@pytest.mark.parametrize(
    ("add", "expected"),
    [
        ("ADD https://h/r.git#$V /", GitSource("https://h/r.git", "v2")),
        ("ADD https://h/$V.tar /x", HttpSource("https://h/v2.tar", "v2.tar")),
    ],
)
def test_stages(add: str, expected: object) -> None:
    text = f"ARG SOURCE_DATE_EPOCH=Src\nFROM scratch AS src\nARG V=v2\n{add}\nFROM busybox\n"
    assert source_of(epoch_of(request(text))) == expected


@pytest.mark.parametrize(
    "stage",
    [
        "FROM busybox AS src\nADD https://h/x /",
        "FROM scratch AS src",
        "FROM scratch AS src\nADD a /",
        "FROM scratch AS src\nADD https://h/x https://h/y /",
        "FROM scratch AS src\nADD https://h/x /\nADD https://h/y /",
        "FROM scratch AS src\nRUN x",
        "FROM scratch AS other",
    ],
)
def test_what_no_time_can_be_taken_from(stage: str) -> None:
    with pytest.raises(DefinitionError, match="SOURCE_DATE_EPOCH"):
        epoch_of(request(stage + "\n", {"SOURCE_DATE_EPOCH": "src"}))


def test_an_address_that_makes_no_sense_is_an_error_of_its_line() -> None:
    text = "FROM scratch AS src\nADD https://h/r.git?foo=1 /\n"
    with pytest.raises(DefinitionError, match='unexpected query "foo"') as caught:
        epoch_of(request(text, {"SOURCE_DATE_EPOCH": "src"}))
    assert caught.value.span is not None and caught.value.span.first == 2


def test_only_a_number_reaches_the_stages() -> None:
    name = "SOURCE_DATE_EPOCH"
    text = f"ARG {name}=context\nFROM scratch\nARG {name}\nLABEL l=${name}\n"

    def label(given: Mapping[str, str]) -> str:
        config = convert(request(text, given), FakeResolver()).images[0].config.config
        return config["Labels"]["l"]

    assert label({}) == ""
    assert label({"SOURCE_DATE_EPOCH": "5"}) == "5"
