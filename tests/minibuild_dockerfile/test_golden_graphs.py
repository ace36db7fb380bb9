"""Dockerfiles and the graphs they mean, as text that a person has reviewed.

A new case is a folder with a Dockerfile in testdata/dockerfile; run with `--update-golden` and
look at the graph.
"""

from pathlib import Path

import pytest
from minibuild_dockerfile.convert import convert

from minibuild.errors import SourceText
from minibuild.graph.frontend import FrontendRequest, LocalContext
from minibuild.graph.platform import Platform
from minibuild.graph.vertex import IgnoreRules
from tests.conftest import Golden
from tests.support.dump import dump
from tests.support.resolver import FakeResolver

CASES = sorted((Path(__file__).parents[2] / "testdata" / "dockerfile").iterdir())
AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_graph(case: Path, golden: Golden) -> None:
    request = FrontendRequest(
        SourceText("Dockerfile", (case / "Dockerfile").read_text()),
        (AMD64, ARM64) if case.name == "platforms" else (AMD64,),
        AMD64,
        context=LocalContext("context", IgnoreRules(("*.log",))),
        contexts={"data": LocalContext("data")},
    )
    golden(case / "graph.txt", dump(convert(request, FakeResolver()).images))
