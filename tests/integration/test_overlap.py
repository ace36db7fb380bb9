"""Layers are packed while later steps run: an export of a long build has little left to do."""

import os
from collections.abc import Callable, Mapping

import pytest

from tests.integration.conftest import Builds
from tests.support.waiting import PATIENCE_S, comes

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

DOCKERFILE = """\
FROM busybox
RUN head -c 3000000 /dev/urandom > /big
RUN until test -e /go/now; do usleep 20000; done
"""


def test_a_layer_is_there_before_the_last_step_ends(
    builds: Builds, project: Callable[[Mapping[str, str]], str]
) -> None:
    """The second step waits in a cache mount for a word that comes once the first is packed."""
    line = "RUN --mount=type=cache,target=/go until"
    context = project({"Dockerfile": DOCKERFILE.replace("RUN until", line)})
    blobs = f"{builds.cli.root}/blobs/sha256"
    running = builds.cli.start("build", "-t", "app", context)
    try:
        assert comes(lambda: big(blobs) or running.poll() is not None)
        assert running.poll() is None, "the last step has not been let go"
        let_go(builds.cli.root)
        assert running.wait(PATIENCE_S) == 0
    finally:
        running.kill()
        running.communicate()
    assert "is sound" in builds.cli("image", "validate", "app").stdout
    assert builds.leftovers() == []


def big(folder: str) -> bool:
    """Whether a layer with the random bytes is whole: it has its name then."""
    return any(os.stat(f"{folder}/{name}").st_size > 3_000_000 for name in os.listdir(folder))


def let_go(root: str) -> None:
    for folder in os.listdir(f"{root}/cache-mounts"):
        path = f"{root}/cache-mounts/{folder}"
        data = next(name for name in os.listdir(path) if os.path.isdir(f"{path}/{name}"))
        with open(f"{path}/{data}/now", "w", encoding="utf-8"):
            pass
