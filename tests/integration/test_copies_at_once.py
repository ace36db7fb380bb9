"""Copies of many files at once, in this process and in one beside it."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.integration.conftest import Builds
from tests.support.waiting import PATIENCE_S, comes

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "overlay", "busybox")]

Project = Callable[[Mapping[str, str]], str]

_PARTS = 4
_LINKS = "FROM busybox\n" + "".join(f"COPY --link part{n} /part{n}\n" for n in range(_PARTS))
_READ = _LINKS + "RUN cat /part*/* | wc -c >/size\n"


def _context(project: Project, dockerfile: str, files: int = 60) -> str:
    """Many files in each part, so that it pays to copy them side by side."""
    made = {f"part{n}/f{k:05}": f"{n}{k}" * 50 for n in range(_PARTS) for k in range(files)}
    return project({"Dockerfile": dockerfile, **made})


@pytest.mark.parametrize("dockerfile", [_LINKS, _READ], ids=["packed", "read"])
def test_the_layers_are_those_of_one_copy_after_the_other(
    builds: Builds, project: Project, dockerfile: str
) -> None:
    context = _context(project, dockerfile)
    together, apart = (builds.image(context, "--no-cache", *f) for f in ((), ("--jobs=1",)))
    assert together.layers == apart.layers
    for path, file in together.files.items():
        assert file.data == apart.files[path].data
    assert builds.leftovers() == []


def test_files_that_were_touched_are_found_by_their_contents(
    builds: Builds, project: Project
) -> None:
    context = _context(project, _READ)
    builds.cli("build", context)
    for path in Path(context).rglob("f*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    again = builds.cli("build", "--progress=plain", context)
    # The base, the parts, what they add up to, and the step.
    assert again.stderr.count(" CACHED\n") == 1 + _PARTS + 1 + 1


def test_an_error_beside_is_told_as_one_here(builds: Builds, project: Project) -> None:
    for number in range(_PARTS):
        text = _READ.replace(f"COPY --link part{number}", f"COPY --link part{number} missing")
        text = text.replace(f" /part{number}\n", f" /part{number}/\n")
        failed = builds.cli("build", _context(project, text), code=6)
        assert '"/missing": not found' in failed.stderr
        assert f"Dockerfile:{2 + number}\n" in failed.stderr
    builds.cli("build", _context(project, _READ))
    assert builds.leftovers() == []


def _children(pid: int) -> list[int]:
    """All processes below one."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    direct = [int(word) for word in text.split()]
    return direct + [found for child in direct for found in _children(child)]


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A context of so many files that a copy of them takes a while."""
    folder = tmp_path_factory.mktemp("busy")
    (folder / "Dockerfile").write_text(_READ)
    for part in range(_PARTS):
        os.mkdir(folder / f"part{part}")
        for number in range(2000):
            with open(f"{folder}/part{part}/f{number}", "wb") as file:
                file.write(b"%d" % number * 50)
    return str(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_and_no_file_stays(
    builds: Builds, project: Project, busy: str, number: signal.Signals
) -> None:
    running = builds.cli.start("build", "--progress=plain", busy)
    # The step server, and one that copies.
    assert comes(lambda: len(_children(running.pid)) >= 2)
    time.sleep(0.2)
    below = _children(running.pid)
    running.send_signal(number)
    running.communicate(timeout=PATIENCE_S)
    assert comes(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in below))
    builds.cli("build", project({"Dockerfile": "FROM busybox\nRUN true\n"}))
    assert builds.leftovers() == []
