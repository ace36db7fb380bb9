"""Containers that may make no namespaces, and what is built there all the same.

Each account of the tests is in the container that it can have: root in one with the default profile
of docker, others in the strictest of pods. `none` is the host as it is. The images are the same:
their digests stand here.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, Cli
from tests.integration.conftest import Builds

Project = Callable[[Mapping[str, str]], str]
KIND = "default" if os.geteuid() == 0 else "restricted"
pytestmark = pytest.mark.integration


class Pod(Cli):
    """The installed program in a container of this kind."""

    def start(
        self, *arguments: str, env: Mapping[str, str] | None = None, cwd: str | None = None
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.support.pod", KIND, self.program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd=cwd,
            env={**self.environment, "PYTHONPATH": str(CHECKOUT), **(env or {})},
            start_new_session=True,
        )


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(str(tmp_path / "pod-store"))


# --- A RUN that has to run ------------------------------------------------------------------------


STEPS = {
    "the first": "FROM scratch\nRUN make\nCOPY a /a\n",
    "behind a new copy": "FROM scratch\nCOPY a /a\nWORKDIR /w\nRUN make\n",
    "in a stage": "FROM scratch AS s\nCOPY a /a\nRUN make\nFROM scratch\nCOPY --from=s /a /\n",
}


@pytest.mark.parametrize("where", STEPS)
def test_a_run_is_refused_before_anything_is_done(pod: Pod, project: Project, where: str) -> None:
    context = project({"Dockerfile": STEPS[where], "a": "a"})
    said = pod("build", "--progress=plain", context, code=3).stderr
    assert ">>> RUN make" in said
    assert "a RUN needs namespaces of its own, and this host refuses them" in said
    for kind in ("docker", "podman", "Kubernetes", "GitLab on docker", "GitLab on Kubernetes"):
        assert f"\n  {kind}: " in said
    assert "COPY a /a\n#" not in said, "a copy was done first"


def test_a_run_behind_a_new_stage_is_refused_in_its_turn(pod: Pod, project: Project) -> None:
    """What the stage has decides whether the step is known."""
    text = "FROM scratch AS s\nCOPY a /a\nFROM scratch\nCOPY --from=s /a /b\nRUN make\n"
    said = pod("build", "--progress=plain", project({"Dockerfile": text, "a": "a"}), code=3).stderr
    assert ">>> RUN make" in said and "a RUN needs namespaces of its own" in said


@pytest.mark.needs("busybox", "userns")
def test_a_run_that_is_cached_is_no_problem(builds: Builds, pod: Pod, project: Project) -> None:
    """By the same account in the same store, so the tree is one that the container can read."""
    context = project({"Dockerfile": "FROM busybox\nRUN echo >/made\nCOPY a /a\n", "a": "1"})
    flags = ("-o", f"type=oci,dest={builds.folder}/out.tar,tar=true")
    builds.cli("build", *flags, context)
    pod = Pod(builds.cli.root)
    assert "CACHED" in pod("build", "--progress=plain", *flags, context).stderr
    Path(context, "a").write_text("2")
    pod("build", *flags, context)
    Path(context, "Dockerfile").write_text("FROM busybox\nRUN echo other >/made\n")
    assert "a RUN needs namespaces" in pod("build", *flags, context, code=3).stderr


def test_the_doctor_says_so(pod: Pod) -> None:
    said = pod("doctor", code=3).stdout
    assert "all works but a RUN that is not cached" in said
    assert "Builds with a RUN cannot work here" in said
