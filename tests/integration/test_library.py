"""`minibuild.build` from Python: the same as the command line, with no output of its own."""

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.integration.conftest import Builds
from tests.support import processes
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

Project = Callable[[Mapping[str, str]], str]


def python(builds: Builds, program: str, *arguments: str) -> str:
    """Run a Python program with the store of `builds`; what it printed, which must be all."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        env=builds.cli.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
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


def test_contexts_in_memory(builds: Builds) -> None:
    """Files, a tar as bytes, and one that is open; the same files make the same layers."""
    program = """\
        import io, tarfile, minibuild
        dockerfile = "FROM busybox\\nCOPY a d/b /\\nCOPY --from=more c /\\n"
        files = {"Dockerfile": dockerfile, "a": "A", "d/b": b"B", ".dockerignore": "x", "x": ""}
        more = {"c": "C"}
        first = minibuild.build(files, contexts={"more": more}, tags=["memory:1"])
        again = minibuild.build(files, contexts={"more": more}, no_cache=True)
        assert again.executed and first.images[0].layers == again.images[0].layers
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            for name, data in {**files, "more/c": "C"}.items():
                data = data.encode() if isinstance(data, str) else data
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        tar = stream.getvalue()
        dockerfile = dockerfile.replace("--from=more c", "--from=more more/c")
        for context in (tar, io.BytesIO(tar)):
            found = minibuild.build(context, contexts={"more": tar}, dockerfile=dockerfile)
            assert len(found.images[0].layers) == 3
        found = minibuild.build({}, dockerfile="FROM busybox\\nRUN touch /x\\n")
        print(len(found.images[0].layers))
    """
    assert python(builds, program) == "2\n"
    assert builds.cli("run", "memory:1", "cat", "/a", "/b", "/c").stdout == "ABC"


def test_words_objects_and_paths(builds: Builds, project: Project, tmp_path: Path) -> None:
    """As the command line has them, and as Python has them; secrets of three kinds."""
    program = """\
        import os, sys, minibuild
        from pathlib import Path
        from minibuild import BuildRequest, Environment, Output, Secret
        out = Path(sys.argv[2])
        dockerfile = (
            "FROM busybox\\nARG WHO\\n"
            "RUN --mount=type=secret,id=a --mount=type=secret,id=b --mount=type=secret,id=c "
            "cat /run/secrets/* > /all; echo $WHO >> /all; cat /etc/hosts >> /all\\n")
        (out / "file").write_text("1")
        os.environ["VARIABLE"] = "2"
        result = minibuild.build(
            {"Dockerfile": dockerfile},
            build_args={"WHO": "me"},
            secrets=[f"id=a,src={out}/file", "id=b,env=VARIABLE", Secret("c", value=b"3")],
            outputs=[f"type=oci,dest={out}/image.tar", Output("local", out / "tree")],
            add_hosts={"db": "10.0.0.7"},
        )
        assert (out / "image.tar").stat().st_size > 1000
        text = (out / "tree/all").read_text()
        print(text.split()[0], "10.0.0.7" in text)
        request = BuildRequest(sys.argv[1], tags=("request:1",))
        assert minibuild.build(request, root=Path(os.environ["MINIBUILD_ROOT"])).tags
        root = os.environ.pop("MINIBUILD_ROOT")
        os.environ["HOME"] = "/no/such"
        environment = Environment({"MINIBUILD_ROOT": root}, os.getuid())
        assert minibuild.build(sys.argv[1], environment=environment).digest
    """
    context = project({"Dockerfile": "FROM busybox\nCOPY Dockerfile /\n"})
    assert python(builds, program, context, str(tmp_path)) == "123me True\n"


def test_mistakes_are_found_before_the_build(builds: Builds) -> None:
    """By type and sentence; no store is made for them."""
    program = """\
        import os, minibuild
        os.environ["MINIBUILD_ROOT"] += "/none"
        context = {"Dockerfile": "FROM busybox"}
        for options in (
            {"tags": "app"}, {"outputs": minibuild.Output("oci", "x")}, {"report": 3},
            {"contexts": [1]}, {"root": 3}, {"dockerfile": b""},
            {"cancelled": True}, {"environment": {}},
        ):
            try:
                minibuild.build(context, **options)
            except minibuild.UsageError as error:
                print(error)
        for wrong in (lambda: minibuild.build(context, tgas=["a"]),
                      lambda: minibuild.build(minibuild.BuildRequest(), tags=["a"]),
                      lambda: minibuild.State().build(target="a")):
            try:
                wrong()
            except TypeError as error:
                print(error)
        assert not os.path.exists(os.environ["MINIBUILD_ROOT"])
    """
    assert python(builds, program).splitlines() == [
        "tags must be a list, and 'app' is text",
        "outputs must be a list, and got Output",
        "report must be a function of one event",
        "contexts must be a mapping of names to contexts",
        "root must be a path, and got int",
        "dockerfile must be text, and got bytes",
        "cancelled must be a threading.Event",
        "environment must be what read_environment() gives",
        "build() got an unexpected keyword argument 'tgas'; did you mean 'tags'?",
        "build() of a request got the argument 'tags', too",
        "build() of a graph got the argument 'target'",
    ]


def test_a_graph(builds: Builds) -> None:
    program = """\
        import minibuild
        from minibuild.graph.state import image
        state = image("busybox").run("echo hi > /x")
        result = minibuild.build(state, config={"Cmd": ["cat", "/x"]}, tags=["graph:1"])
        print(result.images[0].config.config["Cmd"])
    """
    assert python(builds, program) == "['cat', '/x']\n"
    assert builds.cli("run", "graph:1", "cat", "/x").stdout == "hi\n"


def test_progress_that_can_be_shown(builds: Builds) -> None:
    """When a notebook asks, and each time that there is something new."""
    program = """\
        import minibuild
        shown = []
        progress = minibuild.Progress(lambda progress: shown.append(progress._repr_html_()))
        dockerfile = "FROM busybox\\nRUN echo '<b>&' && exit 3\\n"
        try:
            minibuild.build({"Dockerfile": dockerfile}, report=progress)
        except minibuild.StepFailed:
            pass
        assert len(shown) > 3
        print("<b>" in shown[-1], "&lt;b&gt;&amp;" in shown[-1], "✗" in shown[-1])
        print([line for line in str(progress).splitlines() if "RUN" in line][0][:9])
    """
    assert python(builds, program).splitlines() == ["False True True", "✗ [2/2] R"]


def test_as_a_module(builds: Builds, project: Project) -> None:
    """`python -m minibuild` is the program, and takes no module from the current directory."""
    trap = dict.fromkeys(("argparse.py", "sqlite3.py", "json.py"), "raise SystemExit('trapped')\n")
    context = project({"Dockerfile": "FROM busybox\nRUN touch /x\n", **trap})
    done = subprocess.run(
        [sys.executable, "-m", "minibuild", "build", "-q", "."],
        env=builds.cli.environment,
        cwd=context,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sha256:")


def test_the_examples_of_the_page(builds: Builds, tmp_path: Path) -> None:
    """In order, as one program: each goes on where the one before ended."""
    page = (CHECKOUT / "docs/python-api.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    assert len(blocks) == 8
    (tmp_path / "page").mkdir()
    (tmp_path / "page/program.py").write_text("\n".join(blocks))
    done = subprocess.run(
        [sys.executable, "program.py"],
        env=builds.cli.environment,
        cwd=tmp_path / "page",
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout
    assert said.startswith("sha256:") and "COPY app.sh /" in said
    assert "\nAda\n" in said and "started [3/3] RUN echo 4 > /version" in said
    assert "✓ [3/3] RUN echo $VERSION > /version cached" in said
    assert "\nstopped\n3 2 " in said
    assert builds.cli("run", "app:1", "sh", "/app.sh").stdout == "3\n"


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
    """Setting the event stops the build at once, and not when the step ends."""
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
            print(time.monotonic() - began[0] < 60)
    """
    context = project({"Dockerfile": "FROM busybox\nRUN echo x; sleep 600\n"})
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
        timeout=PATIENCE_S,
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
    nap = f"600.{os.getpid()}"
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
        out, err = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # to see where it is
        out, err = process.communicate()
    assert (process.returncode, out, err) == (0, "interrupted\n", "")
    assert processes.gone(nap)
