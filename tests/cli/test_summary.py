"""What is told about an image that was built."""

from pathlib import Path
from typing import Any

import pytest

from minibuild.cli.build import image_id
from minibuild.cli.errors import warning_lines
from minibuild.cli.summary import instruction, summary
from minibuild.digest import DiffID, Digest
from minibuild.errors import Span
from minibuild.events import Warned
from minibuild.graph.image import ImageConfig
from minibuild.graph.platform import Platform, host_platform
from minibuild.oci.model import OCI_LAYER_GZIP, OCI_MANIFEST
from minibuild.session.request import BuildRequest, BuildResult, BuiltImage, LayerInfo, Output

GOLDEN = Path(__file__).parent / "golden"
D = [Digest("sha256:" + str(digit) * 64) for digit in range(10)]


def layer(number: int, size: int, text: str, *, link: bool = False) -> LayerInfo:
    return LayerInfo(DiffID(D[number]), D[number], size, OCI_LAYER_GZIP, text, link)


def image(platform: Platform, number: int = 7) -> BuiltImage:
    layers = (
        layer(1, 2_210_000, "ADD rootfs.tar / # buildkit"),
        layer(2, 171, "RUN /bin/sh -c touch /file2 # buildkit"),
        layer(3, 1530, "COPY file1 /file1 # buildkit", link=True),
        layer(4, 0, "RUN /bin/sh -c " + "x" * 100),
    )
    return BuiltImage(
        platform, D[number], D[8], OCI_MANIFEST, 3000, ImageConfig(platform, {}), layers
    )


def result(*images: BuiltImage, **fields: Any) -> BuildResult:
    made = BuildResult(images, D[9] if len(images) > 1 else D[7], (), {}, cached=3, executed=5)
    return made._replace(**fields)


TAGS = ("docker.io/library/demo:latest", "ghcr.io/a/b:1")
CASES = {
    "tagged": (BuildRequest(), result(image(host_platform()), tags=TAGS)),
    "no-name": (BuildRequest(), result(image(host_platform()), cached=0, executed=1)),
    "foreign": (BuildRequest(), result(image(Platform("linux", "sparc")), tags=TAGS)),
    "several": (
        BuildRequest(outputs=(Output("oci", "x.tar"),)),
        result(image(Platform("linux", "arm64")), image(Platform("linux", "amd64"), 6)),
    ),
    "directory": (BuildRequest(outputs=(Output("local", "out"),)), result(digest=None)),
}


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, golden) -> None:  # type: ignore[no-untyped-def]
    request, made = CASES[name]
    golden(GOLDEN / f"summary-{name}.txt", "\n".join(summary(request, made, 1.26)) + "\n")


def test_image_id() -> None:
    """As docker: of one image its config's digest, of several that of their index."""
    assert image_id(result(image(host_platform()))) == D[8]
    assert image_id(result(image(host_platform()), image(host_platform()))) == D[9]
    assert image_id(result(digest=None)) == ""


@pytest.mark.parametrize(
    ("created_by", "text"),
    [
        ("RUN /bin/sh -c echo  a # buildkit", "RUN echo a"),
        ("RUN |1 A=1 /bin/sh -c echo # buildkit", "RUN |1 A=1 /bin/sh -c echo"),
        ("COPY RUN /bin/sh -c x # buildkit", "COPY RUN /bin/sh -c x"),
        ("", ""),
    ],
)
def test_instruction(created_by: str, text: str) -> None:
    assert instruction(created_by) == text


def test_warnings() -> None:
    late = Warned("B", "later", Span("D", 9, 10), "why", "https://e.x", "RUN x\n\ty")
    early = Warned("A", "early\nin two lines", Span("D", 2, 2), excerpt="")
    assert warning_lines([late, early, late], details=False) == [
        "",
        "2 warnings found (use --debug to expand):",
        " - A: early in two lines (line 2)",
        "   D:2",
        " - B: later (line 9)",
        "   D:9 | RUN x ...",
    ]
    assert warning_lines([late], details=True, places={"D": "sub/D"})[1:] == [
        "1 warning found:",
        " - B: later (line 9)",
        "   why",
        "   https://e.x",
        "   sub/D:9 | RUN x",
        "   sub/D:10 | \ty",
    ]
    general = Warned("", "[Warning] in general", None)
    assert warning_lines([general], details=False)[2:] == [" - [Warning] in general"]
