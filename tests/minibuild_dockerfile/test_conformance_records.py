"""Every Dockerfile of a conformance suite beside the checkout: its config and history as recorded.

Nothing is built here: an image's config and history follow from the Dockerfile alone.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from minibuild_dockerfile.convert import convert

from minibuild.digest import Digest
from minibuild.errors import BuildError, SourceText
from minibuild.graph.frontend import (
    Context,
    FrontendRequest,
    FrontendResult,
    ImageContext,
    LocalContext,
)
from minibuild.graph.ignore_file import parse as read_ignore_file
from minibuild.graph.op import Exec, File, ImageSource, LocalSource, Merge
from minibuild.graph.platform import Platform, parse_platform
from minibuild.graph.vertex import IgnoreRules, Vertex
from tests.support.resolver import LayoutResolver

SUITE = Path(__file__).parents[3] / "shared" / "conformance"
CASES = sorted((SUITE / "cases").iterdir()) if (SUITE / "cases").is_dir() else []
NATIVE = Platform("linux", "amd64")


def _load(case: Path, name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((case / name).read_text())
    return data


def _convert(case: Path, resolver: LayoutResolver) -> FrontendResult:
    record = _load(case, "case.json")
    path = case / record.get("dockerfile", "Dockerfile")
    platform = parse_platform(record["platform"]) if "platform" in record else NATIVE
    ignore = case / "context" / ".dockerignore"
    patterns = read_ignore_file(ignore.read_text()).patterns if ignore.exists() else ()
    contexts: dict[str, Context] = {
        name: ImageContext(url) if url.startswith("image:") else LocalContext(name)
        for name, url in record.get("contexts", {}).items()
    }
    request = FrontendRequest(
        SourceText("Dockerfile", path.read_bytes().decode("utf-8", "surrogateescape")),
        (platform,),
        NATIVE,
        target=record.get("target", ""),
        build_args=record.get("args", {}),
        labels=record.get("labels", {}),
        context=LocalContext("context", IgnoreRules(patterns)),
        contexts=contexts,
        implicit_platform="platform" not in record,
    )
    return convert(request, resolver)


def _diffs(vertex: Vertex | None, base_layers: dict[Digest, int]) -> int:
    """How many layers a vertex will have."""
    count = 0
    pending = [vertex]
    while pending:
        at = pending.pop()
        if at is None:
            continue
        match at.op:
            case ImageSource():
                count += base_layers[at.op.digest]
            case LocalSource():
                count += 1
            case Exec() | File():
                count += 1
                pending.append(at.inputs[0])
            case Merge():
                pending.extend(at.inputs)
    return count


def _plain(config: Any) -> Any:
    """The config without empty members, which a JSON writer may leave out."""
    return {key: value for key, value in config.items() if value not in (None, [], {}, "", False)}


def _only(cases: list[Path], errors: bool) -> list[Any]:
    chosen = [
        pytest.param(case, id=case.name)
        for case in cases
        if bool(_load(case, "expected.json").get("error")) is errors
    ]
    return chosen or [pytest.param(None, marks=pytest.mark.skip(reason="no suite"))]


@pytest.mark.parametrize("case", _only(CASES, errors=False))
def test_config_and_history(case: Path) -> None:
    expected = _load(case, "expected.json")
    resolver = LayoutResolver(SUITE / "images")
    (built,) = _convert(case, resolver).images
    assert _plain(built.config.config) == _plain(expected["config"])
    found = [
        {"created_by": h.get("created_by", ""), "empty_layer": bool(h.get("empty_layer"))}
        for h in built.config.history
    ]
    assert found == expected["history"]
    platform = built.config.platform
    assert (platform.os, platform.architecture) == (expected["os"], expected["architecture"])
    layers = sum(not entry["empty_layer"] for entry in found)
    assert layers == expected["layers"]
    assert _diffs(built.vertex, resolver.layers) == layers


@pytest.mark.parametrize("case", _only(CASES, errors=True))
def test_errors_of_the_dockerfile(case: Path) -> None:
    """What is wrong with the text is found with the recorded words and line.

    Errors that only a build can meet (a missing file, a failing RUN) pass the frontend.
    """
    expected = _load(case, "expected.json")["error"]
    try:
        _convert(case, LayoutResolver(SUITE / "images"))
    except BuildError as error:
        said = f"{error.message} {error.hint}".lower()
        assert [word for word in expected["keywords"] if word not in said] == []
        if expected["line"] is not None:
            assert error.span is not None
            assert error.span.first <= expected["line"] <= error.span.last
    else:
        assert case.name in LATER, "the frontend should have found this error"


LATER = {
    "error-add-missing",
    "error-copy-dangling-symlink",
    "error-copy-ignored",
    "error-copy-into-file-parent",
    "error-copy-missing",
    "error-copy-outside",
    "error-copy-parents-excluded",
    "error-entrypoint-from-scratch-run",
    "error-heredoc-set-e-fails",
    "error-mount-source-missing",
    "error-parents-missing",
    "error-run-exit-code",
    "error-run-multiline-fails",
    "error-run-not-found",
    "error-run-signal",
    "error-run-unknown-user",
    "error-secret-required-missing",
    "error-stage-name-scratch",
    "error-workdir-over-file",
}
