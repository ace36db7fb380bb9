"""`minibuild.build` from Python: the same as the command line, with no output of its own."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.integration.conftest import Builds
from tests.support import processes

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

Project = Callable[[Mapping[str, str]], str]


def python(builds: Builds, program: str, *arguments: str) -> str:
    """Run a Python program with the store of `builds`; what it printed, which must be all."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        env=builds.cli.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_a_result_and_no_output(builds: Builds, project: Project) -> None:
    """A digest, layers with their instructions; silence; None of it depends on being alone."""
    program = """\
        import sys, minibuild
        result = minibuild.build(sys.argv[1], tags=["py:1"])
        [image] = result.images
        assert image.digest == result.digest and result.executed
        assert [layer.link for layer in image.layers] == [False, False, True]
        print(image.layers[-1].instruction)
        again = minibuild.build(context=sys.argv[1])
        assert again.digest == result.digest and again.executed == 0
    """
    context = project({"Dockerfile": "FROM busybox\nRUN touch /x\nCOPY --link a /a\n", "a": "a"})
    assert python(builds, program, context).startswith("COPY a /a")
    builds.cli("run", "py:1", "cat", "/a")


def test_in_threads_of_the_caller(builds: Builds, project: Project) -> None:
    """Two builds of one program at once, each heard by its own report."""
    program = """\
        import sys, threading, minibuild
        from minibuild.events import Completed, Log
        heard = {}
        def build(context):
            events = heard[context] = []
            minibuild.build(context, report=events.append)
        threads = [threading.Thread(target=build, args=(c,)) for c in sys.argv[1:]]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        for context in sys.argv[1:]:
            logs = b"".join(e.data for e in heard[context] if isinstance(e, Log))
            assert any(isinstance(e, Completed) for e in heard[context])
            print(logs.decode().strip())
    """
    contexts = [project({"Dockerfile": f"FROM busybox\nRUN echo hello {n}\n"}) for n in range(2)]
    assert python(builds, program, *contexts).split("\n")[:2] == ["hello 0", "hello 1"]


def test_typed_errors(builds: Builds, project: Project) -> None:
    """With the place in the Dockerfile and the code of the process."""
    program = """\
        import sys, minibuild
        try:
            minibuild.build(sys.argv[1])
        except minibuild.StepFailed as error:
            print(error.code, error.span.first, "words" in error.detail, bool(error.source))
        try:
            minibuild.build(sys.argv[1], target="nowhere")
        except minibuild.DefinitionError as error:
            print(error)
        try:
            minibuild.build(sys.argv[1], no_such_field=1)
        except TypeError as error:
            print(error)
    """
    context = project({"Dockerfile": "FROM busybox\nRUN echo words; exit 3\n"})
    said = python(builds, program, context).splitlines()
    assert said[0] == "3 2 True True"
    assert "nowhere" in said[1]
    assert "no_such_field" in said[2]


def test_cancelled_from_another_thread(builds: Builds, project: Project) -> None:
    """Setting the event stops the build within a second."""
    program = """\
        import sys, threading, time, minibuild
        cancelled, began = threading.Event(), []
        def report(event):
            if type(event).__name__ == "Log":
                began.append(time.monotonic())
                cancelled.set()
        try:
            minibuild.build(sys.argv[1], report=report, cancelled=cancelled)
        except minibuild.Cancelled:
            print(time.monotonic() - began[0] < 1)
    """
    context = project({"Dockerfile": "FROM busybox\nRUN echo x; sleep 60\n"})
    assert python(builds, program, context) == "True\n"


def test_modules_of_the_current_directory_are_not_taken(
    builds: Builds, project: Project, tmp_path: Path
) -> None:
    """A build may be started in a directory that somebody else has filled."""
    program = tmp_path / "program.py"
    program.write_text("import sys, minibuild\nprint(minibuild.build(sys.argv[1]).digest)\n")
    modules = ("pickle.py", "socket.py", "json.py", "minibuild/__init__.py", "isal/__init__.py")
    trap = dict.fromkeys(modules, "raise SystemExit('taken from the current directory')\n")
    context = project({"Dockerfile": "FROM busybox\nRUN touch /x\n", **trap})
    done = subprocess.run(
        [sys.executable, str(program), context],
        env=builds.cli.environment,
        cwd=context,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_ctrl_c_is_for_the_caller(builds: Builds, project: Project) -> None:
    """It goes to all processes of a terminal; the caller is told by one exception, and no step
    outlives it."""
    program = """\
        import sys, minibuild
        from minibuild.events import Log
        def report(event):
            if isinstance(event, Log):
                print("begun", flush=True)
        try:
            minibuild.build(sys.argv[1], report=report)
        except KeyboardInterrupt:
            print("interrupted")
    """
    nap = f"61.{os.getpid()}"
    context = project({"Dockerfile": f"FROM busybox\nRUN echo begun; sleep {nap}\n"})
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(program), context],
        env=builds.cli.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    os.killpg(process.pid, signal.SIGINT)
    try:
        out, err = process.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # to see where it is
        out, err = process.communicate()
    assert (process.returncode, out, err) == (0, "interrupted\n", "")
    assert processes.gone(nap, within_s=1)
