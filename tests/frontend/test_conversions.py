"""Conversions that are done once: the same answers, unless what was asked or looked up changed."""

from typing import Any

import pytest
from minibuild_dockerfile import DockerfileFrontend

from minibuild.digest import Digest
from minibuild.errors import DefinitionError, RegistryError, SourceText
from minibuild.frontend.conversions import Conversions
from minibuild.graph.frontend import (
    Finding,
    FrontendRequest,
    FrontendResult,
    ImageResolver,
    ResolvedImage,
    Warn,
)
from minibuild.graph.image import ImageConfig
from minibuild.graph.op import ImageSource
from minibuild.graph.platform import Platform

HOST = Platform("linux", "amd64")
TEXT = "FROM base as x\nARG A=1\nRUN true\nFROM x AS last\nCOPY --from=other /a /\n"
ASKED = FrontendRequest(SourceText("Dockerfile", TEXT), (HOST,), HOST)


class Frontend(DockerfileFrontend):
    """Counts how often it converts."""

    count = 0

    def convert(self, request: FrontendRequest, resolver: ImageResolver, warn: Warn) -> Any:
        Frontend.count += 1
        return super().convert(request, resolver, warn)


class Images(ImageResolver):
    """Images of these names; each digest is the number of the image."""

    def __init__(self, **numbers: int) -> None:
        self.numbers = numbers
        self.asked: list[str] = []

    def resolve(self, ref: str, platform: Platform) -> ResolvedImage:
        self.asked.append(ref)
        if ref not in self.numbers:
            raise RegistryError(f"no image {ref}")
        digest = Digest(f"sha256:{self.numbers[ref]:064}")
        return ResolvedImage(ImageSource(ref, digest, platform), ImageConfig(platform, {}))


def converted(
    kept: Conversions, request: FrontendRequest = ASKED, **numbers: int
) -> tuple[FrontendResult, list[Finding], list[str], int]:
    """A conversion: its result, its findings, the images that it asked for, and how many were
    really done for it. The first three are those of a frontend that is called at once."""
    images, findings = Images(**numbers), list[Finding]()
    before, Frontend.count = Frontend.count, 0
    result = kept.known_to(Frontend()).convert(request, images, findings.append)
    done, Frontend.count = Frontend.count, before
    fresh, plain = Images(**numbers), list[Finding]()
    assert DockerfileFrontend().convert(request, fresh, plain.append) == result
    assert plain == findings and set(images.asked) == set(fresh.asked)
    return result, findings, images.asked, done


@pytest.mark.parametrize(
    ("request_", "numbers", "done"),
    [
        pytest.param(ASKED, {"base": 1, "other": 2}, 0, id="the same"),
        pytest.param(ASKED, {"base": 1, "other": 3}, 1, id="another image"),
        pytest.param(ASKED._replace(build_args={"A": "2"}), {"base": 1, "other": 2}, 1, id="arg"),
        pytest.param(ASKED._replace(target="x"), {"base": 1, "other": 2}, 1, id="target"),
        pytest.param(
            ASKED._replace(source=SourceText("Dockerfile", f"\n{TEXT}")),
            {"base": 1, "other": 2},
            1,
            id="lines moved",
        ),
    ],
)
def test_what_is_converted_again(
    request_: FrontendRequest, numbers: dict[str, int], done: int
) -> None:
    kept = Conversions()
    first = converted(kept, base=1, other=2)
    assert first[1] and first[3] == 1
    assert converted(kept, request_, **numbers)[3] == done
    assert converted(kept, request_, **numbers)[3] == 0


def test_errors_are_found_again_with_their_lines() -> None:
    kept = Conversions()
    converted(kept, base=1, other=2)
    with pytest.raises(RegistryError, match="no image other") as raised:
        kept.known_to(Frontend()).convert(ASKED, Images(base=1), lambda finding: None)
    assert raised.value.span is not None and raised.value.span.first == 5
    wrong = ASKED._replace(source=SourceText("Dockerfile", "FROM base\nCOPPY a b\n"))
    for _ in range(2):
        with pytest.raises(DefinitionError, match="COPPY"):
            kept.known_to(Frontend()).convert(wrong, Images(base=1), lambda finding: None)
