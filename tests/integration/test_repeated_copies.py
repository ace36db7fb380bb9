"""Files that are copied where they are already: what a layer repeats, and what it does not."""

import os
from collections.abc import Callable, Mapping

import pytest

from tests.integration.conftest import Builds

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "overlay", "busybox")]

Project = Callable[[Mapping[str, str]], str]
FILES = {"a": "a", "b": "b"}


def dated(context: str, time: int) -> str:
    """The context with this time on all its files."""
    for name in os.listdir(context):
        os.utime(f"{context}/{name}", (time, time))
    return context


def test_layers_do_not_depend_on_the_times_of_an_earlier_build(
    builds: Builds, project: Project
) -> None:
    first = {**FILES, "Dockerfile": "FROM busybox\nCOPY a /x\n"}
    builds.image(dated(project(first), 1_000_000_000))
    text = "FROM busybox\nCOPY a /x\nCOPY b /y\nWORKDIR /w\nCOPY a /x\nCOPY b /z\n"
    context = dated(project({**FILES, "Dockerfile": text}), 1_100_000_000)
    cached = builds.image(context)
    alone = builds.image(context, "--no-cache")
    assert cached.layers == alone.layers
    assert alone.layers[1:] == [["x"], ["y"], ["w"], [], ["z"]]


def test_a_time_that_a_run_has_changed_is_changed_back(builds: Builds, project: Project) -> None:
    text = "FROM busybox\nCOPY a /x\nRUN touch /x\nCOPY a /x\nCOPY b /z\n"
    image = builds.image(dated(project({**FILES, "Dockerfile": text}), 1_000_000_000))
    assert image.layers[-2:] == [["x"], ["z"]]
