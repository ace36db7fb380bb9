"""Which trees an SBOM is to say something of besides the image, as BuildKit's arguments say."""

import pytest
from minibuild_dockerfile.convert import convert

from minibuild.errors import SourceText
from minibuild.graph.frontend import FrontendRequest
from minibuild.graph.platform import Platform
from tests.support.resolver import FakeResolver

AMD64 = Platform("linux", "amd64")
TEXT = """{globals}
FROM scratch AS a
{a}
COPY x /
FROM scratch AS unused
{a}
COPY x /
FROM scratch AS b
COPY --from=a x /
FROM scratch
{last}
COPY --from=b x /
"""
STAGE, CONTEXT = "ARG BUILDKIT_SBOM_SCAN_STAGE", "ARG BUILDKIT_SBOM_SCAN_CONTEXT"


@pytest.mark.parametrize(
    ("places", "arguments", "scanned"),
    [
        ({}, {}, []),
        ({"globals": f"{STAGE}=true"}, {}, ["a", "b"]),  # never the target itself
        ({"globals": f"{STAGE}=b,other"}, {}, ["b"]),
        ({"globals": f"{STAGE}=true"}, {"BUILDKIT_SBOM_SCAN_STAGE": "false"}, []),
        ({"a": f"{STAGE}=1"}, {}, ["a"]),
        ({"a": STAGE}, {"BUILDKIT_SBOM_SCAN_STAGE": "true"}, ["a"]),
        ({}, {"BUILDKIT_SBOM_SCAN_STAGE": "true", "BUILDKIT_SBOM_SCAN_CONTEXT": "true"}, []),
        ({"last": f"{CONTEXT}=true"}, {}, ["context"]),
        ({"a": f"{CONTEXT}=true"}, {}, []),  # it is the target that says so
        ({"globals": f"{CONTEXT}=true\n{STAGE}=a"}, {}, ["context", "a"]),
    ],
)
def test_scans(places: dict[str, str], arguments: dict[str, str], scanned: list[str]) -> None:
    filled = {"globals": "", "a": "", "last": "", **places}
    source = SourceText("Dockerfile", TEXT.format(**filled))
    request = FrontendRequest(source, (AMD64,), AMD64, build_args=arguments)
    (built,) = convert(request, FakeResolver()).images
    assert list(built.scanned) == scanned
