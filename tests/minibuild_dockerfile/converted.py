"""Dockerfiles converted, for tests: by a resolver that knows the images that it is given."""

from collections.abc import Mapping
from typing import Any

from minibuild_dockerfile.convert import convert

from minibuild.errors import SourceText
from minibuild.graph.frontend import (
    FrontendRequest,
    FrontendResult,
    Warn,
    ignore_findings,
)
from minibuild.graph.image import ImageConfig
from minibuild.graph.op import (
    Exec,
)
from minibuild.graph.platform import Platform
from minibuild.graph.vertex import Vertex, topological
from tests.support.resolver import FakeResolver

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")


def build(
    text: str,
    images: Mapping[str, Mapping[str, Any]] | None = None,
    warn: Warn = ignore_findings,
    **request: Any,
) -> FrontendResult:
    request.setdefault("platforms", (AMD64,))
    return convert(
        FrontendRequest(SourceText("Dockerfile", text), build_platform=AMD64, **request),
        FakeResolver(images),
        warn,
    )


def image(text: str, images: Any = None, **request: Any) -> ImageConfig:
    return build(text, images, **request).images[0].config


def vertices(text: str, images: Any = None, **request: Any) -> list[Vertex]:
    return topological(built.vertex for built in build(text, images, **request).images)


def ops(kind: type[Any], text: str, images: Any = None, **request: Any) -> list[Any]:
    return [v.op for v in vertices(text, images, **request) if isinstance(v.op, kind)]


def last_exec(text: str, images: Any = None, **request: Any) -> Exec:
    found: Exec = ops(Exec, text, images, **request)[-1]
    return found


def created_by(text: str, images: Any = None, **request: Any) -> list[str]:
    """The history that the Dockerfile itself adds."""
    entries = image(text, images, **request).history
    return [entry.get("created_by", "") for entry in entries[1:]]
