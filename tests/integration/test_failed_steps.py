"""`--on-error`: what a failed RUN left can be looked at, by its own rules, until the next fails."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.integration.conftest import Builds
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]
Project = Callable[[Mapping[str, str]], str]

DOCKERFILE = """\
FROM busybox
WORKDIR /w
ENV A=1
RUN echo before > before
RUN --mount=type=secret,id=tok echo half > half; cat /run/secrets/tok > /dev/null; exit 3
"""


def snapshots(builds: Builds) -> set[str]:
    return set(os.listdir(f"{builds.cli.root}/snapshots"))


def test_kept_as_the_step_saw_it(builds: Builds, project: Project, tmp_path: Path) -> None:
    cli, context = builds.cli, project({"Dockerfile": DOCKERFILE})
    (tmp_path / "tok").write_text("hush")
    secret = f"--secret=id=tok,src={tmp_path}/tok"
    plain = cli("build", secret, context, code=5)
    assert "--on-error=shell opens a shell" in plain.stderr
    assert "no failed step is kept" in cli("run", "--failed", "true", code=2).stderr
    before = snapshots(builds)
    done = cli("build", "--on-error=keep", secret, context, code=5)
    assert "minibuild run --failed sh" in done.stderr
    look = cli("run", "--failed", "sh", "-c", "pwd; cat before half; echo $A; ls /")
    assert look.stdout.split()[:4] == ["/w", "before", "half", "1"]
    assert "run" not in look.stdout.split()  # where the secret was
    assert "RUN --mount=type=secret" in look.stderr
    # What is written there is gone, and the next failure takes the place of this one.
    cli("run", "--failed", "rm", "half")
    assert cli("run", "--failed", "ls").stdout == "before\nhalf\n"
    for _ in range(2):
        cli("build", "--on-error=keep", secret, context, code=5)
    assert len(snapshots(builds) - before) == 1
    assert builds.leftovers() == []
    cli("prune", "--all", "--force")
    cli("run", "--failed", "true", code=2)


def test_what_went_well_is_not_kept(builds: Builds, project: Project) -> None:
    context = project({"Dockerfile": "FROM busybox\nRUN true\n"})
    builds.cli("build", "--on-error=keep", context)
    builds.cli("run", "--failed", code=2)


def test_without_a_terminal_there_is_no_shell(builds: Builds, project: Project) -> None:
    context = project({"Dockerfile": "FROM busybox\nRUN false\n"})
    assert "no terminal" in builds.cli("build", "--on-error=shell", context, code=5).stderr


def test_a_shell_in_it(builds: Builds, project: Project) -> None:
    context = project({"Dockerfile": DOCKERFILE.replace("--mount=type=secret,id=tok ", "")})
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        [builds.cli.program, "build", "--progress=plain", "--on-error=shell", context],
        stdin=theirs, stdout=theirs, stderr=theirs,
        env={**builds.cli.environment, "TERM": "dumb"}, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    try:
        # What is typed before the shell reads is lost when it sets up its terminal.
        said = wait_for(ours, b"/w # ", b"")
        assert b"a shell in what the step left" in said
        os.write(ours, b"echo $((40 + 2))-$(cat half)\nexit\n")
        wait_for(ours, b"42-half", said)
        assert shell.wait(PATIENCE_S) == 5
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)


def wait_for(fd: int, word: bytes, said: bytes) -> bytes:
    """Read from a terminal until a word comes."""
    deadline = time.monotonic() + PATIENCE_S
    while word not in said:
        assert time.monotonic() < deadline, said
        if select.select([fd], [], [], 1)[0]:
            said += os.read(fd, 4096)
    return said
