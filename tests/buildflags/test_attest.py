"""`--provenance`, `--sbom` and `--attest`: one meaning, several spellings."""

import pytest

from minibuild.buildflags.attest import attestations
from minibuild.errors import UsageError
from minibuild.session.request import Attestations

Texts = tuple[str, str, tuple[str, ...]]

GOOD: list[tuple[Texts, Attestations]] = [
    (("", "", ()), Attestations()),
    (("true", "", ()), Attestations("min")),
    (("false", "false", ()), Attestations()),
    (("max", "", ()), Attestations("max")),
    (("mode=max,builder-id=me,reproducible=true", "", ()), Attestations("max", "me", True)),
    (("", "true", ()), Attestations(sbom=True)),
    (
        ("", "generator=g/x:1,ARG=y", ()),
        Attestations(sbom=True, generator="g/x:1", parameters={"ARG": "y"}),
    ),
    (("", "", ("type=sbom", "type=provenance,mode=max")), Attestations("max", sbom=True)),
    (("", "", ("type=provenance,version=v1",)), Attestations("min")),
    (("mode=full,version=v0.2", "", ()), Attestations("max", version="v0.2")),
    (("false", "", ("type=provenance",)), Attestations()),
    (("", "", ("type=sbom", "type=sbom,disabled=true")), Attestations()),
]
BAD: list[tuple[Texts, str]] = [
    (("maybe", "", ()), "invalid value 'maybe' for --provenance"),
    (("mode=all", "", ()), "unknown mode 'all'"),
    (("version=v2", "", ()), "version 'v2' is not written"),
    (("", "ARG=x", ()), "unknown field 'arg'"),
    (("generator=x", "", ()), "unknown field 'generator'"),
    (("", "", ("mode=max",)), "has no type"),
    (("", "", ("type=seal",)), "unknown type 'seal'"),
    (("", "", ("type",)), "invalid field 'type'"),
]


@pytest.mark.parametrize(("texts", "meaning"), GOOD, ids=str)
def test_meanings(texts: Texts, meaning: Attestations) -> None:
    assert attestations(*texts) == meaning


@pytest.mark.parametrize(("texts", "message"), BAD, ids=str)
def test_slips(texts: Texts, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        attestations(*texts)
    assert caught.value.hint
