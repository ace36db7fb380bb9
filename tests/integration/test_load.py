"""`--load`: a program that stands for docker and its like takes the image, or refuses it."""

import os
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.conftest import Cli

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount")]
Project = Callable[[Mapping[str, str]], str]
SCRIPT = """#!/bin/sh
echo "$*" > "$OUT/said"
cat > "$OUT/archive.tar"
echo "Loaded image: x"
exit ${CODE:-0}
"""


@pytest.fixture
def context(project: Project) -> str:
    return project({"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})


@pytest.fixture
def engines(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """`engines("docker")` is an environment in which these programs are, and no others of them."""

    def make(*names: str, **variables: str) -> dict[str, str]:
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in names:
            (folder / name).write_text(SCRIPT)
            (folder / name).chmod(0o755)
        # No docker of this machine; sh, cat and the programs for user namespaces stay.
        for name in ("sh", "cat", "newuidmap", "newgidmap"):
            for place in os.environ["PATH"].split(":"):
                if os.access(f"{place}/{name}", os.X_OK):
                    (folder / name).symlink_to(f"{place}/{name}")
                    break
        return {"PATH": str(folder), "OUT": str(tmp_path), "XDG_RUNTIME_DIR": "", **variables}

    return make


Engines = Callable[..., dict[str, str]]


@pytest.mark.parametrize(
    ("name", "words"),
    [("docker", "load"), ("podman", "load"), ("nerdctl", "load"), ("ctr", "images import -")],
)
def test_each_engine_gets_the_archive(
    cli: Cli, context: str, engines: Engines, tmp_path: Path, name: str, words: str
) -> None:
    done = cli("build", "-t", "app:1", f"--load={name}", context, env=engines(name))
    assert (tmp_path / "said").read_text().strip() == words
    with tarfile.open(tmp_path / "archive.tar") as archive:
        assert {"manifest.json", "index.json", "oci-layout"} <= set(archive.getnames())
    assert "Loaded image: x" in done.stderr
    assert cli("image", "ls", "-q").stdout == "app:1\n"


def test_an_engine_is_found(cli: Cli, context: str, engines: Engines, tmp_path: Path) -> None:
    """A docker that somebody named a host for comes before a podman."""
    found = engines("docker", "podman", DOCKER_HOST="tcp://127.0.0.1:1")
    cli("build", "-q", "-t", "app:1", "--load", context, env=found)
    assert (tmp_path / "archive.tar").exists()


def test_an_engine_that_refuses(cli: Cli, context: str, engines: Engines) -> None:
    done = cli("build", "--load=podman", context, env=engines("podman", CODE="5"), code=3)
    assert "`podman load` did not take the image: Loaded image: x" in done.stderr


def test_a_build_that_fails_loads_nothing(
    cli: Cli, project: Project, engines: Engines, tmp_path: Path
) -> None:
    context = project({"Dockerfile": "FROM scratch\nCOPY missing /\n"})
    cli("build", "--load=docker", context, env=engines("docker"), code=6)
    assert not (tmp_path / "said").exists()


def test_no_engine(cli: Cli, context: str, engines: Engines) -> None:
    found = engines()
    done = cli("build", "--load", context, env=found, code=3)
    assert "there is no docker, podman, nerdctl or ctr" in done.stderr
    done = cli("build", "--load=podman", context, env=found, code=3)
    assert "there is no program podman" in done.stderr
    cli("build", "--load=rkt", context, env=found, code=2)
    cli("build", "-q", "--load=false", context, env=found)


def test_one_platform(cli: Cli, context: str, engines: Engines) -> None:
    """It is said before anything is built."""
    words = ("--load=docker", "--platform=linux/amd64,linux/arm64", context)
    done = cli("build", *words, env=engines("docker"), code=2)
    assert "these are several platforms" in done.stderr and "COPY" not in done.stderr
