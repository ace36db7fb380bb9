"""A store on a disk that is full: a clear error, and no damage."""

from collections.abc import Callable, Mapping

import pytest

from tests.integration.conftest import Builds
from tests.support.probes import namespaces

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

Project = Callable[[Mapping[str, str]], str]

SCRIPT = """\
set -u
mount -t tmpfs -o size=12m none "$MINIBUILD_ROOT" || exit 90
"$1" image import "$2" busybox:latest || exit 91
"$1" build --progress=plain "$3"; first=$?
"$1" build --progress=plain -t small "$4" || exit 92
"$1" run small cat /small || exit 93
echo "first build: $first"
"""


@pytest.mark.needs("root")
@pytest.mark.parametrize(
    ("dockerfile", "codes"),
    [
        ("FROM busybox\nCOPY big /big\n", {3, 8}),
        ("FROM busybox\nCOPY big /big\nRUN cp /big /again\n", {3, 5, 8}),
        ("FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=30\n", {5}),
    ],
    ids=["copy", "copy and run", "run"],
)
def test_full_disk(
    builds: Builds,
    project: Project,
    busybox_tar: str,
    tmp_path: object,
    dockerfile: str,
    codes: set[int],
) -> None:
    """The build says what is full; a smaller one then fits, in the same store."""
    import os
    import subprocess

    big = project({"Dockerfile": dockerfile})
    with open(f"{big}/big", "wb") as file:
        file.write(os.urandom(20 << 20))
    small = project({"Dockerfile": "FROM busybox\nRUN echo fits > /small\n"})
    done = subprocess.run(
        [*namespaces(), "sh", "-c", SCRIPT, "sh", builds.cli.program, busybox_tar, big, small],
        env=builds.cli.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Traceback" not in said
    assert "no space left" in said.lower()
    assert int(done.stdout.rpartition("first build: ")[2]) in codes, said
    assert "fits" in done.stdout
