"""A step that is prepared while the one below it runs: what comes of it, however that one ends."""

import os
import signal
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing

import pytest

from tests.integration.conftest import Builds
from tests.support import processes
from tests.support.waiting import PATIENCE_S, comes

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox", "overlay")]

Project = Callable[[Mapping[str, str]], str]


def dockerfile(*steps: str) -> dict[str, str]:
    return {"Dockerfile": "\n".join(["FROM busybox", *(f"RUN {step}" for step in steps), ""])}


def snapshots(builds: Builds) -> tuple[int, int]:
    """How many there are, and how many there ever were."""
    with closing(sqlite3.connect(f"{builds.cli.root}/meta.db")) as db:
        (there,) = db.execute("SELECT count(*) FROM snapshots").fetchone()
        (ever,) = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'snapshots'").fetchone()
    return there, ever


def test_a_root_is_as_the_step_below_left_it(builds: Builds, project: Project) -> None:
    """Its mode and owner, files that are new, changed and gone, and what all of them said."""
    image = builds.image(
        project(
            dockerfile(
                "echo 1 > /a && echo 1 > /b && chmod 711 / && sleep 0.1",
                "stat -c %a / > /mode && rm /a && cat /b && echo 2 > /b",
                "test ! -e /a && cat /b /mode > /all && chmod 755 /",
                "stat -c %a / >> /all",
            )
        )
    )
    assert image.text("all") == "2\n711\n755\n" and "a" not in image.files


def test_nothing_stays_of_a_step_on_one_that_fails(builds: Builds, project: Project) -> None:
    builds.image(project(dockerfile("true")))
    there, ever = snapshots(builds)
    context = project(dockerfile("true", "sleep 0.3; exit 3", "touch /never"))
    done = builds.cli("build", "--progress=plain", context, code=5)
    assert "exit code: 3" in done.stderr and "[4/4]" not in done.stderr
    # There were two more: the second was prepared.
    assert snapshots(builds) == (there, ever + 2)
    assert builds.leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_build_that_ends_in_the_step_below(
    builds: Builds, project: Project, number: signal.Signals
) -> None:
    """No process stays, and no record: the next build does the step, and the one on it."""
    nap = f"600.{os.getpid()}{number}"
    context = project(dockerfile(f"sleep $(cat /nap || echo {nap})", "touch /done"))
    running = builds.cli.start("build", "--progress=plain", context)
    assert processes.begun(f"{nap}")
    # The base, the step, and the one that is prepared.
    assert comes(lambda: snapshots(builds)[1] >= 3)
    running.send_signal(number)
    running.communicate(timeout=PATIENCE_S)
    assert processes.gone(nap) and processes.gone(builds.cli.root)
    image = builds.image(project({"Dockerfile": "FROM busybox\nRUN touch /other\n"}))
    assert "other" in image.files
    assert builds.leftovers() == []


def test_a_cached_step_on_one_that_runs(builds: Builds, project: Project) -> None:
    """It is found, as without the one below, and so is what comes after it."""
    context = project(dockerfile("echo 1 > /a", "echo 2 > /b", "echo 3 > /c"))
    builds.image(context)
    with closing(sqlite3.connect(f"{builds.cli.root}/meta.db")) as db:
        db.execute("DELETE FROM records WHERE name LIKE '%RUN echo 1%'")
        db.commit()
    done = builds.cli("build", "--progress=plain", context)
    assert done.stderr.count("CACHED") == 3  # The image, and two steps.
    assert builds.leftovers() == []


def test_steps_on_one_step_run_beside_each_other(builds: Builds, project: Project) -> None:
    """One of them is prepared, under the limit of steps at once as without."""
    lines = ["FROM busybox AS base", "RUN sleep 0.1"]
    for name in "abc":
        lines += [f"FROM base AS {name}", f"RUN echo {name} > /{name}", f"RUN touch /{name}2"]
    lines += ["FROM base", *(f"COPY --from={name} /{name} /{name}" for name in "abc"), "RUN ls /"]
    image = builds.image(project({"Dockerfile": "\n".join(lines)}), "--no-cache")
    assert [image.text(name) for name in "abc"] == ["a\n", "b\n", "c\n"]
    assert builds.leftovers() == []


def test_its_times_begin_when_it_runs(builds: Builds, project: Project) -> None:
    context = project(dockerfile("sleep 0.6", "sleep 0.1"))
    done = builds.cli("build", "--progress=plain", context)
    lines = [line.split() for line in done.stderr.splitlines() if " DONE " in line]
    first, second, *_ = [float(words[-1].rstrip("s")) for words in lines]
    assert first >= 0.6 > second >= 0.1
