"""`du` knows all that the store holds; `prune` leaves nothing behind that adds up."""

import json
import os
from collections.abc import Callable, Mapping

import pytest

from tests.conftest import Cli
from tests.integration.conftest import Builds
from tests.support.faulty import Fault, Faulty, digest

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]
Project = Callable[[Mapping[str, str]], str]


def kinds(cli: Cli) -> list[str]:
    return sorted(holding["kind"] for holding in json.loads(cli("du", "--format=json").stdout))


def test_all_kinds(builds: Builds, project: Project) -> None:
    cli = builds.cli
    cli(
        "build", project({"Dockerfile": "FROM busybox\nRUN --mount=type=cache,target=/c date > /f"})
    )
    with Faulty() as faulty:
        layer = os.urandom(300_000)
        name = faulty.image("app", layer)
        # Of the layer alone: which blob is asked for first is anybody's guess.
        faulty.faults += [Fault(digest(layer), "cut", at=1000), Fault(digest(layer), 404)]
        cli("image", "pull", name, code=4)
    # Without a name, an image is its layer in the cache, and documents that nothing needs.
    assert set(kinds(cli)) == {"blob", "cache-mount", "image", "partial", "record"}
    text = cli("du").stdout
    for label in ("records:", "images:", "cache-mounts:", "other blobs:", "unfinished:"):
        assert label in text
    cli("prune", "--all", "--force")
    assert kinds(cli) == ["image"]


def test_images_share(builds: Builds, project: Project) -> None:
    """What several have counts once."""
    cli = builds.cli
    before = cli("du").stdout.split("images:")[1].split()[0]
    cli("image", "tag", "busybox", "again:1", "again:2")
    assert cli("du").stdout.split("images:")[1].split()[0] == before


def test_shrunk_to_a_size(builds: Builds, project: Project) -> None:
    """The longest unused goes first, and what stands on top before what is below."""
    cli = builds.cli
    old = project({"Dockerfile": "FROM busybox\nRUN head -c 30000000 /dev/zero > /old\n"})
    new = project({"Dockerfile": "FROM busybox\nRUN head -c 10000000 /dev/zero > /new\n"})
    for context in (old, new):
        cli("build", "-o", "type=cacheonly", context)
    cli("prune", "--max-used-space=20MB")
    done = cli("build", "--progress=plain", "-o", "type=cacheonly", new)
    assert " CACHED" in done.stderr.split("RUN head")[1]
    done = cli("build", "--progress=plain", "-o", "type=cacheonly", old)
    assert " CACHED" not in done.stderr.split("RUN head")[1]
    assert "until=24h" in cli("prune", "--filter=label=x", code=2).stderr
    assert "invalid size" in cli("prune", "--max-used-space=lots", code=2).stderr


def test_locks_and_rows_go(builds: Builds, project: Project) -> None:
    cli = builds.cli
    for number in range(3):
        cli("build", project({"Dockerfile": f"FROM busybox\nRUN echo {number}\nCOPY Dockerfile /"}))
    assert len(os.listdir(f"{cli.root}/locks")) > 5
    cli("prune", "--all", "--force")
    assert os.listdir(f"{cli.root}/locks") == ["prune"]
    assert cli("image", "ls", "-q").stdout == "busybox:latest\n"
    cli("build", project({"Dockerfile": "FROM busybox\nRUN true\n"}))
