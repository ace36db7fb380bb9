"""Documents: what is written is read back, and what makes no sense is refused."""

import json
from typing import Any

import pytest

from minibuild.digest import Digest
from minibuild.errors import ImageError
from minibuild.graph.platform import Platform
from minibuild.oci import model
from minibuild.oci.document import MAX_DOCUMENT_BYTES
from minibuild.oci.model import Descriptor, Index, Manifest

D = Digest("sha256:" + "0" * 64)
E = Digest("sha256:" + "1" * 64)
GOOD = {"mediaType": model.OCI_LAYER, "digest": D, "size": 3}


def manifest(**changes: Any) -> bytes:
    """A manifest with members replaced."""
    value = {"schemaVersion": 2, "mediaType": model.OCI_MANIFEST, "config": GOOD, "layers": [GOOD]}
    return json.dumps(value | changes).encode()


def test_manifest_round_trip() -> None:
    """Everything that a manifest of ours holds."""
    value = Manifest(
        Descriptor(model.OCI_CONFIG, D, 1),
        (Descriptor(model.OCI_LAYER_GZIP, E, 2, {"a": "b"}),),
        {"é": "\x00"},
    )
    assert model.parse_manifest(model.manifest_bytes(value)) == value


def test_index_round_trip() -> None:
    """With platforms, with and without a variant."""
    value = Index(
        (
            Descriptor(model.OCI_MANIFEST, D, 1, {}, Platform("linux", "arm", "v7")),
            Descriptor(model.OCI_MANIFEST, E, 1, {"x": "y"}, Platform("linux", "amd64")),
        ),
        {"k": "v"},
    )
    assert model.parse_index(model.index_bytes(value)) == value


def test_the_order_of_members_is_fixed() -> None:
    """The bytes are the identity of the image."""
    written = model.manifest_bytes(
        Manifest(Descriptor(model.OCI_CONFIG, D, 1), (), {"b": "", "a": ""})
    )
    assert list(json.loads(written)) == [
        "schemaVersion", "mediaType", "config", "layers", "annotations",
    ]  # fmt: skip
    assert list(json.loads(written)["annotations"]) == ["a", "b"]


@pytest.mark.parametrize(
    "data",
    [
        b"", b"x", b"[]", b"null", b"{}", b"\xff", b"[" * 100_000,
        manifest(schemaVersion=1), manifest(schemaVersion="2"), manifest(layers=None),
        manifest(layers={}), manifest(config=None), manifest(config=[]), manifest(layers=[None]),
        manifest(config=GOOD | {"size": -1}), manifest(config=GOOD | {"size": "3"}),
        manifest(config=GOOD | {"size": True}), manifest(config=GOOD | {"size": 1.5}),
        manifest(config=GOOD | {"size": 1 << 70}), manifest(config=GOOD | {"digest": "md5:0"}),
        manifest(config=GOOD | {"digest": "sha256:../../etc/passwd"}),
        manifest(config=GOOD | {"digest": None}), manifest(config=GOOD | {"mediaType": 1}),
        manifest(annotations=[]), manifest(annotations={"a": 1}), manifest(mediaType=3),
        manifest(layers=[GOOD | {"platform": "linux"}]), manifest(layers=[GOOD] * 20_001),
        b" " * (MAX_DOCUMENT_BYTES + 1),
    ],
)  # fmt: skip
def test_bad_manifests(data: bytes) -> None:
    """An ImageError, and nothing else."""
    with pytest.raises(ImageError):
        model.parse_manifest(data)


def test_a_document_that_is_both_is_refused() -> None:
    """One registry may show it as one thing, another as the other."""
    with pytest.raises(ImageError, match="both"):
        model.is_index(manifest(manifests=[]), "", "it")


def test_a_document_must_be_what_its_descriptor_says() -> None:
    """The media type is part of the promise."""
    with pytest.raises(ImageError, match="says it is"):
        model.is_index(manifest(), model.OCI_INDEX, "it")


@pytest.mark.parametrize(
    ("members", "described", "expected"),
    [
        ({}, "", False),
        ({"manifests": []}, "", True),
        ({"mediaType": model.OCI_INDEX}, "", True),
        ({"mediaType": model.OCI_INDEX, "manifests": []}, model.OCI_INDEX, True),
        ({"mediaType": model.DOCKER_INDEX, "manifests": []}, "", True),
        ({"mediaType": model.OCI_MANIFEST, "manifests": []}, "", False),
        ({"mediaType": model.DOCKER_MANIFEST}, model.DOCKER_MANIFEST, False),
        ({"manifests": []}, model.OCI_INDEX, True),
        ({"config": {}, "layers": []}, model.OCI_MANIFEST, False),
        ({"mediaType": "of/another", "manifests": []}, "", True),
        ({"mediaType": model.OCI_INDEX, "manifests": []}, "application/json", True),
        ({"manifests": [], "config": {}}, "", "both"),
        ({"manifests": [], "layers": []}, "", "both"),
        ({"mediaType": model.OCI_INDEX}, model.OCI_MANIFEST, "says it is"),
        ({"mediaType": model.OCI_MANIFEST}, model.DOCKER_MANIFEST, "says it is"),
        ({"mediaType": "of/another"}, model.OCI_MANIFEST, "says it is of/another"),
    ],
)
def test_what_is_an_index(members: dict[str, Any], described: str, expected: bool | str) -> None:
    """What it says itself counts, and else what is in it."""
    data = json.dumps({"schemaVersion": 2, **members}).encode()
    if isinstance(expected, str):
        with pytest.raises(ImageError, match=expected):
            model.is_index(data, described, "it")
    else:
        assert model.is_index(data, described, "it") is expected


