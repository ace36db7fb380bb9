"""Two processes that build the same thing at once: no step twice, no broken store."""

from collections.abc import Callable, Mapping

import pytest

from tests.integration.conftest import Builds
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

# A cache mount outlives builds, so a step can leave a mark in it each time it really runs.
MARK = "RUN --mount=type=cache,target=/marks echo ran >> /marks/log && sleep 0.3\n"
COUNT = "RUN --mount=type=cache,target=/marks wc -l < /marks/log > /count\n"


def test_the_same_build_twice(builds: Builds, project: Callable[[Mapping[str, str]], str]) -> None:
    """Both succeed, with the same image; the step ran once."""
    context = project({"Dockerfile": f"FROM busybox\n{MARK}RUN echo done > /done\n"})
    running = [builds.cli.start("build", "--quiet", context) for _ in range(2)]
    outputs = [process.communicate(timeout=PATIENCE_S) for process in running]
    assert [process.returncode for process in running] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    image = builds.image(project({"Dockerfile": f"FROM busybox\nENV X=1\n{COUNT}"}))
    assert image.text("count").strip() == "1"
    assert builds.leftovers() == []


def test_different_builds_at_once(
    builds: Builds, project: Callable[[Mapping[str, str]], str]
) -> None:
    """Six processes on one store: each gives its own image."""
    contexts = [
        project({"Dockerfile": f"FROM busybox\nRUN echo {n} > /n\nRUN cat /n /n > /m\n"})
        for n in range(6)
    ]
    running = [builds.cli.start("build", "--quiet", context) for context in contexts]
    outputs = [process.communicate(timeout=PATIENCE_S) for process in running]
    assert [process.returncode for process in running] == [0] * 6, outputs
    assert len({stdout for stdout, _ in outputs}) == 6
    assert builds.image(contexts[3]).text("m") == "3\n3\n"
