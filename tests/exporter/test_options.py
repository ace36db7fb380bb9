"""Attributes of outputs."""

from contextlib import nullcontext
from typing import get_args

import pytest

from minibuild.errors import UsageError
from minibuild.events import Event, Warned
from minibuild.exporter.annotations import Annotation, annotations_for
from minibuild.exporter.options import (
    _KEYS,
    PushOptions,
    check_outputs,
    image_options,
    tree_options,
    written_as,
)
from minibuild.graph.platform import parse_platform
from minibuild.session.request import Attestations, BuildRequest, Output, OutputType


@pytest.mark.parametrize(
    ("attributes", "general", "epoch"),
    [
        ({}, None, None),
        ({}, 5, 5),
        ({"source-date-epoch": "7"}, 5, 7),
        ({"source-date-epoch": "0"}, 5, 0),
        ({"source-date-epoch": "-1"}, None, -1),
        ({"source-date-epoch": ""}, 5, None),
    ],
)
def test_the_epoch_of_an_output(
    attributes: dict[str, str], general: int | None, epoch: int | None
) -> None:
    """That of the output wins, and an empty one is none."""
    assert image_options(Output("oci", "", attributes), general).epoch == epoch
    assert tree_options(Output("local", "", attributes), general).epoch == epoch


@pytest.mark.parametrize("text", ["now", "1.5", "--1", "9" * 13])
def test_an_epoch_is_seconds(text: str) -> None:
    with pytest.raises(UsageError, match="source-date-epoch"):
        image_options(Output("oci", "", {"source-date-epoch": text}))


@pytest.mark.parametrize("kind", get_args(OutputType))
def test_every_type_names_its_attributes(kind: OutputType) -> None:
    """One that is misspelt is named before anything is built, and ignored."""
    output = Output(kind, "" if kind == "local" else "x", {"nonsense": "1"})
    said: list[Event] = []
    check_outputs(BuildRequest(outputs=(output,), tags=("a",)), said.append)
    (warning,) = (event for event in said if isinstance(event, Warned))
    assert f"type={kind} has no attribute 'nonsense', which is ignored" in warning.message
    assert kind in _KEYS


@pytest.mark.parametrize(
    ("kind", "attribute", "says"),
    [
        ("oci", "compresion", "did you mean 'compression'?"),
        ("oci", "dst", "did you mean 'dest'?"),
        ("oci", "annotation.", "it has attestation-inline,"),
        ("local", "annotation.a", "it has attestation-prefix,"),
        ("image", "prefer-nondist-layers", "layers are always written as"),
        ("cacheonly", "name", "it has none"),
    ],
)
def test_what_is_said_of_an_attribute(kind: OutputType, attribute: str, says: str) -> None:
    said: list[Event] = []
    check_outputs(BuildRequest(outputs=(Output(kind, "", {attribute: "x"}),)), said.append)
    assert [says in event.message for event in said if isinstance(event, Warned)] == [True]


@pytest.mark.parametrize(
    ("kind", "attributes", "annotation", "attestations", "says"),
    [
        ("oci", {"oci-artifact": "true"}, "a=b", Attestations(), "oci-artifact=true"),
        ("image", {"oci-artifact": "false"}, "a=b", Attestations(), ""),
        ("oci", {"annotation-index.a": "b"}, "a=b", Attestations(), "annotations"),
        ("oci", {"annotation.a": "b"}, "manifest-descriptor:a=b", Attestations(), "annotations"),
        ("oci", {}, "a=b", Attestations("min"), "attestations"),
        ("image", {}, "a=b", Attestations("min", inline_only=True), "attestations"),
        ("oci", {}, "a=b", Attestations("min", inline_only=True), ""),
        ("oci", {}, "a=b", Attestations(sbom=True), "attestations"),
        ("docker", {}, "a=b", Attestations("max"), ""),
        ("local", {}, "index:a=b", Attestations("max"), ""),
    ],
)
@pytest.mark.parametrize("oci", ["true", "false"])
def test_what_the_media_types_of_docker_have_no_place_for(
    kind: OutputType,
    attributes: dict[str, str],
    annotation: str,
    attestations: Attestations,
    says: str,
    oci: str,
) -> None:
    output = Output(kind, "", {**attributes, "oci-mediatypes": oci})
    fails = pytest.raises(UsageError, match=f"{says}.* with .*oci-mediatypes=false")
    with fails if says and oci == "false" else nullcontext():
        asked = BuildRequest(
            outputs=(output,), tags=("a",), annotations=(annotation,), attestations=attestations
        )
        check_outputs(asked, lambda event: None)