@pytest.mark.parametrize(("version", "says"), [(None, "is missing"), (1, "is not 2")])
def test_old_schemas_are_refused(version: int | None, says: str) -> None:
    with pytest.raises(ImageError, match=f"schemaVersion {says}") as caught:
        model.parse_manifest(manifest(schemaVersion=version))
    assert "schema 1" in caught.value.hint


@pytest.mark.parametrize(
    ("media_type", "docker", "index", "document"),
    [
        (model.OCI_INDEX, model.DOCKER_INDEX, True, True),
        (model.OCI_MANIFEST, model.DOCKER_MANIFEST, False, True),
        (model.OCI_CONFIG, model.DOCKER_CONFIG, False, False),
        ("of/another", "of/another", False, False),
    ],
)
def test_media_types(media_type: str, docker: str, index: bool, document: bool) -> None:
    assert (model.as_docker(media_type), model.as_oci(docker)) == (docker, media_type)
    for name in (media_type, docker):
        made = Descriptor(name, D, 1)
        assert (made.is_index, made.is_document) == (index, document)


def test_what_is_an_attestation() -> None:
    for value, expected in (("attestation-manifest", True), ("other", False)):
        made = Descriptor(model.OCI_MANIFEST, D, 1, {model.REFERENCE_TYPE: value})
        assert model.is_attestation(made) is expected
    assert model.is_attestation(Descriptor(model.OCI_MANIFEST, D, 1)) is False


def test_text_is_written_as_it_is() -> None:
    """As Go writes it."""
    made = Manifest(Descriptor(model.OCI_CONFIG, D, 1), (), {"é": "ü"})
    assert (
        model.manifest_bytes(made).decode()
        == f"""{{
  "schemaVersion": 2,
  "mediaType": "{model.OCI_MANIFEST}",
  "config": {{
    "mediaType": "{model.OCI_CONFIG}",
    "digest": "{D}",
    "size": 1
  }},
  "layers": [],
  "annotations": {{
    "é": "ü"
  }}
}}"""
    )


def test_a_copy_of_a_blob_is_written_and_not_believed() -> None:
    made = Manifest(Descriptor(model.OCI_CONFIG, D, 2, data=b"{}"), ())
    data = model.manifest_bytes(made)
    assert json.loads(data)["config"]["data"] == "e30="
    assert model.parse_manifest(data).config == made.config._replace(data=b"")


LINUX = [
    Descriptor(model.OCI_MANIFEST, Digest("sha256:" + c * 64), 1, {}, Platform("linux", *parts))
    for c, parts in (("a", ("amd64",)), ("b", ("arm", "v6")), ("c", ("arm", "v7")))
] + [Descriptor(model.OCI_MANIFEST, D, 1, {}, Platform("unknown", "unknown"))]


@pytest.mark.parametrize(
    ("wanted", "letter"),
    [
        (Platform("linux", "amd64"), "a"),
        (Platform("linux", "arm", "v7"), "c"),
        (Platform("linux", "arm", "v6"), "b"),
        (Platform("linux", "arm", "v8"), "c"),
    ],
)
def test_choose_platform(wanted: Platform, letter: str) -> None:
    """The own variant, else the best lower one."""
    assert model.choose_platform(LINUX, wanted, "it").digest[7] == letter


def test_no_platform_fits() -> None:
    """The message is BuildKit's; the hint says what there is."""
    with pytest.raises(ImageError, match="no match for platform linux/s390x") as caught:
        model.choose_platform(LINUX, Platform("linux", "s390x"), "it")
    assert "linux/arm/v7" in caught.value.hint


def test_an_index_that_names_no_platform() -> None:
    """Its only image is taken for what is wanted."""
    nameless = Descriptor(model.OCI_MANIFEST, D, 1)
    wanted = Platform("linux", "s390x")
    assert model.choose_platform([nameless], wanted, "it") is nameless
    for several in ([nameless, nameless], LINUX[:1], []):
        with pytest.raises(ImageError) as caught:
            model.choose_platform(several, wanted, "it")
        assert caught.value.hint.startswith("it has" if several == LINUX[:1] else "its index names")
