"""A layer of which little is new: parts of the one before are in it, and nobody can tell."""

import os
import random
from collections.abc import Callable, Mapping

import pytest

from tests.integration.conftest import Builds

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "overlay", "busybox")]

FILES = {f"f{n:02}": random.Random(n).randbytes(50_000).hex() for n in range(40)}


def noted(root: str) -> set[str]:
    """The layers of which blocks are noted."""
    folder = f"{root}/blocks"
    return set(os.listdir(folder)) if os.path.isdir(folder) else set()


@pytest.mark.parametrize("read", [False, True])
def test_a_file_changes(
    builds: Builds, project: Callable[[Mapping[str, str]], str], read: bool
) -> None:
    """Whether the copy is a tree as well or not; what a step writes is not noted."""
    root = builds.cli.root
    reader = "RUN cat /src/f* > /all\n" if read else ""
    context = project({**FILES, "Dockerfile": f"FROM busybox\nCOPY . /src/\n{reader}"})
    first = builds.image(context)
    old = noted(root)
    assert old == {first.manifest["layers"][1]["digest"].partition(":")[2]}
    with open(f"{context}/f20", "a") as file:
        file.write("more" * 1000)
    second = builds.image(context)
    assert len(noted(root)) == 2 and noted(root) > old
    for name, text in FILES.items():
        assert second.text(f"src/{name}") == text + "more" * 1000 * (name == "f20")
    builds.cli("prune", "--all", "--force")
    assert noted(root) == set()
    assert builds.image(context).files["src/f20"].data == second.files["src/f20"].data