@pytest.mark.parametrize(
    ("attribute", "says"),
    [
        ("annotation[linux/arm64/v8].a", ""),
        ("annotation[linux/arm].a", "the build is not for linux/arm/v7"),
        ("annotation-manifest-descriptor[linux/s390x].a", "the build is not for linux/s390x"),
        ("annotation-index[linux/amd64].a", ""),
        ("annotation-layer.a", "unknown annotation type 'layer'"),
    ],
)
@pytest.mark.parametrize("as_flag", [False, True])
def test_annotations_of_a_platform(attribute: str, says: str, as_flag: bool) -> None:
    place = attribute.removeprefix("annotation").removeprefix("-").removesuffix(".a")
    flag = f"manifest{place}" if place.startswith("[") else place
    output = Output("oci", "", {} if as_flag else {attribute: "x"})
    platforms = tuple(map(parse_platform, ("linux/amd64", "linux/arm64")))
    with pytest.raises(UsageError, match=says) if says else nullcontext():
        check_outputs(
            BuildRequest(
                outputs=(output,),
                tags=("a",),
                platforms=platforms,
                annotations=(f"{flag}:a=x",) if as_flag else (),
            ),
            lambda event: None,
        )


@pytest.mark.parametrize(
    ("kind", "words", "expected"),
    [
        ("image", {}, None),
        ("image", {"push": "true"}, PushOptions(False, False)),
        ("registry", {"push-by-digest": "true"}, PushOptions(True, False)),
        ("registry", {"registry.insecure": "true"}, PushOptions(False, True)),
        ("image", {"push-by-digest": "true"}, UsageError),
        ("image", {"registry.insecure": "true"}, UsageError),
        ("registry", {"push": "false", "registry.insecure": "true"}, UsageError),
        ("registry", {"push": "false"}, None),
        ("oci", {}, None),
    ],
)
def test_how_to_push_is_said_of_a_push(
    kind: OutputType, words: dict[str, str], expected: PushOptions | type[UsageError] | None
) -> None:
    output = Output(kind, "", words)
    if expected is UsageError:
        with pytest.raises(UsageError, match="need push=true"):
            image_options(output)
    else:
        assert image_options(output).push == expected


def test_an_annotation_is_for_the_very_platform() -> None:
    older, newer = parse_platform("linux/arm/v6"), parse_platform("linux/arm/v7")
    found = [Annotation("manifest", "a", "x", newer), Annotation("index", "b", "y", newer)]
    assert annotations_for(found, "manifest", newer) == {"a": "x"}
    assert annotations_for(found, "manifest", older) == {}
    assert annotations_for(found, "index") == {"b": "y"}


def test_standard_output_takes_one_output() -> None:
    outputs = (Output("tar", "-"), Output("oci", "-"))
    with pytest.raises(UsageError, match="standard output can take one output"):
        check_outputs(BuildRequest(outputs=outputs), lambda event: None)


@pytest.mark.parametrize(
    ("kind", "attributes", "expected"),
    [
        ("tar", {}, "file"),
        ("oci", {}, "file"),
        ("docker", {"tar": "true"}, "file"),
        ("oci", {"tar": "false"}, "folder"),
        ("oci", {"tar": "0"}, "folder"),  # all words for false
        ("docker", {"tar": "F"}, "folder"),
        ("local", {}, "folder"),
        ("image", {}, "nothing"),
        ("registry", {}, "nothing"),
        ("cacheonly", {}, "nothing"),
    ],
)
def test_what_is_written(kind: OutputType, attributes: dict[str, str], expected: str) -> None:
    assert written_as(Output(kind, "x", attributes)) == expected
