"""--exclude and the cache: what is left out of a result of another step counts too."""

from collections.abc import Callable, Mapping

import pytest

from tests.integration.conftest import Builds

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "overlay", "busybox")]

Project = Callable[[Mapping[str, str]], str]
STAGE = "FROM scratch AS a\nCOPY x y z /\nFROM scratch\n"


@pytest.mark.parametrize("flag", ["", "--link"])
def test_one_result_copied_with_other_patterns(builds: Builds, project: Project, flag: str) -> None:
    """All of them read the same result, which is known by its key until somebody has to read it."""
    files = {"x": "x", "y": "y", "z": "z"}
    for patterns, left in (
        ("", ["d", "d/x", "d/y", "d/z"]),
        ("--exclude=y", ["d", "d/x", "d/z"]),
        ("--exclude=z --exclude=y", ["d", "d/x"]),
        ("--exclude=nosuch", ["d", "d/x", "d/y", "d/z"]),
        ("", ["d", "d/x", "d/y", "d/z"]),
    ):
        text = f"{STAGE}COPY --from=a {flag} {patterns} / /d\n"
        image = builds.image(project({**files, "Dockerfile": text}))
        assert image.layers == [left], patterns


def test_patterns_that_leave_the_same_files_are_one_step(builds: Builds, project: Project) -> None:
    files = {"x": "x", "y": "y", "z": "z"}
    text = "FROM busybox\nCOPY --exclude={} . /d\nRUN cat /proc/sys/kernel/random/uuid >/u\n"
    ran = [
        builds.image(project({**files, "Dockerfile": text.format(pattern), ".dockerignore": "D*"}))
        for pattern in ("y", "[y]", "x")
    ]
    assert ran[0].files["u"] == ran[1].files["u"] != ran[2].files["u"]
