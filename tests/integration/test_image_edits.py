"""Edits of images that were built: of an index each image is edited; what comes out can be run."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.conftest import Cli
from tests.integration.conftest import Builds

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount")]
Project = Callable[[Mapping[str, str]], str]
PLATFORMS = "--platform=linux/amd64,linux/arm64"


def inspect(cli: Cli, name: str) -> list[dict[str, Any]]:
    found = json.loads(cli("image", "inspect", "--format=json", name).stdout)
    return found[0]["images"]


def test_each_image_of_an_index(cli: Cli, project: Project) -> None:
    for number in "12":
        text = f"FROM scratch\nCOPY Dockerfile /base\nENV N={number}\n"
        cli("build", "-q", PLATFORMS, "-t", f"base:{number}", project({"Dockerfile": text}))
    app = project({"Dockerfile": "FROM base:1\nCOPY Dockerfile /app\nENV OWN=1\n"})
    cli("build", "-q", PLATFORMS, "-t", "app:1", app)
    cli("image", "rebase", "app:1", "app:2", "--from=base:1", "--onto=base:2")
    cli("image", "squash", "app:2", "app:3")  # it says itself what it is on
    cli("image", "flatten", "app:1", "flat")
    for name, layers in (("app:2", 2), ("app:3", 2), ("flat", 1)):
        images = inspect(cli, name)
        assert [image["platform"] for image in images] == ["linux/amd64", "linux/arm64"]
        assert [len(image["layers"]) for image in images] == [layers, layers]
        assert "is sound" in cli("image", "validate", name).stdout
        env = images[1]["config"]["config"]["Env"]
        assert ("N=1" if name == "flat" else "N=2") in env and "OWN=1" in env


@pytest.mark.needs("busybox")
def test_what_was_made_runs(builds: Builds, project: Project) -> None:
    """Deletions, links and directories made anew, seen by a process."""
    lines = [
        "FROM busybox",
        "RUN mkdir /d && echo 1 > /d/old && echo keep > /a && ln /a /b && echo x > /gone",
        "RUN rm /gone /a && rm -r /d && mkdir /d && echo 2 > /d/new",
    ]
    builds.cli("build", "-q", "-t", "app", project({"Dockerfile": "\n".join(lines)}))
    builds.cli("image", "squash", "app", "squashed", "--from=busybox")
    builds.cli("image", "flatten", "app", "flat")
    look = ("sh", "-c", "ls /d; cat /b; ls -d /a /gone; true")
    seen = [builds.cli("run", name, *look).stdout for name in ("app", "squashed", "flat")]
    assert seen == ["new\nkeep\n"] * 3
