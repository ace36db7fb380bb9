"""Limits of steps, from the command line to the message."""

from collections.abc import Callable, Mapping

import pytest

from tests.integration.conftest import Builds
from tests.support import probes

Project = Callable[[Mapping[str, str]], str]
NEEDS_64_MIB = "FROM busybox\nRUN dd if=/dev/zero of=/dev/null bs=64M count=1\n"


def test_a_step_that_needs_more_memory(builds: Builds, project: Project) -> None:
    """The error says so; where the limit cannot be kept, a warning does."""
    context = project({"Dockerfile": NEEDS_64_MIB})
    limit = ("-m", "32m", "--memory-swap", "32m", "--progress=plain")
    if not probes.able("cgroup"):
        said = builds.cli("build", *limit, context).stderr
        assert "ResourceLimits: memory cannot be limited here" in said
        assert "ResourceLimits: memory-swap" in said
        return
    said = builds.cli("build", *limit, context, code=5).stderr
    assert (
        "hint: memory ran out, and the kernel killed a process of the step: the most that" in said
    )
    assert "; its limit is --memory 32.0 MiB" in said
    assert "ResourceLimits" not in said


def test_limits_are_in_no_key(builds: Builds, project: Project) -> None:
    context = project({"Dockerfile": "FROM busybox\nRUN date +%N > /f\n"})
    first = builds.image(context)
    second = builds.image(context, "--resource", "memory=512m", "--cpus", "0.5", "-c", "100")
    assert first.config == second.config


@pytest.mark.needs("cgroup")
def test_run_has_them_too(builds: Builds) -> None:
    words = ("-m", "32m", "--memory-swap", "32m", "busybox", "tail", "/dev/zero")
    said = builds.cli("run", *words, code=137).stderr
    assert "memory ran out" in said and "--memory 32.0 MiB" in said


def test_the_doctor_knows(builds: Builds) -> None:
    said = builds.cli("doctor").stdout
    (line,) = [line for line in said.splitlines() if line.startswith("cgroup")]
    assert ("memory" in line) == probes.able("cgroup"), line
