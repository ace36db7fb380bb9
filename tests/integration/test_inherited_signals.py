"""Signals that were ignored or blocked when the program started, as by nohup, cron, or a shell that
started it with `&`."""

import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.integration.conftest import Builds
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

Project = Callable[[Mapping[str, str]], str]
ALL = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD, signal.SIGUSR1, signal.SIGPIPE)

OF_GLIBC = 1 << 31 | 1 << 32
"""Signals 32 and 33, which glibc keeps for its threads: sigaction(3) refuses them, and what was
started by posix_spawn(3), as by make, has them ignored."""


def start(builds: Builds, *words: str, ignored: tuple[int, ...] = ()) -> subprocess.Popen[str]:
    """Start the program with signals ignored, and others blocked."""

    def prepare() -> None:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGALRM])

    return subprocess.Popen(
        [builds.cli.program, *words],
        env=builds.cli.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=prepare,
    )


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    """Read on until a step has said the word."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if word in line and "RUN" not in line:
            return
    pytest.fail("".join(said))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_was_ignored_is_ignored(
    builds: Builds, project: Project, number: signal.Signals
) -> None:
    context = project({"Dockerfile": "FROM busybox\nRUN echo ready; sleep 0.7; echo done\n"})
    process = start(builds, "build", "--progress=plain", context, ignored=(number,))
    wait_for(process, "ready")
    process.send_signal(number)
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, out
    assert "done" in out


def test_sigterm_ends_what_ignores_the_others(builds: Builds, project: Project) -> None:
    context = project({"Dockerfile": "FROM busybox\nRUN echo ready; sleep 600\n"})
    process = start(
        builds, "build", "--progress=plain", context, ignored=(signal.SIGINT, signal.SIGHUP)
    )
    wait_for(process, "ready")
    process.terminate()
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + signal.SIGTERM
    builds.cli("du")
    assert builds.leftovers() == []


def test_a_step_begins_with_the_defaults(builds: Builds, project: Project) -> None:
    """Not with what the builder was started with."""
    # Without a shell: busybox's own ignores SIGQUIT.
    run = '["grep", "^Sig", "/proc/self/status"]'
    context = project({"Dockerfile": f"FROM busybox\nRUN {run}\n"})
    process = start(builds, "build", "--no-cache", "--progress=plain", context, ignored=ALL)
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, out
    for kind in ("SigIgn", "SigBlk"):
        [mask] = re.findall(rf"{kind}:\t([0-9a-f]{{16}})", out)
        assert int(mask, 16) & ~OF_GLIBC == 0, out


@pytest.mark.parametrize("words", ["doctor", "build -q --no-cache .", "verify ."])
def test_children_whose_end_is_not_signalled(builds: Builds, project: Project, words: str) -> None:
    """While SIGCHLD is ignored, no exit code can be had."""
    context = project(
        {"Dockerfile": "FROM busybox\nCOPY a b c /\nRUN ls /a\nRUN ls\n", "a": "", "b": "", "c": ""}
    )
    process = start(builds, *words.replace(" .", f" {context}").split(), ignored=(signal.SIGCHLD,))
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, out
    assert "internal error" not in out and "Traceback" not in out


def test_a_caller_without_zombies(builds: Builds, project: Project) -> None:
    """A program that ignores SIGCHLD may call the library."""
    program = """\
        import signal, sys, threading, time, minibuild
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        minibuild.build(sys.argv[1])
        # Beside a thread the step server cannot be a fork of this process.
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        try:
            minibuild.build(sys.argv[2])
        except minibuild.StepFailed as error:
            print(error.code)
    """
    contexts = [
        project({"Dockerfile": f"FROM busybox\nCOPY Dockerfile /\nRUN {command}\n"})
        for command in ("true", "exit 7")
    ]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *contexts],
        env=builds.cli.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (done.stdout, done.stderr) == ("7\n", "")


@pytest.mark.parametrize(("ignored", "code"), [((), -signal.SIGINT), ((signal.SIGINT,), 7)])
def test_an_interrupt_before_anything_is_loaded(
    builds: Builds, tmp_path: Path, ignored: tuple[int, ...], code: int
) -> None:
    """It ends the program as it ends one in C, from the first line of the script on."""
    package = tmp_path / "minibuild"
    package.mkdir()
    package.joinpath("__init__.py").write_text(
        f"import os\nos.kill(os.getpid(), {int(signal.SIGINT)})\nos._exit(7)\n"
    )
    builds.cli.environment["PYTHONPATH"] = str(tmp_path)
    process = start(builds, ignored=ignored)
    assert process.communicate(timeout=PATIENCE_S)[0] == ""
    assert process.returncode == code
