"""`# syntax=`: silence for what is understood, a finding for what is not."""

import pytest
from minibuild_dockerfile.checks.syntax import check_syntax
from minibuild_dockerfile.parse import parse

from minibuild.errors import SourceText

QUIET = [
    "docker/dockerfile",
    "docker/dockerfile:1",
    "docker/dockerfile:1.7",
    "docker/dockerfile:1.7.1",
    "docker/dockerfile:1.24",
    "docker/dockerfile:1-labs",
    "docker/dockerfile:labs",
    "docker/dockerfile:latest",
    "docker.io/docker/dockerfile:1.4",
    "docker/dockerfile-upstream:master",
    "docker/dockerfile:1.7@sha256:" + "a" * 64,
    "dockerfile",
    "dockerfile.v0",
]
NEWER = ["docker/dockerfile:1.25", "docker/dockerfile:2", "docker/dockerfile:1.99-labs"]
OTHER = ["example.com/frontend", "docker/dockerfile2:1", "tonistiigi/buildpacks:latest --flag"]


def found(value: str, argument: str = "") -> str:
    text = f"# syntax={value}\nFROM scratch\n" if value else "FROM scratch\n"
    finding = check_syntax(parse(SourceText("Dockerfile", text)), argument)
    return finding.message if finding else ""


@pytest.mark.parametrize("value", QUIET)
def test_what_is_understood(value: str) -> None:
    assert found(value) == ""


@pytest.mark.parametrize("value", NEWER)
def test_what_is_newer(value: str) -> None:
    assert "is newer than the language" in found(value)


@pytest.mark.parametrize("value", OTHER)
def test_other_frontends(value: str) -> None:
    assert found(value).startswith(value.split()[0] + " is not fetched")


def test_the_build_argument_wins() -> None:
    assert found("example.com/frontend", "dockerfile.v0") == ""
    assert "is not fetched" in found("docker/dockerfile:1", "example.com/frontend")
    assert "is not fetched" in found("", "example.com/frontend")
