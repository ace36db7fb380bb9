"""Dockerfiles checked, for tests."""

from typing import Any

from minibuild_dockerfile.convert import check

from minibuild.errors import SourceText
from minibuild.graph.frontend import FrontendRequest
from minibuild.graph.platform import Platform
from tests.support.resolver import FakeResolver

AMD64 = Platform("linux", "amd64")


def request_for(text: str, **fields: Any) -> FrontendRequest:
    fields.setdefault("platforms", (AMD64,))
    return FrontendRequest(SourceText("Dockerfile", text), build_platform=AMD64, **fields)


def findings(text: str, **fields: Any) -> list[tuple[str, int]]:
    """Rules and lines of what is found."""
    found = check(request_for(text, **fields), FakeResolver()).findings
    return [(f.rule, f.span.first if f.span else 0) for f in found]


def messages(text: str, **fields: Any) -> list[str]:
    return [f.message for f in check(request_for(text, **fields), FakeResolver()).findings]
