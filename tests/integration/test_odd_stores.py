"""The folder that a store lies in has no say in what is built there."""

import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.integration.conftest import Builds
from tests.support.acl import give_default_acl

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "overlay", "busybox")]

DOCKERFILE = """FROM busybox
WORKDIR /w/d
COPY d /c/p
COPY --link d/e /l/p/e
COPY <<Y /h/x
x
Y
ADD t.tar /t/
RUN mkdir -p /r/s && touch /r/s/f && cp -r /c /r/c
RUN --mount=type=cache,target=/cc/m mkdir /cc/n && rm -rf /l/p
RUN --mount=target=/src cp -r /src/d /from-mount
COPY --parents d/e/f /pp/
"""


def test_what_a_folder_would_pass_on(
    project: Callable[[Mapping[str, str]], str],
    builds: Builds,
    busybox_tar: str,
    tmp_path: Path,
) -> None:
    """Its group and a default ACL, for the store and for temporary files."""
    folder = project({"Dockerfile": DOCKERFILE, "d/e/f": "f", ".dockerignore": "Dockerfile\n"})
    with tarfile.open(f"{folder}/t.tar", "w") as archive:
        archive.add(f"{folder}/d", "d")
    expected = builds.image(folder).files

    above = tmp_path / "above"
    above.mkdir()
    above.chmod(0o2775)
    give_default_acl(above)
    for name in ("store", "tmp"):
        (above / name).mkdir()
    odd = Cli(str(above / "store"))
    odd.environment["TMPDIR"] = str(above / "tmp")
    odd("image", "import", busybox_tar, "busybox:latest")
    found = Builds(odd, tmp_path / "tmp").image(folder).files
    assert found == expected
