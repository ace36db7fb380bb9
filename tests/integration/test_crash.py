"""kill -9 and Ctrl-C: nothing stays, and the next build works."""

import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.integration.conftest import Builds
from tests.support import processes
from tests.support.images import read_image
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

Project = Callable[[Mapping[str, str]], str]
TIMES = 16


def test_kill_at_random_moments(builds: Builds, project: Project, tmp_path: Path) -> None:
    """From just after the start to past the end of a build. `python -m tests.chaos --signal KILL`
    does so by the hundred."""
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    nap = f"0.0{os.getpid()}"
    files = {
        "Dockerfile": f"""\
FROM busybox
RUN sleep {nap} && mkdir /d && touch /d/a /d/b
COPY --link big /big
RUN sleep {nap} && rm /d/a && cp /big /copy
COPY --link small /small
RUN sleep {nap} && rm /big && ls / > /listing
""",
        "big": "x" * 300_000,
        "small": "small",
    }
    context = project(files)
    began = time.monotonic()
    builds.image(context)
    whole_s = time.monotonic() - began
    moments = random.Random(4516)
    for turn in range(TIMES):
        # A new value each time: everything is built anew, up to where it is killed.
        files["small"] = f"turn {turn}"
        victim = builds.cli.start(
            *("build", "--no-cache", "-t", "victim"),
            *("-o", "type=image", "-o", f"type=oci,dest={outputs}/victim.tar", project(files)),
            env={"PYTHONFAULTHANDLER": "1"},
        )
        time.sleep(moments.uniform(0.01, whole_s * 1.1))
        os.kill(victim.pid, signal.SIGKILL)
        victim.communicate(timeout=PATIENCE_S)
        assert processes.gone(nap), f"a step outlived its builder (turn {turn})"
    image = builds.image(
        context,
        *("-t", "after", "--output=type=image", "-o", f"type=oci,dest={outputs}/victim.tar"),
    )
    assert image.text("small") == "small" and "copy" in image.files
    assert "big" not in image.files
    assert builds.leftovers() == []
    assert os.listdir(outputs) == ["victim.tar"]
    assert processes.gone(builds.cli.root)  # The step server ends after the build.
    # Whatever the killed ones had finished is whole: every blob has the digest of its name.
    read_image(builds.cli.root, "docker.io/library/after:latest")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_in_a_step(builds: Builds, project: Project, number: signal.Signals) -> None:
    """At once, with 128 and its number, and no process or file stays."""
    nap = f"600.{os.getpid()}{number}"
    context = project(
        {"Dockerfile": f"FROM busybox\nRUN echo ready && (sleep {nap} & sleep {nap})\n"}
    )
    running = builds.cli.start("build", "--progress=plain", context)
    assert running.stderr is not None
    said = []
    for line in running.stderr:
        said.append(line)
        if "ready" in line and "RUN" not in line:
            break
    else:
        pytest.fail("the step never ran:\n" + "".join(said))
    began = time.monotonic()
    running.send_signal(number)
    running.communicate(timeout=PATIENCE_S)
    took_s = time.monotonic() - began
    assert running.returncode == 128 + number
    assert took_s < PATIENCE_S / 4  # the step takes ten minutes
    assert processes.gone(nap)
    builds.image(project({"Dockerfile": "FROM busybox\nRUN true\n"}))
    assert builds.leftovers() == []
